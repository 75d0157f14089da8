"""The check of a plan before the run."""

from orchestrator.errors import DriftedError, GuardError, NoMatchError, OrchestratorError
from orchestrator.playbook.frozen_plan import list_drifted
from orchestrator.playbook.plan import Plan, PlanConstraint
from orchestrator.playbook.plan_warning import WarningCode
from orchestrator.plural import plural
from orchestrator.safe_text import safe_text
from orchestrator.skip_reason import SkipReason

_MOST_REASONS = 10


def find_refusal(
    plan: Plan, constraint: PlanConstraint | None = None, *, is_named: bool = False
) -> OrchestratorError | None:
    """Return the reason not to carry out a plan; None for a valid plan.

    Args:
        plan: the plan.
        constraint: the constraint of the plan, such as a plan file.
        is_named: whether a person named every CVM, so that a plan without any unprotected CVM is refused.
    """
    left = list_drifted(plan)
    if constraint is not None and left and not plan.targets:
        return DriftedError(
            f"nothing is left to do: {plural(len(left), 'target')} of {constraint.source} changed since",
            hint="make a new plan; if the list has none of these CVMs, check the API key",
        )
    if not plan.has_matches:
        narrowed = any(each.why.code is SkipReason.EXCLUDED_BY_OPTION for each in plan.skipped)
        return NoMatchError(
            "--only and --exclude leave no CVM" if narrowed else "the selectors matched no CVM",
            hint="; ".join(each.message for each in plan.warnings if each.code is WarningCode.SELECTOR_UNMATCHED)
            or "`orchestrator plan PLAYBOOK --details` lists the inventory",
        )
    selected = [each for each in plan.skipped if each.selected]
    if is_named and not plan.targets and all(each.why.code is SkipReason.PROTECTED for each in selected):
        reasons = "; ".join(f"{safe_text(each.cvm.ref.name, 64)}: {each.reason}" for each in selected[:_MOST_REASONS])
        more = f"; and {len(selected) - _MOST_REASONS} more" if len(selected) > _MOST_REASONS else ""
        return GuardError(
            f"refused by a guard: every named CVM is protected: {reasons}{more}",
            hint="change `guards.protect` on purpose",
        )
    refused = [check for check in plan.guards if not check.ok]
    if refused:
        reasons = "; ".join(f"{check.name}: {check.message}" for check in refused)
        narrow = "narrow the select, or " if constraint is None else ""
        return GuardError(f"refused by a guard: {reasons}", hint=f"{narrow}raise the guard on purpose")
    return None
