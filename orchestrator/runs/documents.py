"""Plans, runs and errors as JSON documents. The documents are contracts: fields may be added, but never changed."""

import json
from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from orchestrator.audit.replay import RunState
from orchestrator.billing.rates import format_amount
from orchestrator.errors import OrchestratorError
from orchestrator.playbook.deadline import Forecast
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.plan_warning import warning_document
from orchestrator.runs.records import step_fields

_PIECES = 10_000
"""Number of encoded pieces (a key, a value, a comma) written together."""


def plan_document(plan: Plan) -> dict[str, Any]:
    """Build the document of `plan --json`."""
    return {
        "playbook": plan.playbook,
        "targets": [
            {
                "step": target.step,
                "action": target.action.value,
                "cvm": target.cvm.ref.document(),
                "status": target.cvm.status,
                "wave": target.wave,
                "usd_per_hour": _format_amount(target.note.rates.compute),
                "storage_usd_per_hour": _format_amount(target.note.rates.storage),
            }
            for target in plan.targets
        ],
        "steps": [step_fields(step) | _may_follow(plan, step.name) for step in plan.steps],
        "skipped": [
            {"cvm": each.cvm.ref.document(), **each.why.fields(), "status": each.cvm.status} for each in plan.skipped
        ],
        "guards": [
            {
                "name": check.name,
                "limit": None if check.limit is None else _plain_number(check.limit),
                "value": _plain_number(check.value),
                "ok": check.ok,
                "message": check.message,
            }
            for check in plan.guards
        ],
        "estimate": {"requests": plan.estimate.requests, "seconds": round(plan.estimate.seconds, 1)},
        "billing": plan.stopped_total.document()
        | ({"starts": plan.started_total.document()} if plan.started_total else {}),
        "deadline": None if plan.deadline is None else _deadline_fields(plan, plan.deadline),
        "warnings": [each.document() for each in plan.warnings],
        "unknown_facts": plan.unknown_facts,
        "settings_file": plan.settings_file,
        **({} if plan.narrowed is None else {"narrowed": plan.narrowed}),
        **({} if plan.workspace_name is None else {"workspace_name": plan.workspace_name}),
    }


def _deadline_fields(plan: Plan, deadline: Forecast) -> dict[str, Any]:
    """Describe the estimated time of the requests beside the deadline, and the late targets, the first ones first."""
    return {
        "seconds": deadline.seconds,
        "estimate_seconds": round(deadline.estimate_seconds, 1),
        "settle_seconds": deadline.settle,
        "settle_basis": deadline.basis,
        "ok": deadline.ok,
        "late": [
            {
                "step": plan.targets[place].step,
                "cvm": plan.targets[place].cvm.ref.document(),
                "seconds": round(deadline.asked[place], 1),
            }
            for place in deadline.late
        ],
    }


def _format_amount(usd: Decimal | None) -> str | None:
    return None if usd is None else format_amount(usd)


def _plain_number(value: Decimal | int) -> float | int:
    return value if isinstance(value, int) else float(value)


def run_document(state: RunState, exit_code: int | None, audit_log: Path | str) -> dict[str, Any]:
    """Build the document of `run --json`, `resume --json` and `show --json`."""
    return {
        "run_id": state.run_id,
        "exit_code": exit_code,
        "audit_log": str(audit_log),
        **({"narrowed": state.started.narrowed} if state.started.narrowed else {}),
        **({} if state.started.workspace_name is None else {"workspace_name": state.started.workspace_name}),
        "counts": state.counts_so_far,
        "targets": [
            {
                "step": target.step,
                "action": target.action,
                "escalated": target.escalated_at is not None,
                "taken_up_by": target.taken_up_by,
                "cvm": target.ref.document(),
                "outcome": target.outcome_so_far.value,
                "seconds": target.seconds,
                "reason": target.reason,
                "code": target.code,
                "request_id": target.request_id,
            }
            for target in state.targets.values()
        ],
        "skipped": state.skipped,
        "drifted": state.drifted_targets,
        "questions": _list_questions(state),
        "deadline": None if state.finished is None else state.finished.deadline,
        "warnings": [warning_document(each) for each in state.planned.warnings],
        "billing": state.money,
    }


def _list_questions(state: RunState) -> list[dict[str, Any]]:
    """List the questions and answers in order; the last question may lack an answer."""
    asked = [(question.record, answer.record) for question, answer in state.answers]
    if state.question is not None:
        asked.append((state.question.record, {}))
    return [
        {key: question.get(key) for key in ("step", "question", "expires_at")}
        | {key: answer.get(key) for key in ("answer", "by", "via", "comment")}
        for question, answer in asked
    ]


def _may_follow(plan: Plan, step: str) -> dict[str, int]:
    """Return the highest possible number of targets of a follow-up step."""
    return {"at_most": plan.may_follow[step]} if step in plan.may_follow else {}


def write_document(document: dict[str, Any] | list[dict[str, Any]], write: Callable[[str], object]) -> None:
    """Write a document as JSON with a newline, piece by piece.

    In one piece the document of a large run would take hundreds of MB.
    """
    pieces = json.JSONEncoder(indent=2).iterencode(document)
    while text := "".join(islice(pieces, _PIECES)):
        write(text)
    write("\n")


def error_document(error: OrchestratorError) -> dict[str, Any]:
    """Build the document of a failed command with `--json`."""
    return {
        "exit_code": int(error.exit_code),
        "error": {**_error_fields(error), "more": [_error_fields(each) for each in error.more]},
    }


def _error_fields(error: OrchestratorError) -> dict[str, Any]:
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "file": error.file,
        "line": error.line,
    }
