"""The plan: what a playbook means for the inventory as it is right now. Pure, and it explains itself."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from math import ceil
from typing import Protocol, TypeAlias

from orchestrator.action import Action, nothing_to_do
from orchestrator.billing.rates import Rates, Total, rates_of
from orchestrator.cvm import DOWN, Cvm
from orchestrator.duration import format_duration
from orchestrator.playbook.deadline import Forecast, forecast, pace_of
from orchestrator.playbook.guards import GuardCheck, check_guards
from orchestrator.playbook.order import Rank, rank
from orchestrator.playbook.planned import MOST_AT_ONCE, AnyPlanned, PlannedStep, RunLimits, planned
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.playbook.select import matches, protection, unmatched
from orchestrator.playbook.steps import Step
from orchestrator.playbook.survivors import spare
from orchestrator.playbook.waves import wave_numbers
from orchestrator.wording import counted


@dataclass(frozen=True, slots=True)
class Target:
    """One CVM that a step acts on, in one of the step's waves, which count from 1."""

    step: str
    action: Action
    cvm: Cvm
    rates: Rates
    wave: int = 1


@dataclass(frozen=True, slots=True)
class Skipped:
    """One CVM of the inventory that no step acts on.

    Attributes:
        cvm: the CVM.
        reason: why, in words a person understands.
        selected: whether a select covered it all the same.
    """

    cvm: Cvm
    reason: str
    selected: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """What carrying the plan out will take, beyond reading the inventory.

    Attributes:
        requests: one a target (fewer where stops go in batches), and about how many status batches.
        seconds: how long sending them takes at the run's rate; settling comes on top.
    """

    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do. Every CVM of the inventory is in `targets` or in `skipped`.

    Attributes:
        playbook: the playbook's name.
        steps: the steps in order.
        targets: what will be acted on, in each step's order, which is that of the inventory where it has none.
        skipped: what will not, each with its reason.
        guards: the guards that were checked, with their numbers.
        limits: how fast and how wide.
        estimate: requests and seconds.
        warnings: what a person should know before saying yes.
        may_follow: by the name of a step that takes up a result, how many CVMs it can have at the most.
        deadline: when each target will be asked; None where the playbook has no deadline.
    """

    playbook: str
    steps: tuple[AnyPlanned, ...]
    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...]
    guards: tuple[GuardCheck, ...]
    limits: RunLimits
    estimate: Estimate
    warnings: tuple[str, ...]
    may_follow: Mapping[str, int] = field(default_factory=dict)
    deadline: Forecast | None = None

    @property
    def acting(self) -> list[PlannedStep]:
        """The steps that act on CVMs."""
        return [step for step in self.steps if isinstance(step, PlannedStep)]

    @property
    def cvms(self) -> list[Cvm]:
        """Every CVM of it, acted on or not."""
        return [target.cvm for target in self.targets] + [each.cvm for each in self.skipped]

    @property
    def allowed(self) -> bool:
        """Whether every guard lets the plan go on."""
        return all(check.ok for check in self.guards)

    @property
    def matched(self) -> bool:
        """Whether the selectors covered any CVM at all."""
        return bool(self.targets) or any(each.selected for each in self.skipped)

    @property
    def total(self) -> Total:
        """What the targets that are to be down cost per hour together."""
        return Total.of(target.rates for target in self.targets if not target.action.ends_up)

    @property
    def begins(self) -> Total | None:
        """What the targets that are to be started cost per hour together; None when there are none."""
        rates = [target.rates for target in self.targets if target.action is Action.START]
        return Total.of(rates) if rates else None

    def count(self, action: Action) -> int:
        """How many targets an action has."""
        return sum(target.action is action for target in self.targets)


LastWord: TypeAlias = Callable[[Cvm, Step | None, str | None], str | None]
"""Given a CVM, the step that covers it (None: no step does) and why it is skipped so far: why it is skipped."""


class Hold(Protocol):
    """What a plan may not exceed, such as a plan file."""

    @property
    def source(self) -> str:
        """What it was taken from, for people: `the plan file`."""

    @property
    def guards(self) -> Guards:
        """The guards that hold beside those of the settings."""

    def last_word(self, cvm: Cvm, step: Step | None, reason: str | None) -> str | None:
        """As `LastWord`."""

    def hold(self, plan: Plan, *, now: datetime, version: str) -> Plan:
        """A plan that was made with this last word, with what else is to be said about it."""


def make_plan(
    playbook: Playbook,
    inventory: Iterable[Cvm],
    *,
    guards: Guards,
    limits: RunLimits,
    settle_timeout: float,
    price_list: Mapping[str, Decimal],
    storage_usd_per_gb_hour: Decimal,
    batch_size: int,
    more_warnings: Iterable[str] = (),
    last_word: LastWord | None = None,
    settle_seconds: Mapping[str, float] | None = None,
) -> Plan:
    """Work out what a playbook means for this inventory.

    Args:
        playbook: what to do.
        inventory: every CVM that was read, each once.
        guards: the playbook's guards within those of the settings.
        limits: the limits that hold for the run.
        settle_timeout: seconds, for the steps that name none.
        price_list: USD per hour by instance type, for CVMs whose own entry has no price.
        storage_usd_per_gb_hour: the setting of that name.
        batch_size: how many statuses one request reads, for the estimate.
        more_warnings: what reading the inventory has to add.
        last_word: may leave further CVMs out, or say better why one is left out.
        settle_seconds: by action, how long CVMs needed to settle in earlier runs, as far as that is known.
    """
    cvms = tuple(inventory)
    steps = [step for step in playbook.acting if step.select.result is None]
    targets: list[tuple[int, Target]] = []
    skipped: list[Skipped] = []
    spared = 0
    for cvm in cvms:
        position, reason = _decide(steps, guards, cvm)
        spared += reason is not None and reason.startswith("protected")
        if last_word is not None:
            reason = last_word(cvm, steps[position] if position >= 0 else None, reason)
        if reason is None:
            step = steps[position]
            rates = rates_of(cvm, price_list, storage_usd_per_gb_hour)
            targets.append((position, Target(step.name, Action(step.action), cvm, rates)))
        else:
            skipped.append(Skipped(cvm, reason, selected=position >= 0))
    targets.sort(key=lambda pair: (pair[0], _rank(steps[pair[0]], pair[1])))
    kept = spare(guards.keep_running or (), cvms, [each.cvm for _, each in targets if each.action is not Action.START])
    survivors = {key: reason for each in kept for key, reason in each.reasons.items()}
    by_key = {target.cvm.ref.key: target.cvm for _, target in targets}
    skipped += [Skipped(by_key[key], reason, selected=True) for key, reason in survivors.items()]
    chosen = tuple(_in_waves(steps, [target for _, target in targets if target.cvm.ref.key not in survivors]))
    follow_ups = _follow_ups(playbook, chosen)
    whole = {step.name: len(_universe(step, chosen, follow_ups)) for step in playbook.acting if step.select.result}
    among = {name: None if len(keys) == whole[name] else frozenset(keys) for name, keys in follow_ups.items()}
    planned_steps = tuple(planned(step, settle_timeout, among) for step in playbook.steps)
    deadline = _forecast(playbook, planned_steps, chosen, limits, settle_seconds or {})
    return Plan(
        playbook=playbook.name,
        steps=planned_steps,
        targets=chosen,
        skipped=tuple(skipped),
        guards=check_guards(
            guards,
            targets=len(chosen),
            up=sum(not cvm.down for cvm in cvms),
            spared=spared,
            starts=sum(target.action is Action.START for target in chosen),
            down=sum(cvm.status in DOWN for cvm in cvms),
            kept=kept,
        ),
        limits=limits,
        estimate=estimate(
            len(chosen), limits, batch_size, stops=sum(target.action is Action.STOP for target in chosen)
        ),
        warnings=(*_warnings(playbook, cvms, chosen), *_too_late(deadline, chosen), *more_warnings),
        may_follow={name: len(keys) for name, keys in follow_ups.items()},
        deadline=deadline,
    )


def _rank(step: Step, target: Target) -> Rank:
    """What a target is sorted by within its step; the same for all where the step has no order."""
    return () if step.order_by is None else rank(step.order_by, target.cvm.ref, target.rates.compute)


def _in_waves(steps: Iterable[Step], targets: Iterable[Target]) -> Iterable[Target]:
    """The targets, sorted by step, each with its wave."""
    sizes = {step.name: step.waves for step in steps}
    for name, group in groupby(targets, key=lambda target: target.step):
        of_step, waves = list(group), sizes[name]
        if waves is None:
            yield from of_step
        else:
            for target, wave in zip(of_step, wave_numbers(waves, len(of_step)), strict=True):
                yield replace(target, wave=wave)


def _forecast(
    playbook: Playbook,
    steps: Iterable[AnyPlanned],
    targets: Iterable[Target],
    limits: RunLimits,
    settle_seconds: Mapping[str, float],
) -> Forecast | None:
    if playbook.deadline is None:
        return None
    by_step: dict[str, list[tuple[int, str]]] = {}
    for target in targets:
        by_step.setdefault(target.step, []).append((target.wave, target.cvm.ref.teepod_key))
    acting = [step for step in steps if isinstance(step, PlannedStep)]
    return forecast(
        playbook.deadline,
        [(pace_of(step, limits, settle_seconds), by_step.get(step.name, [])) for step in acting],
    )


def _too_late(deadline: Forecast | None, targets: tuple[Target, ...]) -> Iterable[str]:
    if deadline is not None and not deadline.ok:
        late = deadline.late
        first = targets[late[0]].cvm.ref.name
        yield (
            f"the deadline of {format_duration(deadline.seconds)} can't be met: {counted(len(late), 'target')} will be "
            f"asked after it, {first!r} first, about {format_duration(deadline.asked[late[0]])} after the start"
        )


def _follow_ups(playbook: Playbook, targets: tuple[Target, ...]) -> dict[str, dict[str, Cvm]]:
    """By the name of each step that takes up a result: the CVMs it can have at the most, by their keys."""
    found: dict[str, dict[str, Cvm]] = {}
    for step in playbook.acting:
        if step.select.result is not None:
            universe = _universe(step, targets, found)
            found[step.name] = {key: cvm for key, cvm in universe.items() if matches(step.select, cvm)}
    return found


def _universe(step: Step, targets: tuple[Target, ...], found: Mapping[str, Mapping[str, Cvm]]) -> Mapping[str, Cvm]:
    """The CVMs of the step whose result this one takes up."""
    source = step.select.result.step if step.select.result else ""
    if source in found:
        return found[source]
    return {target.cvm.ref.key: target.cvm for target in targets if target.step == source}


def _decide(steps: list[Step], guards: Guards, cvm: Cvm) -> tuple[int, str | None]:
    """The step that a CVM belongs to (-1 for none), and why the CVM is skipped (None: it is a target).

    That is the first one that selects it and has anything to do on it; else the first one that selects it.
    """
    covering = [n for n, step in enumerate(steps) if matches(step.select, cvm)]
    if not covering:
        return -1, "not selected"
    protected = protection(guards.protect, cvm)
    if protected is not None:
        return covering[0], f"protected by {protected}"
    reasons = [_nothing_to_do(steps[position], cvm) for position in covering]
    if None not in reasons:
        return covering[0], reasons[0]
    position = covering[reasons.index(None)]
    if not cvm.ref.address:
        return position, "has neither hashid nor UUID yet, so it can't be addressed"
    return position, None


def _nothing_to_do(step: Step, cvm: Cvm) -> str | None:
    return nothing_to_do(Action(step.action), cvm.status, in_progress=cvm.in_progress)


def _warnings(playbook: Playbook, cvms: tuple[Cvm, ...], targets: tuple[Target, ...]) -> Iterable[str]:
    yield from unmatched((step.select for step in playbook.acting), cvms)
    rented = sum(target.cvm.gpu_rental for target in targets)
    if rented:
        yield f"{counted(rented, 'target')} marked as managed by a GPU rental, whose CVMs usually refuse a stop"
    gpus = Counter(target.action for target in targets if target.cvm.gpus)
    if minimum := gpus[Action.STOP] + gpus[Action.SHUTDOWN]:
        yield f"{counted(minimum, 'target')} with GPUs: starting such a CVM again is charged a new 24-hour minimum"
    if minimum := gpus[Action.START]:
        yield f"{counted(minimum, 'target')} with GPUs to start: each is charged a new 24-hour minimum up front"
    if minimum := gpus[Action.RESTART]:
        yield f"{counted(minimum, 'target')} with GPUs to restart: each may be charged a new 24-hour minimum"
    yield from _left_to_earlier(playbook, targets)


def _left_to_earlier(playbook: Playbook, targets: tuple[Target, ...]) -> Iterable[str]:
    """A CVM belongs to one step; whoever wrote two for it may think otherwise."""
    left: Counter[tuple[str, str]] = Counter()
    steps = [step for step in playbook.acting if step.select.result is None]
    for number, step in enumerate(steps):
        earlier = {each.name for each in steps[:number] if each.action != step.action}
        left.update(
            (step.name, target.step)
            for target in (targets if earlier else ())
            if target.step in earlier and matches(step.select, target.cvm)
        )
    for (step_name, first), count in left.items():
        yield (
            f"step {step_name!r} also selects what belongs to step {first!r} before it ({counted(count, 'CVM')}); "
            f"to act on a CVM again, select its `result`"
        )


def estimate(targets: int, limits: RunLimits, batch_size: int, *, stops: int | None = None) -> Estimate:
    """Requests and seconds for this many targets: each polled twice or so, and swept once at the end, by batch.

    Args:
        targets: how many there are.
        limits: how fast, and whether stops go in batches.
        batch_size: how many statuses one request reads.
        stops: how many of the targets are to be stopped; all by default.
    """
    stops = targets if stops is None else stops
    in_batches = stops if limits.dispatch == "batch" else 0
    requests = targets - in_batches + ceil(in_batches / MOST_AT_ONCE) + 3 * ceil(targets / batch_size)
    return Estimate(requests, max(0.0, requests - limits.burst) / limits.requests_per_second)
