"""Make notices from the records of an audit log. Pure.

A run with failures sends two failure notices: the first failure at once, and all failures at the end. A thousand
failed CVMs are two notices.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from orchestrator.audit.events import (
    ApprovalAnswered,
    ApprovalRequested,
    Event,
    MessageSent,
    RunFinished,
    RunInterrupted,
    TargetFailed,
    read_event,
)
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.notify import words
from orchestrator.notify.notice import Notice, make_notice
from orchestrator.outcome import ENDS_THE_RUN, Ending, Exit, SkipReason
from orchestrator.playbook.plan_warning import WarningCode
from orchestrator.playbook.value_types import NoticeKind
from orchestrator.text import plural
from orchestrator.times import format_duration

_MOST_FAILURES = 5
"""Number of failed CVMs named in a notice."""
_MOST_KEPT = 5
"""Number of exempted CVMs named in a notice."""
_KEEP_WARNINGS = frozenset({WarningCode.KEEP_IGNORED.value, WarningCode.KEEP_EXPIRED.value})


_HANDED_OVER = frozenset({Ending.SIGTERM})
"""Endings of a part of a run after which another worker continues the run at once."""


def notice_of_start(state: RunState) -> Notice:
    """Make the notice for the start of a run, or for its resume.

    Args:
        state: the state by the log, up to `run.planned` or, after a resume, `run.resumed`.
    """
    record = {"seq": state.events.total(), "run_id": state.run_id, "ts": state.last_ts}  # a log's numbers have no gap
    if state.events[Event.RUN_RESUMED]:
        still_open = sum(target.outcome is None for target in state.targets.values())
        headline = f" resumed: {still_open} of {plural(state.cvm_count, 'CVM')} are still open"
        record |= {"event": Event.RUN_RESUMED}
        return make_notice(record, state, {"start"}, headline, _describe_start(state), facts={"open": still_open})
    headline = f" started: {words.count_actions(target.action for target in state.targets.values())}"
    lines = (*_describe_start(state), *_describe_kept(state))
    return make_notice(state.started.record, state, {"start"}, headline, lines, facts=_kept_facts(state))


def notice_of(record: Record, state: RunState) -> Notice | None:
    """Make the notice about a record; None for a record without a notice.

    Args:
        record: a record of the audit log.
        state: the state by the log, including this record.
    """
    match read_event(record):
        case TargetFailed():
            return _notice_of_first_failure(record, state)
        case RunFinished() as event:
            return _notice_of_finish(event, state)
        case RunInterrupted() as event if event.reason in _HANDED_OVER and state.started.submitted is not None:
            return None  # another worker continues the run at once
        case RunInterrupted() as event:
            return _notice_of_interruption(event, state)
        case ApprovalRequested() as event:
            return _notice_of_request(event, state)
        case ApprovalAnswered() as event:
            return _notice_of_answer(event, state)
        case MessageSent() as event:
            return _notice_of_message(event, state)
        case _:
            return None


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
    playbook: str,
    reason: str,
    exit_code: int,
    *,
    number: str,
    at: str,
    actor: str,
    cloud_url: str,
    simulated: bool,
    workspace_name: str | None = None,
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
        workspace_name: the workspace by its name in the settings; None for the default key.
    """
    facts = _facts_without_run("refused", playbook, at, actor, cloud_url, simulated=simulated)
    facts |= {"exit_code": exit_code, "reason": reason}
    in_workspace = ""
    if workspace_name is not None:
        facts["workspace_name"] = workspace_name
        in_workspace = f" in {words.one_line(workspace_name, 64)}"
    headline = f"{words.one_line(playbook, 100)}{in_workspace} did not start (exit {exit_code}); nothing was changed"
    return Notice(
        id=f"refused-{number}",
        event="refused",
        kinds=frozenset({"failure"}),
        headline=f"[simulated] {headline}" if simulated else headline,
        lines=(words.one_line(reason, 1000), f"started by {words.one_line(actor)}, cloud {words.one_line(cloud_url)}"),
        facts=facts,
    )


def make_test_notice(*, number: str, at: str, actor: str, cloud_url: str) -> Notice:
    """Make a notice marked as a test, without a run.

    Args:
        number: makes the notice's id unique.
        at: the time, formatted as in logs.
        actor: user@host.
        cloud_url: the address of the cloud.
    """
    facts = _facts_without_run("test", None, at, actor, cloud_url, simulated=False)
    return Notice(
        id=f"test-{number}",
        event="test",
        kinds=frozenset({"message"}),
        headline="[test] orchestrator can reach this channel; no run, nothing was changed",
        lines=(f"sent by {words.one_line(actor)}, cloud {words.one_line(cloud_url)}",),
        facts=facts,
    )


def _facts_without_run(
    event: str, playbook: str | None, at: str, actor: str, cloud_url: str, *, simulated: bool
) -> dict[str, object]:
    """Build the facts of a notice without a run."""
    return {
        "event": event,
        "ts": at,
        "run_id": None,
        "playbook": playbook,
        "actor": actor,
        "cloud_url": cloud_url,
        "simulated": simulated,
        "targets": 0,
        "commands": [],
    }


def _notice_of_first_failure(record: Record, state: RunState) -> Notice | None:
    """Make the notice about the first failure of the run; the notice of the end lists other failures."""
    target = state.troubles[-1]
    if target.outcome not in ENDS_THE_RUN or any(each is not target for each in _find_failures(state)):
        return None
    lines = (f"{words.name_step(target.step)}; other failures follow when the run ends",)
    headline = f", first failure among {plural(state.cvm_count, 'CVM')}: {_describe_target(target)}"
    return make_notice(record, state, {"failure"}, headline, lines, facts={"failures": [_target_document(target)]})


