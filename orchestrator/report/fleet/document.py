"""A plan and a run over several workspaces as JSON documents: the single documents, with totals."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.playbook.guards import GuardCheck
from orchestrator.playbook.plan import Plan
from orchestrator.report.fleet.totals import FleetOutcome, merge_plans
from orchestrator.runs.documents import plan_document, run_document

_SHARED = ("playbook", "steps", "settings_file", "narrowed")


def fleet_plan_document(
    plans: Sequence[tuple[str, Plan]],
    guards: Iterable[GuardCheck] = (),
    left_out: Sequence[Mapping[str, Any]] = (),
    *,
    first: str | None = None,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Build the document of `plan --json` for several workspaces.

    Args:
        plans: the name of every workspace, and its plan.
        guards: the guards of the total.
        left_out: the unreachable workspaces left out on request.
        first: the name of the canary workspace.
        warnings: the warnings about the plan as a whole.
    """
    total = merge_plans([plan for _, plan in plans], guards)
    documents = [{"workspace": name, **plan_document(plan)} for name, plan in plans]
    found = plan_document(total)
    shared = {key: found[key] for key in _SHARED if key in found}
    return {
        **shared,
        "workspaces": documents,
        "totals": {
            "workspaces": len(plans),
            "targets": len(total.targets),
            "skipped": len(total.skipped),
            "estimate": found["estimate"],
            "billing": found["billing"],
        },
        "guards": found["guards"],
        "first": first,
        "warnings": [*warnings],
        "left_out": [dict(each) for each in left_out],
    }


def fleet_run_document(fleet: FleetOutcome) -> dict[str, Any]:
    """Build the document of `run --json`, `resume --json` and `show --json` for several workspaces."""
    return {
        "fleet_id": fleet.fleet_id,
        "exit_code": fleet.exit_code,
        "audit_log": fleet.audit_log,
        "playbook": fleet.playbook,
        "workspaces": [
            {"workspace": run.workspace, **run_document(run.state, run.exit_code, run.audit_log)} for run in fleet.runs
        ],
        "totals": {
            "workspaces": len(fleet.runs),
            "targets": sum(run.state.cvm_count for run in fleet.runs),
            "counts": fleet.outcomes,
            "requests": sum(run.state.requests for run in fleet.runs),
            "billing": fleet.money,
        },
        "guards": [dict(each) for each in fleet.guards],
        "left_out": [dict(each) for each in fleet.left_out],
    }
