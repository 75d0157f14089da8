"""A plan: what a playbook means for the inventory as it is right now. What makes one is in `planning`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from orchestrator.action import Action
from orchestrator.billing.rates import Rates, Total
from orchestrator.cvm import GOING_DOWN, Cvm
from orchestrator.playbook.deadline import Forecast
from orchestrator.playbook.estimate import Estimate
from orchestrator.playbook.guards import GuardCheck, Whole
from orchestrator.playbook.plan_warning import PlanWarning
from orchestrator.playbook.resolved_steps import AnyPlanned, PlannedStep, RunLimits
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.steps import Step
from orchestrator.skip_reason import Reason, SkipReason


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
        why: why, as a code with a detail.
        selected: whether a select covered it all the same.
    """

    cvm: Cvm
    why: Reason
    selected: bool

    @property
    def reason(self) -> str:
        """Why, in words a person understands."""
        return self.why.text


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
    warnings: tuple[PlanWarning, ...]
    may_follow: Mapping[str, int] = field(default_factory=dict)
    deadline: Forecast | None = None

    @property
    def acting_steps(self) -> list[PlannedStep]:
        """The steps that act on CVMs."""
        return [step for step in self.steps if isinstance(step, PlannedStep)]

    @property
    def cvms(self) -> list[Cvm]:
        """Every CVM of it, acted on or not."""
        return [target.cvm for target in self.targets] + [each.cvm for each in self.skipped]

    @property
    def up(self) -> int:
        """How many CVMs of the inventory are neither stopped nor exited."""
        gone = sum(each.why.code is SkipReason.GONE and not each.cvm.down for each in self.skipped)
        return sum(not cvm.down for cvm in self.cvms) - gone

    @property
    def has_matches(self) -> bool:
        """Whether the selectors covered any CVM at all."""
        return bool(self.targets) or any(each.selected for each in self.skipped)

    @property
    def stopped_total(self) -> Total:
        """What the targets that are to be down cost per hour together; CVMs on their way down already left out."""
        return Total.of(
            target.rates
            for target in self.targets
            if not target.action.leaves_running and target.cvm.status not in GOING_DOWN
        )

    @property
    def started_total(self) -> Total | None:
        """What the targets that are to be started cost per hour together; None when there are none."""
        rates = [target.rates for target in self.targets if target.action is Action.START]
        return Total.of(rates) if rates else None

    def count_targets(self, action: Action) -> int:
        """How many targets an action has."""
        return sum(target.action is action for target in self.targets)


TargetFilter: TypeAlias = Callable[[Cvm, Step | None, Reason | None], Reason | None]
"""Given a CVM, the step that covers it (None: no step does) and why it is skipped so far: why it is skipped."""


class PlanConstraint(Protocol):
    """What a plan may not exceed, such as a plan file."""

    @property
    def source(self) -> str:
        """What it was taken from, for people: `the plan file`."""

    @property
    def guards(self) -> Guards:
        """The guards that hold beside those of the settings."""

    def filter_target(self, cvm: Cvm, step: Step | None, reason: Reason | None) -> Reason | None:
        """As `LastWord`."""

    def lacks_facts(self, cvm: Cvm) -> bool:
        """Whether the list does not give a fact of a CVM that is to be compared."""

    def whole_of_starts(self, cvms: Iterable[Cvm]) -> Whole | None:
        """What `max_percent` of CVMs to start is a share of; None for all CVMs of the workspace."""

    def apply_to_plan(self, plan: Plan, *, now: datetime, version: str) -> Plan:
        """A plan that was made with this last word, with what else is to be said about it."""
