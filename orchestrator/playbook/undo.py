"""Undo of a run: choose the CVMs to start again among the CVMs stopped by the run. Pure.

A CVM that has changed since, as far as a single read can tell, is *drifted*: skipped, with the changes as the reason.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar

from orchestrator.cvm import DOWN, ByCvm, Cvm, CvmRef, is_up
from orchestrator.outcome import OUT_OF_SCOPE, Reason, SkipReason
from orchestrator.playbook.guards import Denominator
from orchestrator.playbook.plan import Plan, Skipped
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.recheck import lacks_facts, recheck_cvm
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.text import join_names, plural


@dataclass(frozen=True, slots=True)
class TakenDown:
    """A CVM taken from running to down by a run.

    Attributes:
        ref: the CVM at that time.
        status: the last status seen by the run; None if the log has no status.
        late: whether the run did not see the CVM down, although a stop had, or may have had, an effect.
    """

    ref: CvmRef
    status: str | None
    late: bool = False


@dataclass(frozen=True, slots=True)
class Undo:
    """The CVMs taken down by a run: the only CVMs to start.

    Attributes:
        run_id: id of the run to undo.
        targets: CVMs taken from running to down, or asked to go down without being seen down.
        up_then: the number of CVMs of the workspace up at planning time; None if the run read only some apps.
        guards: no own guards; the settings' guards apply.
    """

    UP_THEN: ClassVar = "that were up when the run to undo was planned"
    UP_NOW: ClassVar = "that are up now, or that the run to undo took down"
    """The denominator of `max_percent` in words: recorded by the run, or counted now."""

    run_id: str
    targets: tuple[TakenDown, ...]
    up_then: int | None = None
    guards: Guards = field(default_factory=Guards)
    _by_cvm: ByCvm[TakenDown] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_cvm", ByCvm((target.ref, target) for target in self.targets))

    @property
    def source(self) -> str:
        """The source of the limits as text."""
        return "the run to undo"

    @property
    def doer(self) -> str:
        """The run, or the runs, that took the CVMs down, as text."""
        return "the run"

    @property
    def moment(self) -> None:
        """No earlier moment: the only step selects every CVM."""

    @property
    def late(self) -> tuple[TakenDown, ...]:
        """The targets not seen down by the run."""
        return tuple(target for target in self.targets if target.late)

    def lacks_facts(self, cvm: Cvm) -> bool:
        """Return True if the list of CVMs lacks a fact of a CVM in the run's log."""
        target = self._by_cvm.find(cvm.ref)
        return target is not None and lacks_facts(target.ref, cvm.ref)

    def whole_of_starts(self, cvms: Iterable[Cvm]) -> Denominator:
        """Return the denominator of `max_percent`: the CVMs up when the run was planned.

        Args:
            cvms: the present inventory, for a run that did not read the whole workspace.
        """
        if self.up_then is not None:
            return Denominator(self.up_then, self.UP_THEN)
        number = sum(not cvm.down or self._by_cvm.find(cvm.ref) is not None for cvm in cvms)
        return Denominator(number, self.UP_NOW)

    @property
    def playbook(self) -> Playbook:
        """A playbook with a single start step for every CVM; `filter_target` then keeps the CVMs of the run."""
        step = {"name": "restore", "action": "start", "select": {"all": "true"}}
        description = f"Start the CVMs stopped by run {self.run_id}."
        return Playbook.model_validate({"name": "restore", "description": description, "steps": [step]})

    def filter_target(self, cvm: Cvm, step: object, reason: Reason | None) -> Reason | None:
        """Return the reason not to start a CVM of the present inventory; None for a CVM unchanged since the run.

        Args:
            cvm: the CVM at present.
            step: the start step, the same for all CVMs.
            reason: the skip reason of a new plan.
        """
        del step
        target = self._by_cvm.find(cvm.ref)
        if target is None:
            return Reason(SkipReason.NOT_IN_RUN)
        if is_up(cvm.status, in_progress=cvm.in_progress):
            return Reason(SkipReason.ALREADY_UP, cvm.status)
        # The log has no instance type, so a changed instance type can't be detected.
        # A late CVM went down after the run, so a different status is expected.
        status = cvm.status if target.late or target.status is None else target.status
        goes_down = target.late and cvm.status not in DOWN and cvm.in_progress
        left = replace(cvm, ref=target.ref, status=status, in_progress=goes_down)
        return recheck_cvm(left, cvm, reason)

    def apply_to_plan(self, plan: Plan, *, now: datetime, version: str) -> Plan:
        """Add missing CVMs and warnings to a plan made with `filter_target`.

        Args:
            plan: the plan.
            now: not used: the age of a run does not matter.
            version: not used.
        """
        del now, version
        gone = self._by_cvm.left_by(cvm.ref for cvm in plan.cvms)
        skipped = (
            *(replace(each, selected=each.why.code not in OUT_OF_SCOPE) for each in plan.skipped),
            *(
                Skipped(Cvm(ref=each.ref, status=each.status or "unknown"), Reason(SkipReason.GONE), selected=True)
                for each in gone
            ),
        )
        plan = replace(plan, skipped=skipped)
        # The only step of an undo selects every CVM, so a count of selected CVMs says nothing.
        kept = (warning for warning in plan.warnings if warning.code is not WarningCode.STEP_EMPTY)
        return replace(plan, warnings=(*kept, *self._list_warnings(plan)))

    def _list_warnings(self, plan: Plan) -> Iterable[PlanWarning]:
        late = {target.ref.key for target in self.late}
        refs = (self._by_cvm.find(target.cvm.ref) for target in plan.targets)
        started = [target.ref for target in refs if target is not None and target.late]
        if started:
            yield PlanWarning(
                WarningCode.LATE_STOPS,
                f"{plural(len(started), 'CVM')} not seen down by {self.doer}, down now, started too: "
                f"{join_names(ref.name for ref in started)}",
            )
        left = plan.drifted
        if left:
            what = f"taken down by {self.doer}" + (" or asked to go down" if late else "")
            sentence = f"skipped {len(left)} of {plural(len(self.targets), 'CVM')} {what}: changed since"
            yield PlanWarning(WarningCode.DRIFTED, sentence)
