"""Make notices from the records of an audit log. Pure.

A run with failures sends two failure notices: the first failure at once, and all failures at the end. A thousand
failed CVMs are two notices.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from orchestrator.audit.events import Event
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.duration import format_duration
from orchestrator.notify import words
from orchestrator.notify.notice import Notice, make_notice
from orchestrator.outcome import ENDS_THE_RUN, Exit
from orchestrator.playbook.value_types import NoticeKind
from orchestrator.plural import plural

_MOST_FAILURES = 5
"""Number of failed CVMs named in a notice."""

_FAILURE = Event.TARGET_FAILED


def notice_of_start(state: RunState) -> Notice:
    """Make the notice for the start of a run, or for its resume.

    Args:
        state: the state by the log, up to `run.planned` or, after a resume, `run.resumed`.
    """
    record = {"seq": state.events.total(), "run_id": state.run_id, "ts": state.last_ts}  # a log's numbers have no gap
    if state.events[Event.RUN_RESUMED]:
        still_open = sum(target.outcome is None for target in state.targets.values())
        headline = f" resumed: {still_open} of {plural(state.cvms, 'CVM')} are still open"
        record |= {"event": Event.RUN_RESUMED}
        return make_notice(record, state, {"start"}, headline, _describe_start(state), facts={"open": still_open})
    headline = f" started: {words.count_actions(target.action for target in state.targets.values())}"
    return make_notice(state.started.record, state, {"start"}, headline, _describe_start(state), facts={})


def notice_of(record: Record, state: RunState) -> Notice | None:
    """Make the notice about a record; None for a record without a notice.

    Args:
        record: a record of the audit log.
        state: the state by the log, including this record.
    """
    event = record["event"]
    if event == _FAILURE:
        return _notice_of_first_failure(record, state)
    tell = _NOTICES.get(event)
    return tell(record, state) if tell else None


def notice_of_log_failure(state: RunState, reason: str) -> Notice:
    """Make the notice for a run ended by a failed log: the log can record no end.

    Args:
        state: the state by the log.
        reason: the problem of the log.
    """
    record = {"seq": "log", "run_id": state.run_id, "ts": state.last_ts, "event": Event.RUN_INTERRUPTED}
    facts = {"reason": "log_failed", "exit_code": int(Exit.ENDED_EARLY), "counts": words.count_outcomes(state)}
    headline = " ended early: the audit log failed"
    return make_notice(record, state, {"end", "failure"}, headline, (words.one_line(reason),), facts=facts)


def notice_of_refusal(
    playbook: str, reason: str, exit_code: int, *, number: str, at: str, actor: str, cloud_url: str, simulated: bool
) -> Notice:
    """Make the notice for an unattended run refused before its start: by a guard, no match, or the cloud.

    Args:
        playbook: the name of the playbook.
        reason: the reason, in words.
        exit_code: the exit code of the command.
        number: makes the notice's id unique.
        at: the time, formatted as in logs.
        actor: user@host.
        cloud_url: the address of the cloud.
        simulated: True for a simulated cloud.
    """
    facts: dict[str, object] = {
        "event": "refused",
        "ts": at,
        "run_id": None,
        "playbook": playbook,
        "actor": actor,
        "cloud_url": cloud_url,
        "simulated": simulated,
        "targets": 0,
        "commands": [],
        "exit_code": exit_code,
        "reason": reason,
    }
    headline = f"{words.one_line(playbook, 100)} did not start (exit {exit_code}); nothing was changed"
    return Notice(
        id=f"refused-{number}",
        event="refused",
        kinds=frozenset({"failure"}),
        headline=f"[simulated] {headline}" if simulated else headline,
        lines=(words.one_line(reason, 1000), f"started by {words.one_line(actor)}, cloud {words.one_line(cloud_url)}"),
        facts=facts,
    )


def _notice_of_first_failure(record: Record, state: RunState) -> Notice | None:
    """Make the notice about the first failure of the run; the notice of the end lists other failures."""
    target = state.troubles[-1]
    if target.outcome not in ENDS_THE_RUN or any(each is not target for each in _find_failures(state)):
        return None
    lines = (f"{words.name_step(target.step)}; other failures follow when the run ends",)
    headline = f", first failure among {plural(state.cvms, 'CVM')}: {_describe_target(target)}"
    return make_notice(record, state, {"failure"}, headline, lines, facts={"failures": [_target_document(target)]})


def _notice_of_finish(record: Record, state: RunState) -> Notice:
    code, counts = record["exit_code"], record["counts"]
    facts = {
        "exit_code": code,
        "ending": record["ending"],
        "counts": counts,
        "money": record["money"],
        "seconds": words.seconds_between(state.started.ts, record["ts"]),
        "failures": [_target_document(target) for target in _last_failures(state)],
    }
    lines = [
        f"took {format_duration(facts['seconds'])}{words.describe_cost_change(record['money'])}",
        *map(_describe_target, _last_failures(state)),
    ]
    failed = sum(counts.get(each, 0) for each in ENDS_THE_RUN)
    deadline = record.get("deadline")
    if deadline is not None:
        facts["deadline"] = deadline
        lines += [] if deadline["met"] else [f"deadline missed: {plural(deadline['late'], 'CVM')} too late"]
    if failed > len(_last_failures(state)) > 0:
        lines.append(f"and {failed - len(_last_failures(state))} more")
    kinds: set[NoticeKind] = {"end"} if code == Exit.OK else {"end", "failure"}
    headline = f" {words.describe_end(code, record['ending'])}: {words.list_counts(counts)} (exit {code})"
    return make_notice(
        record, state, kinds, headline, tuple(lines), facts=facts, commands=(f"orchestrator show {state.run_id}",)
    )


def _notice_of_interruption(record: Record, state: RunState) -> Notice:
    code = record.get("exit_code")
    headline = (
        f" {words.INTERRUPTED.get(record['reason'], 'interrupted')}: {words.list_counts(words.count_outcomes(state))}"
    )
    facts = {
        "reason": record["reason"],
        "exit_code": code,
        "counts": words.count_outcomes(state),
        "open": record["open"],
    }
    commands = () if state.cloud_ended else (f"orchestrator resume {state.run_id}",)
    return make_notice(record, state, {"end", "failure"}, headline, (), facts=facts, commands=commands)


def _notice_of_request(record: Record, state: RunState) -> Notice:
    facts = {key: record.get(key) for key in ("step", "question", "expires_at")}
    question, *lines = words.split_lines(record["question"])
    until = words.format_moment(record["expires_at"])
    lines.append(f"{words.name_step(record['step'])}, until {until}; then the run ends as refused")
    headline = f" waits for approval: {question}"
    return make_notice(
        record,
        state,
        {"approval"},
        headline,
        tuple(lines),
        facts=facts,
        commands=(f"orchestrator approve {state.run_id}",),
    )


def _notice_of_answer(record: Record, state: RunState) -> Notice:
    facts = {key: record.get(key) for key in ("step", "answer", "by", "via", "comment")}
    by = f" by {words.one_line(record['by'])}" if record.get("by") else ""
    via = f" ({words.one_line(record['via'])})" if record.get("via") else ""
    answer = words.one_line(str(record["answer"]).replace("_", " "))
    comment = words.split_lines(record["comment"]) if record.get("comment") else []
    headline = f", {words.name_step(record['step'])}: {answer}{by}{via}"
    return make_notice(record, state, {"approval"}, headline, tuple(comment), facts=facts)


def _notice_of_message(record: Record, state: RunState) -> Notice:
    first, *more = words.split_lines(record["message"])
    facts = {"step": record["step"], "message": record["message"]}
    return make_notice(record, state, {"message"}, f": {first}", tuple(more), facts=facts)


_NOTICES = {
    Event.RUN_FINISHED: _notice_of_finish,
    Event.RUN_INTERRUPTED: _notice_of_interruption,
    Event.APPROVAL_REQUESTED: _notice_of_request,
    Event.APPROVAL_ANSWERED: _notice_of_answer,
    Event.NOTICE: _notice_of_message,
}


def _describe_start(state: RunState) -> tuple[str, ...]:
    started = state.started
    trigger = started.trigger or {}
    by = words.one_line(started.actor or "unknown")
    if trigger.get("schedule"):
        by = f"the schedule {words.one_line(trigger['schedule'])}"
    return (f"started by {by}, cloud {words.one_line(started.cloud_url)}",)


def _last_failures(state: RunState) -> list[TargetState]:
    """The last few failed targets, without targets superseded by a later step."""
    return [each for each in state.troubles if each.outcome in ENDS_THE_RUN and not each.taken_up_by][-_MOST_FAILURES:]


def _find_failures(state: RunState) -> Iterator[TargetState]:
    """Find every failed target, last failures first: usually two are enough."""
    for target in chain(state.troubles, state.targets.values()):
        if target.outcome in ENDS_THE_RUN:
            yield target


def _describe_target(target: TargetState) -> str:
    teepod = f" on {words.one_line(target.ref.teepod, 64)}" if target.ref.teepod else ""
    why = f": {words.one_line(target.reason)}" if target.reason else ""
    return f"{words.one_line(target.ref.name, 64)}{teepod} {target.outcome_so_far.value}{why}"


def _target_document(target: TargetState) -> dict[str, Any]:
    return {
        "step": target.step,
        "action": target.action,
        "cvm": target.ref.document(),
        "outcome": target.outcome_so_far.value,
        "reason": target.reason,
    }
