"""Audit events about a run, a step or the bill as sentences; see `phrases`."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.audit.events import (
    ApprovalAnswered,
    ApprovalRequested,
    BillingReconciled,
    LogEvent,
    MessageSent,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunResumed,
    RunSealed,
    RunStarted,
    RunTotals,
    StepPlanned,
    WaveSoaking,
)
from orchestrator.outcome import Ending
from orchestrator.report.audit.terms import ID, REASON, format_reason, format_seconds, format_usd, verb
from orchestrator.report.audit.tolerance import as_list, as_mapping, list_targets
from orchestrator.report.phrases import ENDINGS, describe_approval, describe_narrowing, meaning_of
from orchestrator.text import plural, safe_text

_SHORT = 16


def _describe_start(event: RunStarted) -> str:
    trigger, given = as_mapping(event.trigger), as_mapping(event.vars)
    by = safe_text(event.actor, ID)
    if trigger:
        schedule, due = safe_text(trigger.get("schedule"), ID), safe_text(trigger.get("planned"), ID)
        by = f"schedule {schedule}, due {due}, as {by}"
    parts = [f"started by {by}: playbook {safe_text(as_mapping(event.playbook).get('name'), ID)}"]
    if event.workspace_name is not None:
        parts.append(f"in workspace {safe_text(event.workspace_name, ID)}")
    if isinstance(event.plan_file, Mapping):
        parts.append(f"with plan file {safe_text(event.plan_file.get('path'), REASON)}")
    if event.restores:
        parts.append(f"undoes run {safe_text(event.restores, ID)}")
    if event.wakes:
        parts.append(f"wakes {safe_text(as_mapping(event.wakes).get('playbook'), ID)}")
    if given:
        variables = ", ".join(f"{safe_text(key, ID)}={safe_text(value, ID)}" for key, value in given.items())
        parts.append(f"with {variables}")
    if isinstance(event.narrowed, Mapping):
        parts.append(f"narrowed by {safe_text(describe_narrowing(event.narrowed), REASON)}")
    parts.extend(_list_decisions(event))
    if event.simulated:
        parts.append("against a simulated cloud")
    return ", ".join(parts)


def _list_decisions(event: RunStarted) -> Iterator[str]:
    """Describe what people decided about the run: overrides and approvals."""
    if event.break_freeze is not None:
        yield f"despite any freeze: {safe_text(event.break_freeze, REASON)}"
    if event.ignore_keep is not None:
        yield f"despite exemptions: {safe_text(event.ignore_keep, REASON)}"
    if isinstance(event.approval, Mapping):
        signed = "" if event.approval.get("exempt") is True else "approved by "
        yield f"{signed}{safe_text(describe_approval(event.approval), REASON)}"


def _describe_plan(event: RunPlanned) -> str:
    text = f"planned: {_count_targets(event)}, {plural(len(as_list(event.skipped)), 'CVM')} skipped"
    return f"{text}, of {safe_text(event.workspace_size, ID)} in the workspace" if event.workspace_size else text


def _describe_follow_up(event: StepPlanned) -> str:
    return f"step {safe_text(event.step, ID)} selected {_count_targets(event)}"


def _describe_soak(event: WaveSoaking) -> str:
    step, until = safe_text(event.step, ID), safe_text(event.until, ID)
    return f"wave {safe_text(event.wave, ID)} of step {step} has ended, the next wave starts at {until}"


def _count_targets(event: RunPlanned | StepPlanned) -> str:
    """Format the number of targets: `3 targets`, or `3 targets (2 to stop, 1 to start)`."""
    tally = Counter(verb(target.action) for target in list_targets(event))
    actions = ", ".join(f"{number} to {action}" for action, number in tally.items())
    return plural(tally.total(), "target") + (f" ({actions})" if actions else "")


def _describe_counts(event: RunTotals) -> str:
    counts = as_mapping(event.counts)
    outcomes = ", ".join(f"{safe_text(number, ID)} {safe_text(outcome, ID)}" for outcome, number in counts.items())
    return f"; {outcomes}" if outcomes else ""


def _describe_ending(ending: object) -> str:
    return ENDINGS.get(str(ending), safe_text(ending, ID))


def _describe_finish(event: RunFinished) -> str:
    code: object = event.exit_code
    meaning = f"{meaning_of(code)} (exit {code})" if isinstance(code, int) else "ended"
    why = f": {_describe_ending(event.ending)}"
    if event.abandoned_by:
        why = f": abandoned by {safe_text(event.abandoned_by, ID)}: {safe_text(event.reason, REASON)}"
    elif event.cancelled_by:
        why = f": cancelled by {safe_text(event.cancelled_by, ID)}"
    elif not event.ending or event.ending == Ending.COMPLETED:
        why = ""
    cut = f"; cut short: {_describe_ending(event.cut_short_by)}" if event.cut_short_by else ""
    return f"finished: {meaning}{why}{cut}{_describe_counts(event)}{_describe_deadline(as_mapping(event.deadline))}"


def _describe_deadline(deadline: Mapping[str, Any]) -> str:
    limit = format_seconds(deadline.get("seconds"))
    if limit is None:
        return ""
    late = "" if deadline.get("met") else f": {safe_text(deadline.get('late'), ID)} CVMs without a request in time"
    return f"; deadline of {limit} {'met' if deadline.get('met') else 'missed'}{late}"


def _describe_interruption(event: RunInterrupted) -> str:
    return f"not finished: {_describe_ending(event.reason)}; {safe_text(event.open, ID)} targets open"


def _describe_resume(event: RunResumed) -> str:
    torn = event.torn
    after = f", after line {safe_text(torn.get('line'), ID)}, torn" if isinstance(torn, Mapping) else ""
    if event.to_abandon:
        return f"resumed to abandon the run with {safe_text(event.open, ID)} targets open{after}"
    despite = "" if event.break_freeze is None else f", despite any freeze: {safe_text(event.break_freeze, REASON)}"
    return f"resumed with {safe_text(event.open, ID)} targets open{after}{despite}"


def _describe_question(event: ApprovalRequested) -> str:
    until = f" (until {safe_text(event.expires_at, ID)})" if event.expires_at else ""
    return f"step {safe_text(event.step, ID)} asks: {safe_text(event.question, REASON)}{until}"


def _describe_answer(event: ApprovalAnswered) -> str:
    answer = "no answer in time" if event.answer == "timed_out" else safe_text(str(event.answer), ID)
    by = f" by {safe_text(event.by, ID)}" if event.by else ""
    via = f", through {safe_text(event.via, ID)}" if event.via else ""
    user = f", database user {safe_text(event.db_user, ID)}" if event.db_user else ""
    names = ", ".join(safe_text(as_mapping(each).get("key_name"), ID) for each in as_list(event.signatures))
    user += f", signed by {names}" if names else ""
    comment = f": {safe_text(event.comment, REASON)}" if event.comment else ""
    return f"step {safe_text(event.step, ID)}: {answer}{by}{via}{user}{comment}"


def _describe_message(event: MessageSent) -> str:
    return f"step {safe_text(event.step, ID)} says: {safe_text(event.message, REASON)}"


def _describe_charge(event: BillingReconciled) -> str:
    charged, expected = as_mapping(event.charged), as_mapping(event.expected)
    if event.state == "charged":
        minutes = safe_text(charged.get("minutes"), ID)
        text = f"billing: charged {format_usd(charged.get('usd'))} for {minutes} minutes"
    elif event.state == "none":
        text = "billing: no charge"
    else:
        text = f"billing: charge {safe_text(str(event.state), ID)}"
    if expected.get("usd") is not None:
        text += f", {format_usd(expected['usd'])} expected"
    if event.difference_usd is not None:
        text += f", difference {format_usd(event.difference_usd)}"
    return text + format_reason(event.reason)


def _describe_seal(event: RunSealed) -> str:
    lines = safe_text(as_mapping(event.covers).get("lines"), ID)
    return f"sealed up to line {lines} by {safe_text(event.by, ID)}, key {safe_text(event.key_id, _SHORT)}"


RUN_PHRASES: Mapping[type[LogEvent], Callable[[Any], str]] = {
    RunStarted: _describe_start,
    RunPlanned: _describe_plan,
    RunInterrupted: _describe_interruption,
    RunResumed: _describe_resume,
    RunFinished: _describe_finish,
    RunSealed: _describe_seal,
    StepPlanned: _describe_follow_up,
    WaveSoaking: _describe_soak,
    ApprovalRequested: _describe_question,
    ApprovalAnswered: _describe_answer,
    MessageSent: _describe_message,
    BillingReconciled: _describe_charge,
}
"""By type of event."""
