"""A plan that was written down to be read by somebody: what it holds a later run to.

Such a run plans anew, and then goes to those CVMs alone that the file has as targets and that are what they were when
it was made. Every other target of the file is *drifted*: named, with what changed, and left alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from orchestrator.cvm import ByCvm, Cvm
from orchestrator.duration import format_duration
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.plan import Plan, Skipped
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.recheck import lacks_facts, recheck_cvm
from orchestrator.playbook.resolved_steps import AnyPlanned, RunLimits
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.steps import Step
from orchestrator.plural import plural
from orchestrator.skip_reason import ALREADY, CHANGED, Reason, SkipReason

FORMAT = "orchestrator plan"
MARK = f'{{\n  "format": "{FORMAT}",\n'.encode()
"""How every plan file begins."""
_OLD_S = 24 * 3600
_CLOCKS_DIFFER_S = 300


@dataclass(frozen=True, slots=True)
class LockedTarget:
    """One target of a plan file: the CVM as it was, and what was to be done with it."""

    step: str
    action: str
    cvm: Cvm


@dataclass(frozen=True, slots=True)
class Lock:
    """A plan file.

    Attributes:
        loaded: the playbook, as it was when the file was made.
        guards: those that held then, the settings' included.
        limits: how fast and how wide.
        steps: the steps in order.
        targets: what may be acted on.
        made_at: when the file was made.
        actor: by whom, user@host.
        version: of the orchestrator that made it.
        cloud_url: what it is for.
        workspace: the id of the workspace that it is for; None where that is not known.
        key_fingerprint: of the key that read the inventory; None in files of earlier versions.
        digest: of the file, in hex.
    """

    loaded: LoadedPlaybook
    guards: Guards
    limits: RunLimits
    steps: tuple[AnyPlanned, ...]
    targets: tuple[LockedTarget, ...]
    made_at: datetime
    actor: str
    version: str
    cloud_url: str
    digest: str
    workspace: str | None = None
    key_fingerprint: str | None = None
    _by_cvm: ByCvm[LockedTarget] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_cvm", ByCvm((target.cvm.ref, target) for target in self.targets))

    @property
    def source(self) -> str:
        """What it was taken from, for people."""
        return "the plan file"

    def filter_target(self, cvm: Cvm, step: Step | None, reason: Reason | None) -> Reason | None:
        """Why a CVM of today's inventory is left alone; None for a target of the file that is what it was.

        Args:
            cvm: as it is now.
            step: the step that covers it now.
            reason: why a plan of today would skip it.
        """
        target = self._by_cvm.find(cvm.ref)
        if target is None:
            return reason or Reason(SkipReason.NOT_IN_PLAN_FILE)
        same = step is not None and step.action == target.action
        if same and reason is not None and reason.code in ALREADY:
            return reason
        otherwise = None
        if step is None:
            otherwise = "the playbook no longer selects it"
        elif (step.name, step.action) != (target.step, target.action):
            otherwise = f"it was for {target.action} in {target.step!r}, is for {step.action} in {step.name!r}"
        return recheck_cvm(target.cvm, cvm, reason, otherwise)

    def lacks_facts(self, cvm: Cvm) -> bool:
        """Whether the list does not give a fact of a target that the file has."""
        target = self._by_cvm.find(cvm.ref)
        return target is not None and lacks_facts(target.cvm.ref, cvm.ref)

    def whole_of_starts(self, cvms: Iterable[Cvm]) -> None:
        """A plan file is checked against all CVMs of the workspace, as a playbook is."""
        del cvms

    def apply_to_plan(self, plan: Plan, *, now: datetime, version: str) -> Plan:
        """A plan that was made with this lock's last word, with what else is to be said about it.

        Args:
            plan: that plan.
            now: the time of day.
            version: of this orchestrator.
        """
        left = self._by_cvm.left_by(cvm.ref for cvm in plan.cvms)
        gone = (Skipped(each.cvm, Reason(SkipReason.GONE), selected=True) for each in left)
        plan = replace(plan, steps=self.steps, skipped=(*plan.skipped, *gone))
        return replace(plan, warnings=(*plan.warnings, *self._list_warnings(plan, now, version)))

    def _list_warnings(self, plan: Plan, now: datetime, version: str) -> Iterable[PlanWarning]:
        left = list_drifted(plan)
        if left:
            yield PlanWarning(
                WarningCode.DRIFTED,
                f"{plural(len(left), 'target')} of {len(self.targets)} in the plan file drifted since it was made: "
                "left alone",
            )
        unlisted = sum(each.why.code is SkipReason.NOT_IN_PLAN_FILE for each in plan.skipped)
        if unlisted:
            sentence = f"{plural(unlisted, 'CVM')} selected by the playbook now, but no target of the plan file"
            yield PlanWarning(WarningCode.NOT_IN_PLAN_FILE, f"{sentence}: left alone")
        age = (now - self.made_at).total_seconds()
        if age > _OLD_S:
            yield PlanWarning(WarningCode.PLAN_FILE_AGE, f"the plan file is {format_duration(age // 60 * 60)} old")
        elif age < -_CLOCKS_DIFFER_S:
            sentence = "the plan file was made in the future, by this machine's clock"
            yield PlanWarning(WarningCode.PLAN_FILE_AGE, sentence)
        if version != self.version:
            sentence = f"the plan file was made by version {self.version}, this is {version}"
            yield PlanWarning(WarningCode.PLAN_FILE_VERSION, sentence)


def list_drifted(plan: Plan) -> tuple[Skipped, ...]:
    """The CVMs of a plan file that are left alone because they have changed."""
    return tuple(each for each in plan.skipped if each.why.code in CHANGED)
