"""The undoing of a run: of the CVMs that it took from running to down, which may be started now. Pure.

A CVM that has changed since, as far as one read of today can tell, is *drifted*: named, with what changed, and left
alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from orchestrator.cvm import DOWN, ByCvm, Cvm, CvmRef, is_up
from orchestrator.playbook.guards import Whole
from orchestrator.playbook.lock import list_drifted
from orchestrator.playbook.plan import Plan, Skipped
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.recheck import lacks_facts, recheck_cvm
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.plural import names, plural
from orchestrator.skip_reason import Reason, SkipReason


@dataclass(frozen=True, slots=True)
class TakenDown:
    """A CVM that a run took from running to down.

    Attributes:
        ref: the CVM as it was then.
        status: the last status that the run saw; None where the log has none.
        late: whether the run did not see the CVM down, although its stop had, or may have had, an effect.
    """

    ref: CvmRef
    status: str | None
    late: bool = False


@dataclass(frozen=True, slots=True)
class Undo:
    """What a run took down: nothing else is started.

    Attributes:
        run_id: the run.
        targets: what it took from running to down, or asked to go down without seeing it there.
        up_then: how many CVMs of the workspace were up when the run was planned; None where it read some apps only.
        guards: none of its own; those of the settings hold.
    """

    run_id: str
    targets: tuple[TakenDown, ...]
    up_then: int | None = None
    guards: Guards = field(default_factory=Guards)
    _by_cvm: ByCvm[TakenDown] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_cvm", ByCvm((target.ref, target) for target in self.targets))

    @property
    def source(self) -> str:
        """What it was taken from, for people."""
        return "the run to undo"

    @property
    def late(self) -> tuple[TakenDown, ...]:
        """The targets that the run did not see down."""
        return tuple(target for target in self.targets if target.late)

    def lacks_facts(self, cvm: Cvm) -> bool:
        """Whether the list does not give a fact of a CVM that the run's log has."""
        target = self._by_cvm.find(cvm.ref)
        return target is not None and lacks_facts(target.ref, cvm.ref)

    def whole_of_starts(self, cvms: Iterable[Cvm]) -> Whole:
        """What `max_percent` is a share of: the CVMs that were up when the run was planned.

        Args:
            cvms: the inventory of today, for a run that did not read the whole workspace.
        """
        if self.up_then is not None:
            return Whole(self.up_then, "that were up when the run to undo was planned")
        number = sum(not cvm.down or self._by_cvm.find(cvm.ref) is not None for cvm in cvms)
        return Whole(number, "that are up now, or that the run to undo took down")

    @property
    def playbook(self) -> Playbook:
        """A playbook with a single start step for every CVM; `filter_target` then keeps the CVMs of the run."""
        step = {"name": "restore", "action": "start", "select": {"all": "true"}}
        description = f"Start what run {self.run_id} took from running to down."
        return Playbook.model_validate({"name": "restore", "description": description, "steps": [step]})

    def filter_target(self, cvm: Cvm, step: object, reason: Reason | None) -> Reason | None:
        """Why a CVM of today's inventory is not started; None for one that is as the run left it.

        Args:
            cvm: as it is now.
            step: the step that starts; it is the same for all.
            reason: why it would be skipped whatever the run did.
        """
        del step
        target = self._by_cvm.find(cvm.ref)
        if target is None:
            return Reason(SkipReason.NOT_IN_RUN)
        if is_up(cvm.status, in_progress=cvm.in_progress):
            return Reason(SkipReason.ALREADY_UP, cvm.status)
        # The log does not have the instance type, so that one can't have changed.
        # A late one went down after the run, so its status has to differ.
        status = cvm.status if target.late or target.status is None else target.status
        goes_down = target.late and cvm.status not in DOWN and cvm.in_progress
        left = replace(cvm, ref=target.ref, status=status, in_progress=goes_down)
        return recheck_cvm(left, cvm, reason)

    def apply_to_plan(self, plan: Plan, *, now: datetime, version: str) -> Plan:
        """A plan that was made with this last word, with what else is to be said about it.

        Args:
            plan: that plan.
            now: the time of day, which does not matter: an old run is undone like any other.
            version: of this orchestrator, which does not matter either.
        """
        del now, version
        gone = self._by_cvm.left_by(cvm.ref for cvm in plan.cvms)
        skipped = (
            *(replace(each, selected=each.why.code is not SkipReason.NOT_IN_RUN) for each in plan.skipped),
            *(
                Skipped(Cvm(ref=each.ref, status=each.status or "unknown"), Reason(SkipReason.GONE), selected=True)
                for each in gone
            ),
        )
        plan = replace(plan, skipped=skipped)
        # The only step of an undo selects every CVM, so a count of what it selects says nothing.
        kept = (warning for warning in plan.warnings if warning.code is not WarningCode.STEP_EMPTY)
        return replace(plan, warnings=(*kept, *self._list_warnings(plan)))

    def _list_warnings(self, plan: Plan) -> Iterable[PlanWarning]:
        late = {target.ref.key for target in self.late}
        refs = (self._by_cvm.find(target.cvm.ref) for target in plan.targets)
        started = [target.ref for target in refs if target is not None and target.late]
        if started:
            yield PlanWarning(
                WarningCode.LATE_STOPS,
                f"{plural(len(started), 'CVM')} not seen down by the run in time, down now, started too: "
                f"{names(ref.name for ref in started)}",
            )
        left = list_drifted(plan)
        if left:
            what = "that the run took down" + (" or asked to go down" if late else "")
            sentence = f"{plural(len(left), 'CVM')} of {len(self.targets)} {what} drifted since: left alone"
            yield PlanWarning(WarningCode.DRIFTED, sentence)
