"""The plan: what a playbook means for the inventory as it is right now. Pure, and it explains itself."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from typing import TypeAlias

from orchestrator.billing.rates import Rates, Total, rates_of
from orchestrator.cvm import Cvm
from orchestrator.playbook.guards import GuardCheck, check_guards
from orchestrator.playbook.schema import Guards, Playbook, Step
from orchestrator.playbook.select import matches, protection, unmatched
from orchestrator.playbook.terms import Dispatch, Share
from orchestrator.wording import counted

MOST_AT_ONCE = 50
"""How many CVMs one `POST /cvms/batch-stop` takes, by the vendor's OpenAPI document."""


@dataclass(frozen=True, slots=True)
class RunLimits:
    """The limits that hold for one run: the playbook's own over the settings'.

    Attributes:
        requests_per_second: all requests of the run; where `adaptive`, what it starts with.
        burst: how many may go at once after a pause.
        max_in_flight: requests sent and not yet answered.
        per_teepod: the same for the stops on one teepod.
        max_failures: more failed or refused targets than this end the run; None for no such limit.
        adaptive: whether the rate is found out while the run goes on.
        dispatch: whether each stop is a request of its own.
    """

    requests_per_second: float
    burst: int
    max_in_flight: int
    per_teepod: int
    max_failures: Share | None = None
    adaptive: bool = False
    dispatch: Dispatch = "single"


@dataclass(frozen=True, slots=True)
class Target:
    """One CVM that a step acts on."""

    step: str
    action: str
    cvm: Cvm
    rates: Rates


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
        requests: one stop a target, and about how many status batches.
        seconds: how long sending them takes at the run's rate; settling comes on top.
    """

    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step's name, its action, and the seconds within which each of its targets has to settle."""

    name: str
    action: str
    settle_timeout: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do. Every CVM of the inventory is in `targets` or in `skipped`.

    Attributes:
        playbook: the playbook's name.
        steps: the steps in order.
        targets: what will be acted on, in the order of the inventory within each step.
        skipped: what will not, each with its reason.
        guards: the guards that were checked, with their numbers.
        limits: how fast and how wide.
        estimate: requests and seconds.
        warnings: what a person should know before saying yes.
    """

    playbook: str
    steps: tuple[PlannedStep, ...]
    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...]
    guards: tuple[GuardCheck, ...]
    limits: RunLimits
    estimate: Estimate
    warnings: tuple[str, ...]

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
        """What the targets cost per hour together."""
        return Total.of(target.rates for target in self.targets)


LastWord: TypeAlias = Callable[[Cvm, Step | None, str | None], str | None]
"""Given a CVM, the step that covers it (None: no step does) and why it is skipped so far: why it is skipped."""


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
    """
    cvms = tuple(inventory)
    targets: list[tuple[int, Target]] = []
    skipped: list[Skipped] = []
    spared = 0
    for cvm in cvms:
        position, reason = _decide(playbook, guards, cvm)
        spared += reason is not None and reason.startswith("protected")
        if last_word is not None:
            reason = last_word(cvm, playbook.steps[position] if position >= 0 else None, reason)
        if reason is None:
            step = playbook.steps[position]
            rates = rates_of(cvm, price_list, storage_usd_per_gb_hour)
            targets.append((position, Target(step.name, step.action, cvm, rates)))
        else:
            skipped.append(Skipped(cvm, reason, selected=position >= 0))
    targets.sort(key=lambda pair: pair[0])
    chosen = tuple(target for _, target in targets)
    return Plan(
        playbook=playbook.name,
        steps=tuple(PlannedStep(s.name, s.action, s.settle.timeout or settle_timeout) for s in playbook.steps),
        targets=chosen,
        skipped=tuple(skipped),
        guards=check_guards(guards, targets=len(chosen), up=sum(not cvm.down for cvm in cvms), spared=spared),
        limits=limits,
        estimate=estimate(len(chosen), limits, batch_size),
        warnings=(*_warnings(playbook, cvms, chosen), *more_warnings),
    )


def _decide(playbook: Playbook, guards: Guards, cvm: Cvm) -> tuple[int, str | None]:
    """The first step that covers a CVM (-1 for none), and why the CVM is skipped (None: it is a target)."""
    position = next((n for n, step in enumerate(playbook.steps) if matches(step.select, cvm)), -1)
    if position < 0:
        return position, "not selected"
    protected = protection(guards.protect, cvm)
    if protected is not None:
        return position, f"protected by {protected}"
    if cvm.down:
        return position, f"already {cvm.status}"
    if not cvm.ref.address:
        return position, "has neither hashid nor UUID yet, so it can't be addressed"
    return position, None


def _warnings(playbook: Playbook, cvms: tuple[Cvm, ...], targets: tuple[Target, ...]) -> Iterable[str]:
    yield from unmatched((step.select for step in playbook.steps), cvms)
    rented = sum(target.cvm.gpu_rental for target in targets)
    if rented:
        yield f"{counted(rented, 'target')} marked as managed by a GPU rental, whose CVMs usually refuse a stop"
    minimum = sum(bool(target.cvm.gpus) for target in targets)
    if minimum:
        yield f"{counted(minimum, 'target')} with GPUs: starting such a CVM again is charged a new 24-hour minimum"


def estimate(targets: int, limits: RunLimits, batch_size: int) -> Estimate:
    """Requests and seconds for this many stops: each polled twice or so, and swept once at the end, by batch."""
    stops = targets if limits.dispatch == "single" else ceil(targets / MOST_AT_ONCE)
    requests = stops + 3 * ceil(targets / batch_size)
    return Estimate(requests, max(0.0, requests - limits.burst) / limits.requests_per_second)
