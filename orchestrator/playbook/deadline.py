"""A deadline: when each target will be asked, reckoned before anything is sent. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from orchestrator.action import Action
from orchestrator.playbook.resolved_steps import MOST_AT_ONCE, PlannedStep, RunLimits

ANSWER_S = 0.5
"""Seconds; how long the API is taken to need for an answer, which counts where few requests may be under way."""

SETTLE_S = {Action.STOP: 30.0, Action.SHUTDOWN: 60.0, Action.START: 60.0, Action.RESTART: 90.0}
"""Seconds; how long CVMs are taken to need to settle, where the next wave or step waits for that."""

Basis = Literal["earlier runs", "assumed", "escalate.after", "settle.timeout"]
"""What it is reckoned by how long CVMs need to settle."""

_FOR_ACTIONS = 0.9
"""While actions are sent, one request in ten may be a status read."""


@dataclass(frozen=True, slots=True)
class SendRate:
    """How fast one step goes.

    Attributes:
        requests_per_second: all requests together.
        burst: how many of them go at once after a pause.
        max_in_flight: how many may be under way.
        per_teepod: how many of them on one teepod.
        at_once: how many CVMs one request may act on.
        in_order: whether they go in the order given; else the teepods take turns.
        settle: seconds that a wave takes to settle once its last request is sent.
        basis: where that figure comes from.
        soak: seconds that a wave waits once the one before has settled.
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
    """How fast a step goes.

    Args:
        step: the step.
        limits: those of the run.
        settle: by action, how many seconds its CVMs needed to settle in earlier runs; empty where that is not known.
    """
    limits = step.limits.within(limits)
    in_batches = limits.dispatch == "batch" and step.action is Action.STOP
    known = settle.get(step.action)
    seconds: float
    basis: Basis
    if step.escalate_after is not None:
        seconds, basis = step.escalate_after, "escalate.after"  # whatever settle.timeout: that begins anew then
    else:
        usual: tuple[float, Basis] = (SETTLE_S[step.action], "assumed") if known is None else (known, "earlier runs")
        seconds, basis = min((step.settle_timeout, "settle.timeout"), usual)
    return SendRate(
        limits.requests_per_second,
        max(1, (limits.burst + 1) // 2),  # the other half is kept in reserve
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
    """When every target of a plan will be asked, beside the deadline.

    Attributes:
        seconds: the deadline, from the run's start.
        asked: when each target is asked, in the plan's order.
        settle: how many seconds it was reckoned with that a wave or step takes to settle; None where nothing waits.
        basis: where that figure comes from.
    """

    seconds: float
    asked: tuple[float, ...]
    settle: float | None = None
    basis: Basis | None = None

    @property
    def estimate_seconds(self) -> float:
        """When the last one is asked."""
        return max(self.asked, default=0.0)

    @property
    def late(self) -> list[int]:
        """The places in the plan of those that are asked after the deadline, the first of them first."""
        late = [place for place, asked in enumerate(self.asked) if asked > self.seconds]
        return sorted(late, key=lambda place: self.asked[place])

    @property
    def ok(self) -> bool:
        """Whether nobody is asked after the deadline."""
        return not self.late


def forecast_deadline(deadline: float, steps: Sequence[tuple[SendRate, Sequence[tuple[int, str]]]]) -> Forecast:
    """When every target is asked, with the steps one after the other.

    Args:
        deadline: seconds from the run's start.
        steps: how fast each step goes, and the wave and the teepod of each of its targets, as `moments` takes them.
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
    """When each target of a step is asked, in seconds from the step's begin.

    Args:
        targets: the wave and the teepod of each, waves in order.
        pace: how fast it goes.
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
    """Who is asked as how manieth when each teepod gives one in turn."""
    order = sorted(range(len(teepods)), key=lambda n: before_on_teepod[n])
    turns = [0] * len(teepods)
    for turn, index in enumerate(order):
        turns[index] = turn
    return turns
