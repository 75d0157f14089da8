"""The result of a rehearsal as a document, the common source of its text and JSON. Pure functions."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from math import ceil
from typing import Any

from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.outcome import AS_WANTED, TROUBLE, Ending, Exit, Outcome
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.plan_warning import warning_document
from orchestrator.rehearsal.rehearse import Rehearsal, Rehearsed

_SHARES = {"p50": 0.5, "p90": 0.9, "p100": 1.0}


def build_result(rehearsal: Rehearsal, found: Rehearsed) -> dict[str, Any]:
    """Build the document of `rehearse --json`. Times are in seconds since `run.started`."""
    state, plan = found.state, found.plan
    begun = None if state is None else state.started.ts
    targets = [] if state is None else [each for each in state.targets.values() if each.taken_up_by is None]
    began_at = (
        0.0 if state is None else (datetime.fromisoformat(state.started.ts) - rehearsal.fleet.read_at).total_seconds()
    )
    sent = [max(0.0, round(moment - began_at, 3)) for moment in found.changing]
    return {
        "rehearsal": True,
        "playbook": rehearsal.loaded.playbook.name,
        "inventory": {
            "source": rehearsal.fleet.source,
            "read_at": f"{rehearsal.fleet.read_at:%Y-%m-%dT%H:%M:%SZ}",
            "cvms": len(rehearsal.fleet.cvms),
        },
        "seed": found.seed,
        "faults": rehearsal.faults_source,
        "assumed": dict(rehearsal.assumptions.basis),
        "exit_code": int(found.exit_code),
        "ending": None if found.ending is None else found.ending.value,
        "ended_by": find_cause(found),
        "counts": {} if state is None else state.counts_so_far,
        "requests": {
            "total": found.requests,
            "changing": len(sent),
            "first_s": min(sent, default=None),
            "last_s": max(sent, default=None),
        },
        "seconds": _find_length(found, began_at),
        "down": _measure_down(begun, targets),
        "waves": [] if state is None else _list_waves(begun, state.targets.values()),
        "troubles": [_describe_trouble(each) for each in targets if each.outcome_so_far in TROUBLE],
        "escalated": sum(each.escalated_at is not None for each in targets),
        "questions": [] if state is None else _list_questions(begun, state),
        "kills": found.deaths,
        "deadline": None if state is None else _describe_deadline(begun, state),
        "guards": [] if plan is None else _list_guards(plan),
        "billing": {} if state is None else state.money,
        "warnings": _list_warnings(found),
    }


def find_cause(found: Rehearsed) -> dict[str, Any] | None:
    """Return the guard or limit behind a refusal or an early end; None for a run to its end."""
    if found.error is not None:
        refused = [check.name for check in found.plan.guards if not check.ok] if found.plan is not None else []
        return {"name": refused[0] if refused else found.error.code, "message": found.error.message}
    if found.ending is None or found.ending is Ending.COMPLETED:
        return None
    names = {Ending.MAX_FAILURES: "limits.max_failures", Ending.TIMED_OUT: "settle.whole_run"}
    names |= {Ending.CLOUD_DOWN: "settle.cloud_down", Ending.STEP_FAILED: "on_failure", Ending.CANARY_FAILED: "waves"}
    return {"name": names.get(found.ending, found.ending.value), "message": None}


def rank_result(counts: dict[str, int], exit_code: int, seconds: float | None) -> tuple[int, int, float]:
    """Return the rank of a result, the best first: by CVMs not as wanted, by exit code, then by time."""
    unwanted = sum(number for outcome, number in counts.items() if Outcome(outcome) not in AS_WANTED)
    is_refused = exit_code in {Exit.GUARD, Exit.CLOUD}
    return (unwanted if not is_refused else 1_000_000_000, int(exit_code != Exit.OK), seconds or 0.0)


def _find_length(found: Rehearsed, began_at: float) -> float | None:
    """Return the seconds from the start to the end of the run, or to the last attempt to resume."""
    if found.state is None:
        return None
    if found.given_up is not None:
        return round(found.given_up - began_at, 3)
    return _seconds_between(found.state.started.ts, found.state.ended_at or found.state.last_ts)


def _seconds_between(begin: str | None, end: str | None) -> float | None:
    if not begin or not end:
        return None
    return round((datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds(), 3)


def _list_seconds(begin: str | None, moments: Iterable[str | None]) -> list[float]:
    found = (_seconds_between(begin, moment) for moment in moments)
    return sorted(each for each in found if each is not None)


def _measure_down(begin: str | None, targets: Sequence[TargetState]) -> dict[str, float | None]:
    """Measure when half, nine tenths and all of the targets were as wanted; None for a share never reached."""
    settled = _list_seconds(begin, (each.settled_at or each.ended_at for each in targets if each.outcome in AS_WANTED))
    ranks = {name: ceil(len(targets) * share) for name, share in _SHARES.items()}
    return {name: settled[rank - 1] if 0 < rank <= len(settled) else None for name, rank in ranks.items()}


def _list_waves(begin: str | None, targets: Iterable[TargetState]) -> list[dict[str, Any]]:
    """Describe the waves of all steps, in order: their size, their first request, and their last outcome."""
    waves: dict[tuple[str, int], list[TargetState]] = {}
    for each in targets:
        waves.setdefault((each.step, each.wave), []).append(each)
    found = []
    for (step, wave), members in waves.items():
        sent = _list_seconds(begin, (each.first_sent_at for each in members))
        is_open = any(each.outcome is None for each in members)
        ended = [] if is_open else _list_seconds(begin, (each.ended_at for each in members))
        found.append(
            {
                "step": step,
                "wave": wave,
                "targets": len(members),
                "first_s": sent[0] if sent else None,
                "settled_s": ended[-1] if ended and sent else None,
            }
        )
    return found


def _describe_trouble(target: TargetState) -> dict[str, Any]:
    outcome = target.outcome_so_far.value
    return {"step": target.step, "cvm": target.ref.document(), "outcome": outcome, "reason": target.reason}


def _list_questions(begin: str | None, state: RunState) -> list[dict[str, Any]]:
    return [
        {
            "step": question.step,
            "question": question.record.get("question"),
            "asked_s": _seconds_between(begin, question.ts),
            "answer": answer.record.get("answer"),
        }
        for question, answer in state.answers
    ]


def _describe_deadline(begin: str | None, state: RunState) -> dict[str, Any] | None:
    """Describe the deadline: its result, and the seconds of the last first request after the deadline."""
    planned = state.planned.deadline
    if not planned:
        return None
    kept = (state.finished.deadline if state.finished is not None else None) or {}
    sent = _list_seconds(begin, (each.first_sent_at for each in state.targets.values()))
    over = max(0.0, round(sent[-1] - planned["seconds"], 3)) if sent else None
    return {"seconds": planned["seconds"], "met": kept.get("met"), "late": kept.get("late"), "over_s": over}


def _list_guards(plan: Plan) -> list[dict[str, Any]]:
    return [{"name": each.name, "ok": each.ok, "message": each.message} for each in plan.guards]


def _list_warnings(found: Rehearsed) -> list[dict[str, Any]]:
    if found.plan is not None:
        return [each.document() for each in found.plan.warnings]
    return [] if found.state is None else [warning_document(each) for each in found.state.planned.warnings]
