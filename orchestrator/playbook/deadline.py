"""Deadlines: estimate the send time of every target before the run sends anything. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from orchestrator.playbook.resolved_steps import MOST_AT_ONCE, PlannedStep, RunLimits

ANSWER_S = 0.5
"""Assumed seconds of the API's answer; matters where only few requests may be in flight."""

Basis = Literal["earlier runs", "assumed", "escalate.after", "settle.timeout"]
"""The source of the settle time in an estimate."""

_FOR_ACTIONS = 0.9
"""Share of the rate for actions: one request in ten may be a status read."""


@dataclass(frozen=True, slots=True)
class SendRate:
    """The rate and width of a step.

    Attributes:
        requests_per_second: all requests together.
        burst: requests sent at once after a pause.
        max_in_flight: the most requests in flight.
        per_teepod: the most requests in flight on one teepod.
        at_once: CVMs per request.
        in_order: whether targets are sent in their given order; otherwise the teepods take turns.
        settle: seconds to settle, after a wave's last request.
        basis: the source of `settle`.
        soak: seconds between a settled wave and the next wave.
    """

    requests_per_second: float
    burst: int
    max_in_flight: int
    per_teepod: int
    at_once: int
    in_order: bool
    settle: float
    basis: Basis = "assumed"
    soak: float = 0.0


def derive_send_rate(step: PlannedStep, limits: RunLimits, settle: Mapping[str, float]) -> SendRate:
    """Derive the rate and width of a step.

    Args:
        step: the step.
        limits: the limits of the run.
        settle: seconds to settle in earlier runs, by action; empty if unknown.
    """
    limits = step.limits.within(limits)
    in_batches = limits.dispatch == "batch" and step.action.spec.is_batchable
    known = settle.get(step.action)
    seconds: float
    basis: Basis
    if step.escalate_after is not None:
        # settle.timeout does not matter: the timeout starts anew with the stop
        seconds, basis = step.escalate_after, "escalate.after"
    else:
        usual: tuple[float, Basis] = (
            (step.action.spec.settle_s, "assumed") if known is None else (known, "earlier runs")
        )
        seconds, basis = min((step.settle_timeout, "settle.timeout"), usual)
    return SendRate(
        limits.requests_per_second,
        max(1, (limits.burst + 1) // 2),  # the other half stays in reserve
        limits.max_in_flight,
        limits.per_teepod,
        at_once=MOST_AT_ONCE if in_batches else 1,
        in_order=step.order_by is not None,
        settle=seconds,
        basis=basis,
        soak=step.soak or 0.0,
    )


@dataclass(frozen=True, slots=True)
class Forecast:
    """The estimated send time of every target, and the deadline.

    Attributes:
        seconds: the deadline, from the run's start.
        asked: the send time of every target, in the plan's order.
        settle: the assumed seconds of a wave or step to settle; None if no wave or step waits.
        basis: the source of `settle`.
    """

    seconds: float
    asked: tuple[float, ...]
    settle: float | None = None
    basis: Basis | None = None

    @property
    def estimate_seconds(self) -> float:
        """The send time of the last target."""
        return max(self.asked, default=0.0)

    @property
    def late(self) -> list[int]:
        """Indexes of the targets after the deadline, in order of their send time."""
        late = [place for place, asked in enumerate(self.asked) if asked > self.seconds]
        return sorted(late, key=lambda place: self.asked[place])

    @property
    def ok(self) -> bool:
        """Whether all send times are within the deadline."""
        return not self.late


def forecast_deadline(deadline: float, steps: Sequence[tuple[SendRate, Sequence[tuple[int, str]]]]) -> Forecast:
    """Estimate the send time of every target; the steps run in sequence.

    Args:
        deadline: seconds from the run's start.
        steps: the rate of every step, with the wave and teepod of its targets, as in `compute_send_times`.
    """
    begin, asked, settle = 0.0, list[float](), list[tuple[float, Basis]]()
    for pace, targets in steps:
        if not targets:
            continue
        asked += [begin + seconds for seconds in compute_send_times(targets, pace)]
        begin = max(asked) + pace.settle
        settle.append((pace.settle, pace.basis))
    waves = any(targets and targets[0][0] != targets[-1][0] for _, targets in steps)
    longest, basis = max(settle) if waves or len(settle) > 1 else (None, None)
    return Forecast(deadline, tuple(asked), longest, basis)


def compute_send_times(targets: Sequence[tuple[int, str]], pace: SendRate) -> list[float]:
    """Compute the send time of every target of a step, in seconds from the step's start.

    Args:
        targets: wave and teepod of every target, in order of the waves.
        pace: the rate and width.
    """
    begin, found = 0.0, list[float]()
    for _, wave in groupby(targets, key=lambda target: target[0]):
        asked = _compute_wave_times([teepod for _, teepod in wave], pace)
        found += [begin + seconds for seconds in asked]
        begin = max(found) + pace.settle + pace.soak
    return found


def _compute_wave_times(teepods: Sequence[str], pace: SendRate) -> list[float]:
    seen: Counter[str] = Counter()
    before_on_teepod = []
    for teepod in teepods:
        before_on_teepod.append(seen[teepod])
        seen[teepod] += 1
    at_once = min(pace.at_once, pace.per_teepod * len(seen))
    turns = range(len(teepods)) if pace.in_order else _alternate_teepods(teepods, before_on_teepod)
    found = []
    for turn, before in zip(turns, before_on_teepod, strict=True):
        request = turn // at_once
        by_rate = max(0, request + 1 - pace.burst) / (pace.requests_per_second * _FOR_ACTIONS)
        by_answers = max(request // pace.max_in_flight, before // pace.per_teepod) * ANSWER_S
        found.append(max(by_rate, by_answers))
    return found


def _alternate_teepods(teepods: Sequence[str], before_on_teepod: Sequence[int]) -> list[int]:
    """Return the position of every target when the teepods take turns."""
    order = sorted(range(len(teepods)), key=lambda n: before_on_teepod[n])
    turns = [0] * len(teepods)
    for turn, index in enumerate(order):
        turns[index] = turn
    return turns
