"""A plan from a plan file: the limits on a later run.

The later run makes a new plan. Its targets are only CVMs that are targets of the file and unchanged since the file was
made. All other targets of the file are *drifted*: skipped, with the changes as the reason.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from orchestrator.cvm import ByCvm, Cvm
from orchestrator.outcome import ALREADY, Reason, SkipReason
from orchestrator.playbook.guards import Denominator
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.playbook.plan import Plan, Skipped
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.recheck import lacks_facts, recheck_cvm
from orchestrator.playbook.resolved_steps import AnyPlanned, RunLimits
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.steps import Step
from orchestrator.state_files import PLAN_FORMAT
from orchestrator.text import plural
from orchestrator.times import format_duration

MARK = f'{{\n  "format": "{PLAN_FORMAT}",\n'.encode()
"""The first bytes of every plan file."""
_OLD_S = 24 * 3600
_CLOCKS_DIFFER_S = 300


@dataclass(frozen=True, slots=True)
class FrozenTarget:
    """A target of a plan file: the earlier CVM, with its step and action."""

    step: str
    action: str
    cvm: Cvm


@dataclass(frozen=True, slots=True)
class FrozenPlan:
    """The content of a plan file.

    Attributes:
        loaded: the playbook at the time of the file.
        guards: the guards at the time of the file, including the settings' guards.
        limits: the limits of the run's rate and width.
        steps: the steps in order.
        targets: the only possible targets.
        made_at: creation time of the file.
        actor: author of the file, as user@host.
        version: version of the orchestrator at that time.
        cloud_url: base URL of the cloud.
        workspace: id of the workspace; None if unknown.
        key_fingerprint: fingerprint of the API key for the inventory; None in files of earlier versions.
        workspace_name: the workspace by its name in the settings; None for the default key.
        narrowing: the conditions of `--only` and `--exclude`; None without these options.
        restores: the run to undo; None for another plan.
        wakes: `playbook` and `runs` of a wake; None for another plan.
        up_then: denominator of `max_percent` for the starts of an undo or a wake; None for another plan.
        digest: digest of the file, in hex.
    """

    loaded: LoadedPlaybook
    guards: Guards
    limits: RunLimits
    steps: tuple[AnyPlanned, ...]
    targets: tuple[FrozenTarget, ...]
    made_at: datetime
    actor: str
    version: str
    cloud_url: str
    digest: str
    workspace: str | None = None
    key_fingerprint: str | None = None
    workspace_name: str | None = None
    narrowing: Narrowing | None = None
    restores: str | None = None
    wakes: Mapping[str, object] | None = None
    up_then: int | None = None
    _by_cvm: ByCvm[FrozenTarget] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_cvm", ByCvm((target.cvm.ref, target) for target in self.targets))

    @property
    def source(self) -> str:
        """The source of the limits as text."""
        return "the plan file"

    @property
    def moment(self) -> datetime:
        """The moment of the file; later moments would change targets."""
        return self.made_at

    def filter_target(self, cvm: Cvm, step: Step | None, reason: Reason | None) -> Reason | None:
        """Return the reason to skip a CVM of the present inventory; None for an unchanged target of the file.

        Args:
            cvm: the CVM at present.
            step: the present step that covers the CVM.
            reason: the skip reason of a new plan.
        """
        target = self._by_cvm.find(cvm.ref)
        if target is None:
            return reason or Reason(SkipReason.NOT_IN_PLAN_FILE)
        same = step is not None and step.action == target.action
        if same and reason is not None and reason.code in ALREADY:
            return reason
        otherwise = None
        if step is None:
            otherwise = "no longer selected by the playbook"
        elif (step.name, step.action) != (target.step, target.action):
            otherwise = f"{target.action} in {target.step!r} became {step.action} in {step.name!r}"
        return recheck_cvm(target.cvm, cvm, reason, otherwise)

    def lacks_facts(self, cvm: Cvm) -> bool:
        """Return True if the list of CVMs lacks a fact of a target of the file."""
        target = self._by_cvm.find(cvm.ref)
        return target is not None and lacks_facts(target.cvm.ref, cvm.ref)

    def whole_of_starts(self, cvms: Iterable[Cvm]) -> Denominator | None:
        """Return the denominator of `max_percent` for an undo; None for a playbook: all CVMs of the workspace."""
        del cvms
        return None if self.up_then is None else Denominator(self.up_then, "that the plan file of the undo counted")

    def apply_to_plan(self, plan: Plan, *, now: datetime, version: str) -> Plan:
        """Add missing targets and warnings to a plan made with `filter_target`.

        Args:
            plan: the plan.
            now: the time of day.
            version: version of this orchestrator.
        """
        left = self._by_cvm.left_by(cvm.ref for cvm in plan.cvms)
        gone = (Skipped(each.cvm, Reason(SkipReason.GONE), selected=True) for each in left)
        plan = replace(plan, steps=self.steps, skipped=(*plan.skipped, *gone))
        return replace(plan, warnings=(*plan.warnings, *self._list_warnings(plan, now, version)))

    def _list_warnings(self, plan: Plan, now: datetime, version: str) -> Iterable[PlanWarning]:
        left = plan.drifted
        if left:
            yield PlanWarning(
                WarningCode.DRIFTED,
                f"skipped {len(left)} of {plural(len(self.targets), 'target')} in the plan file: changed since",
            )
        unlisted = sum(each.why.code is SkipReason.NOT_IN_PLAN_FILE for each in plan.skipped)
        if unlisted:
            sentence = f"{plural(unlisted, 'CVM')} selected by the playbook now, but no target of the plan file"
            yield PlanWarning(WarningCode.NOT_IN_PLAN_FILE, f"{sentence}: skipped")
        age = (now - self.made_at).total_seconds()
        if age > _OLD_S:
            yield PlanWarning(WarningCode.PLAN_FILE_AGE, f"the plan file is {format_duration(age // 60 * 60)} old")
        elif age < -_CLOCKS_DIFFER_S:
            sentence = "the plan file is from the future by this machine's clock; check the clocks"
            yield PlanWarning(WarningCode.PLAN_FILE_AGE, sentence)
        if version != self.version:
            sentence = f"the plan file was made by version {self.version}, this is version {version}"
            yield PlanWarning(WarningCode.PLAN_FILE_VERSION, sentence)