def _notice_of_finish(event: RunFinished, state: RunState) -> Notice:
    code, counts = event.exit_code, event.counts
    seconds = words.seconds_between(state.started.ts, event.ts)
    facts: dict[str, object] = {
        "exit_code": code,
        "ending": event.ending,
        "counts": counts,
        "money": event.money,
        "seconds": seconds,
        "failures": [_target_document(target) for target in _last_failures(state)],
        **_kept_facts(state),
    }
    lines = [
        f"took {format_duration(seconds)}{words.describe_cost_change(event.money)}",
        *map(_describe_target, _last_failures(state)),
    ]
    failed = sum(counts.get(each, 0) for each in ENDS_THE_RUN)
    deadline = event.deadline
    if deadline is not None:
        facts["deadline"] = deadline
        lines += [] if deadline["met"] else [f"deadline missed: {plural(deadline['late'], 'CVM')} too late"]
    if failed > len(_last_failures(state)) > 0:
        lines.append(f"and {failed - len(_last_failures(state))} more")
    lines += _describe_kept(state)
    kinds: set[NoticeKind] = {"end"} if code == Exit.OK else {"end", "failure"}
    headline = f" {words.describe_end(code, event.ending)}: {words.list_counts(counts)} (exit {code})"
    return make_notice(
        event.record, state, kinds, headline, tuple(lines), facts=facts, commands=(f"orchestrator show {state.run_id}",)
    )


def _notice_of_interruption(event: RunInterrupted, state: RunState) -> Notice:
    code = event.exit_code
    headline = (
        f" {words.INTERRUPTED.get(event.reason, 'interrupted')}: {words.list_counts(words.count_outcomes(state))}"
    )
    facts = {
        "reason": event.reason,
        "exit_code": code,
        "counts": words.count_outcomes(state),
        "open": event.open,
    }
    commands = () if state.cloud_ended else (f"orchestrator resume {state.resume_id}",)
    return make_notice(event.record, state, {"end", "failure"}, headline, (), facts=facts, commands=commands)


def _notice_of_request(event: ApprovalRequested, state: RunState) -> Notice:
    facts = {key: event.record.get(key) for key in ("step", "question", "expires_at")}
    question, *lines = words.split_lines(event.question)
    until = words.format_moment(event.expires_at)
    lines.append(f"{words.name_step(event.step)}, until {until}; then the run ends as refused")
    headline = f" waits for approval: {question}"
    return make_notice(
        event.record,
        state,
        {"approval"},
        headline,
        tuple(lines),
        facts=facts,
        commands=(state.answer_command,),
    )


def _notice_of_answer(event: ApprovalAnswered, state: RunState) -> Notice:
    facts = {key: event.record.get(key) for key in ("step", "answer", "by", "via", "comment")}
    facts |= {"db_user": event.db_user} if event.db_user else {}
    by = f" by {words.one_line(event.by)}" if event.by else ""
    via = f" ({words.one_line(event.via)})" if event.via else ""
    answer = words.one_line(str(event.answer).replace("_", " "))
    comment = words.split_lines(event.comment) if event.comment else []
    headline = f", {words.name_step(event.step)}: {answer}{by}{via}"
    return make_notice(event.record, state, {"approval"}, headline, tuple(comment), facts=facts)


def _notice_of_message(event: MessageSent, state: RunState) -> Notice:
    first, *more = words.split_lines(event.message)
    facts = {"step": event.step, "message": event.message}
    return make_notice(event.record, state, {"message"}, f": {first}", tuple(more), facts=facts)


def _describe_start(state: RunState) -> tuple[str, ...]:
    started = state.started
    trigger = started.trigger or {}
    by = words.one_line(started.actor or "unknown")
    if trigger.get("schedule"):
        by = f"the schedule {words.one_line(trigger['schedule'])}"
    return (f"started by {by}, cloud {words.one_line(started.cloud_url)}",)


def _describe_kept(state: RunState) -> Iterator[str]:
    """Name exempted CVMs, and exempted targets: ignored and expired exemptions."""
    kept = _list_kept(state)
    if kept:
        names = [f"{words.one_line(each['cvm'].get('name'), 64)} ({words.one_line(each['reason'])})" for each in kept]
        more = f" and {len(kept) - _MOST_KEPT} more" if len(kept) > _MOST_KEPT else ""
        yield f"left up {plural(len(kept), 'exempted CVM')}: {', '.join(names[:_MOST_KEPT])}{more}"
    yield from (words.one_line(each["message"]) for each in _list_keep_warnings(state))


def _kept_facts(state: RunState) -> dict[str, object]:
    """Build the facts about exemptions; empty without an exemption in the plan."""
    kept, warnings = _list_kept(state), _list_keep_warnings(state)
    named = [{"cvm": each["cvm"], "reason": each["reason"]} for each in kept[:_MOST_KEPT]]
    return {
        **({"kept": named, "kept_count": len(kept)} if kept else {}),
        **({"warnings": warnings} if warnings else {}),
    }


def _list_kept(state: RunState) -> list[Record]:
    return [each for each in state.skipped if each["code"] == SkipReason.KEPT]


def _list_keep_warnings(state: RunState) -> list[Record]:
    warnings = (each for each in state.planned.warnings if isinstance(each, dict))
    return [each for each in warnings if each.get("code") in _KEEP_WARNINGS]


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
