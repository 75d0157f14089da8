"""The number of targets at every stage over time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from orchestrator.outcome import AS_WANTED

_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400)
_MOST_MOMENTS = 150


@dataclass(frozen=True, slots=True)
class StageCounts:
    """Counts of targets, with a value for every moment.

    Attributes:
        seconds_each: the time between two moments; the first moment is the run's beginning.
        waiting: targets without a request.
        asked: targets with a request, not accepted yet.
        settling: accepted targets before their outcome.
        as_wanted: targets with the wanted outcome.
        otherwise: targets with another outcome and no follow-up step. After a follow-up step a target is in no count.
    """

    seconds_each: float
    waiting: list[int]
    asked: list[int]
    settling: list[int]
    as_wanted: list[int]
    otherwise: list[int]


def count_stages(targets: Iterable[Mapping[str, Any]], length: float) -> StageCounts:
    """Count the targets of a report by stage, from its beginning to its end.

    Args:
        targets: the targets of the report's document.
        length: seconds from the run's beginning to its end.
    """
    each = next((step for step in _STEPS if length / step <= _MOST_MOMENTS), length / _MOST_MOMENTS)
    moments = ceil(length / each) + 1
    changes = {stage: [0] * (moments + 1) for stage in ("waiting", "asked", "settling", "as_wanted", "otherwise")}
    for target in targets:
        began = min(ceil(target["planned_s"] / each), moments - 1)
        for stage, at in _list_stages(target):
            number = moments if at is None else max(began, min(ceil(at / each), moments - 1))
            changes[stage][began] += 1
            changes[stage][number] -= 1
            began = number
    counts: dict[str, list[int]] = {}
    for stage, steps in changes.items():
        total = 0
        counts[stage] = []
        for step in steps[:moments]:
            total += step
            counts[stage].append(total)
    return StageCounts(each, **counts)


def _list_stages(target: Mapping[str, Any]) -> list[tuple[str, float | None]]:
    """Return the stages of a target with their end in seconds. The last stage has no end."""
    asked, accepted, ended = target["intent_s"], target["accepted_s"], target["ended_s"]
    stages: list[tuple[str, float | None]] = [("waiting", asked if asked is not None else ended)]
    if asked is not None:
        stages.append(("asked", accepted if accepted is not None else ended))
    if accepted is not None:
        stages.append(("settling", ended))
    if ended is not None and target["taken_up_by"] is None:
        stages.append(("as_wanted" if target["outcome"] in AS_WANTED else "otherwise", None))
    return stages
