"""The undoing of a run: of the CVMs that it took from running to down, which may be started now. Pure.

A CVM that has changed since, as far as one read of today can tell, is *drifted*: named, with what changed, and left
alone.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

from orchestrator.cvm import ByCvm, Cvm, CvmRef, is_up
from orchestrator.playbook.lock import GONE, changed, drifted
from orchestrator.playbook.plan import Plan, Skipped
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.wording import DRIFTED, counted

ANOTHER = "not taken down by that run"
"""Why a CVM is left alone that the run did not take from running to down."""


@dataclass(frozen=True, slots=True)
class TakenDown:
    """A CVM that a run took from running to down.

    Attributes:
        ref: the CVM as it was then.
        status: the status in which it settled; None where the log has none.
    """

    ref: CvmRef
    status: str | None


@dataclass(frozen=True, slots=True)
class Undo:
    """What a run took down: nothing else is started.

    Attributes:
        run_id: the run.
        targets: what it took from running to down.
        guards: none of its own; those of the settings hold.
    """

    run_id: str
    targets: tuple[TakenDown, ...]
    guards: Guards = field(default_factory=Guards)
    _by_cvm: ByCvm[TakenDown] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_cvm", ByCvm((target.ref, target) for target in self.targets))

    @property
    def source(self) -> str:
        """What it was taken from, for people."""
        return "the run to undo"

    @property
    def playbook(self) -> Playbook:
        """One step that starts; which CVMs, `last_word` decides, since neither name nor app tells one from another."""
        step = {"name": "restore", "action": "start", "select": {"all": "true"}}
        description = f"Start what run {self.run_id} took from running to down."
        return Playbook.model_validate({"name": "restore", "description": description, "steps": [step]})

    def last_word(self, cvm: Cvm, step: object, reason: str | None) -> str | None:
        """Why a CVM of today's inventory is not started; None for one that is as the run left it.

        Args:
            cvm: as it is now.
            step: the step that starts; it is the same for all.
            reason: why it would be skipped whatever the run did.
        """
        del step
        target = self._by_cvm.find(cvm.ref)
        if target is None:
            return ANOTHER
        if is_up(cvm.status, in_progress=cvm.in_progress):
            return f"already {cvm.status}"
        # The log does not have the instance type, so that one can't have changed.
        left = replace(cvm, ref=target.ref, status=target.status or cvm.status, in_progress=False)
        changes = list(changed(left, cvm))
        if reason is not None and reason.startswith("protected"):
            changes.append(f"now {reason}")
        elif reason is not None and not changes:
            changes.append(reason)
        return f"{DRIFTED}{', '.join(changes)}" if changes else None

    def hold(self, plan: Plan, *, now: datetime, version: str) -> Plan:
        """A plan that was made with this last word, with what else is to be said about it.

        Args:
            plan: that plan.
            now: the time of day, which does not matter: an old run is undone like any other.
            version: of this orchestrator, which does not matter either.
        """
        del now, version
        gone = self._by_cvm.left_by(cvm.ref for cvm in plan.cvms)
        skipped = (
            *(replace(each, selected=each.reason != ANOTHER) for each in plan.skipped),
            *(Skipped(Cvm(ref=each.ref, status=each.status or "unknown"), GONE, selected=True) for each in gone),
        )
        plan = replace(plan, skipped=skipped)
        left = len(drifted(plan))
        if not left:
            return plan
        warning = f"{counted(left, 'CVM')} of {len(self.targets)} that the run took down drifted since: left alone"
        return replace(plan, warnings=(*plan.warnings, warning))
