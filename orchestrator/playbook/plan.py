"""A plan: the effect of a playbook on the present inventory. `planning` makes plans. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import Any, Protocol, TypeAlias

from orchestrator.action import Action
from orchestrator.billing.rates import BillingNote, Rates, Total
from orchestrator.cvm import GOING_DOWN, Cvm
from orchestrator.outcome import CHANGED, Reason, SkipReason
from orchestrator.playbook.deadline import Forecast
from orchestrator.playbook.guards import Denominator, GuardCheck
from orchestrator.playbook.plan_warning import PlanWarning
from orchestrator.playbook.resolved_steps import MOST_AT_ONCE, AnyPlanned, PlannedStep, RunLimits
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.steps import Step
from orchestrator.value_class import value_class


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of carrying out a plan, without reading the inventory.

    Attributes:
        requests: one request per target (fewer with batches of stops), plus an estimate of the status reads.
        seconds: sending time at the run's rate, with the soak of waves; the time to settle is extra.
    """

    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StepLoad:
    """The targets of a step, for the count of requests.

    Attributes:
        targets: the number of targets.
        limits: the limits of the step: rate, and whether stops are sent in batches.
        stops: whether the action is a stop.
        soak: seconds of soak between the step's waves, in total.
    """

    targets: int
    limits: RunLimits
    stops: bool = True
    soak: float = 0.0

    @property
    def requests(self) -> int:
        """The number of action requests."""
        in_batches = self.stops and self.limits.dispatch == "batch"
        return ceil(self.targets / MOST_AT_ONCE) if in_batches else self.targets


def estimate_plan(lots: Iterable[StepLoad], burst: int, batch_size: int) -> Estimate:
    """Estimate requests and seconds, with about two status reads per target and a final read, all in batches.

    Args:
        lots: the load of every step.
        burst: requests sent at once after a pause.
        batch_size: statuses per request.
    """
    lots = list(lots)
    reads = 3 * ceil(sum(lot.targets for lot in lots) / batch_size)
    seconds, at_once = 0.0, burst
    for number, lot in enumerate(lots, start=1):
        requests = lot.requests + (reads if number == len(lots) else 0)
        seconds += lot.soak + max(0, requests - at_once) / lot.limits.requests_per_second
        at_once = max(0, at_once - requests)
    return Estimate(sum(lot.requests for lot in lots) + reads, seconds)


@value_class(frozen=True, slots=True)
class Target:
    """A target of a step: a CVM, its action, the effect on the bill, and its wave (counted from 1)."""

    step: str
    action: Action
    cvm: Cvm
    note: BillingNote
    wave: int = 1

    @property
    def rates(self) -> Rates:
        """The CVM's rates at the time of the plan, for users of the Python API."""
        return self.note.rates


@value_class(frozen=True, slots=True)
class Skipped:
    """A CVM of the inventory without an action.

    Attributes:
        cvm: the CVM.
        why: the reason, as a code with a detail.
        selected: whether a select covers the CVM.
    """

    cvm: Cvm
    why: Reason
    selected: bool

    @property
    def reason(self) -> str:
        """The reason as a sentence."""
        return self.why.text


@dataclass(frozen=True, slots=True)
class Plan:
    """The targets and steps of a run. Every CVM of the inventory is in `targets` or in `skipped`.

    Attributes:
        playbook: the playbook's name.
        steps: the steps in order.
        targets: CVMs to act on, in the order of their step, or of the inventory if the step has no order.
        skipped: all other CVMs, with reasons.
        guards: the results of the guards.
        limits: the limits of the run's rate and width.
        estimate: the estimated requests and seconds.
        warnings: warnings for the person who confirms the plan.
        may_follow: the most possible CVMs of every step with a result selector, by the step's name.
        deadline: the send time of every target; None for a playbook without a deadline.
        settings_file: the settings file of the current folder, if in use without `--config`.
        narrowed: the conditions of `--only` and `--exclude`, as on record; None without these options.
        workspace_name: the workspace by its name in the settings; None for the default key.
    """

    playbook: str
    steps: tuple[AnyPlanned, ...]
    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...]
    guards: tuple[GuardCheck, ...]
    limits: RunLimits
    estimate: Estimate
    warnings: tuple[PlanWarning, ...]
    may_follow: Mapping[str, int] = field(default_factory=dict)
    deadline: Forecast | None = None
    settings_file: str | None = None
    narrowed: Mapping[str, Any] | None = None
    workspace_name: str | None = None

    @property
    def acting_steps(self) -> list[PlannedStep]:
        """The steps with actions on CVMs."""
        return [step for step in self.steps if isinstance(step, PlannedStep)]

    @property
    def cvms(self) -> list[Cvm]:
        """All CVMs of the plan, targets first."""
        return [target.cvm for target in self.targets] + [each.cvm for each in self.skipped]

    @property
    def drifted(self) -> tuple[Skipped, ...]:
        """Targets of a plan file, or of a run to undo, skipped because of changes."""
        return tuple(each for each in self.skipped if each.why.code in CHANGED)

    @property
    def up(self) -> int:
        """The number of CVMs of the inventory neither stopped nor exited."""
        gone = sum(each.why.code is SkipReason.GONE and not each.cvm.down for each in self.skipped)
        return sum(not cvm.down for cvm in self.cvms) - gone

    @property
    def unknown_facts(self) -> dict[str, int]:
        """The number of CVMs not matched because a fact is unknown, by the key of the select."""
        by_select = (each.why for each in self.skipped if each.why.needed_by == "select")
        return dict(Counter(why.detail for why in by_select if why.code is SkipReason.FACT_UNKNOWN))

    @property
    def has_matches(self) -> bool:
        """Whether the selectors cover any CVM."""
        return bool(self.targets) or any(each.selected for each in self.skipped)

    @property
    def stopped_total(self) -> Total:
        """The total hourly cost of the targets to take down, without CVMs already on the way down."""
        return Total.sum_rates(
            target.note.rates
            for target in self.targets
            if not target.action.leaves_running and target.cvm.status not in GOING_DOWN
        )

    @property
    def started_total(self) -> Total | None:
        """The total hourly cost of the targets to start; None without starts."""
        rates = [target.note.rates for target in self.targets if target.action.starts_cvms]
        return Total.sum_rates(rates) if rates else None


TargetFilter: TypeAlias = Callable[[Cvm, Step | None, Reason | None], Reason | None]
"""Maps a CVM, the step that covers the CVM (None: no step) and the skip reason so far to the final skip reason."""


class PlanConstraint(Protocol):
    """Limits on a plan, such as a plan file."""

    @property
    def source(self) -> str:
        """The source of the limits as text: `the plan file`."""

    @property
    def moment(self) -> datetime | None:
        """The moment of the earlier plan, for ages and uptimes; None for the present."""

    @property
    def guards(self) -> Guards:
        """The guards of the constraint, in addition to the settings' guards."""

    def filter_target(self, cvm: Cvm, step: Step | None, reason: Reason | None) -> Reason | None:
        """Return the final skip reason of a CVM, as a `TargetFilter` does."""

    def lacks_facts(self, cvm: Cvm) -> bool:
        """Return True if the list of CVMs lacks a fact needed for the comparison with this CVM."""

    def whole_of_starts(self, cvms: Iterable[Cvm]) -> Denominator | None:
        """Return the denominator of `max_percent` for starts, if different from all CVMs of the workspace."""

    def apply_to_plan(self, plan: Plan, *, now: datetime, version: str) -> Plan:
        """Add the constraint's skipped CVMs and warnings to a plan made with `filter_target`."""
