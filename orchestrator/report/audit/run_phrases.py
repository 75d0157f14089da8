"""Audit records about a run, a step or the bill as sentences; see `phrases`."""

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.audit.events import Event
from orchestrator.audit.record import Record
from orchestrator.plural import plural
from orchestrator.report.audit.terms import ID, REASON, lasting, part, reason, usd, verb
from orchestrator.report.exit_meanings import ENDINGS, meaning_of
from orchestrator.safe_text import safe_text

_SHORT = 16


def _describe_start(record: Record) -> str:
    playbook = record.get("playbook")
    name = playbook.get("name") if isinstance(playbook, Mapping) else None
    trigger = record.get("trigger")
    by = f"by {safe_text(record.get('actor'), ID)}"
    if isinstance(trigger, Mapping):
        schedule, due = safe_text(trigger.get("schedule"), ID), safe_text(trigger.get("planned"), ID)
        by = f"by schedule {schedule}, due {due}, as {by[3:]}"
    parts = [f"started {by}: playbook {safe_text(name, ID)}"]
    if isinstance(record.get("plan_file"), Mapping):
        parts.append(f"with plan file {safe_text(record['plan_file'].get('path'), REASON)}")
    if record.get("restores"):
        parts.append(f"undoes run {safe_text(record['restores'], ID)}")
    if isinstance(record.get("vars"), Mapping) and record["vars"]:
        given = ", ".join(f"{safe_text(key, ID)}={safe_text(value, ID)}" for key, value in record["vars"].items())
        parts.append(f"with {given}")
    if record.get("simulated"):
        parts.append("against a simulated cloud")
    return ", ".join(parts)


def _describe_plan(record: Record) -> str:
    text = f"planned: {_count_targets(record.get('targets'))}, {_count_items(record.get('skipped'))} CVMs skipped"
    size = record.get("workspace_size")
    return f"{text}, of {size} in the workspace" if size else text


def _step_planned(record: Record) -> str:
    return f"step {safe_text(record.get('step'), ID)} selected {_count_targets(record.get('targets'))}"


def _describe_soak(record: Record) -> str:
    step, until = safe_text(record.get("step"), ID), safe_text(record.get("until"), ID)
    return f"wave {safe_text(record.get('wave'), ID)} of step {step} has ended, the next wave starts at {until}"


def _count_targets(targets: object) -> str:
    """Format the number of targets: `3 targets`, or `3 targets (2 to stop, 1 to start)`."""
    tally: dict[str, int] = {}
    for target in targets if isinstance(targets, list) else []:
        tally[verb(target.get("action"))] = tally.get(verb(target.get("action")), 0) + 1
    return f"{plural(sum(tally.values()), 'target')}" + (
        f" ({', '.join(f'{number} to {word}' for word, number in tally.items())})" if tally else ""
    )


def _count_items(items: object) -> int:
    return len(items) if isinstance(items, list) else 0


def _describe_counts(record: Record) -> str:
    counts = record.get("counts")
    told = (
        ", ".join(f"{safe_text(n, ID)} {safe_text(o, ID)}" for o, n in counts.items())
        if isinstance(counts, dict)
        else ""
    )
    return f"; {told}" if told else ""


def _describe_ending(word: object) -> str:
    return ENDINGS.get(str(word), safe_text(word, ID))


def _describe_finish(record: Record) -> str:
    code = record.get("exit_code")
    meaning = f"{meaning_of(code)} (exit {code})" if isinstance(code, int) else "ended"
    why = "" if str(record.get("ending") or "completed") == "completed" else f": {_describe_ending(record['ending'])}"
    if record.get("abandoned_by"):
        why = f": abandoned by {safe_text(record['abandoned_by'], ID)}: {safe_text(record.get('reason'), REASON)}"
    cut = f"; cut short: {_describe_ending(record['cut_short_by'])}" if record.get("cut_short_by") else ""
    return f"finished: {meaning}{why}{cut}{_describe_counts(record)}{_describe_deadline(part(record, 'deadline'))}"


def _describe_deadline(deadline: Mapping[str, Any]) -> str:
    limit = lasting(deadline.get("seconds"))
    if limit is None:
        return ""
    late = "" if deadline.get("met") else f": {safe_text(deadline.get('late'), ID)} CVMs without a request in time"
    return f"; deadline of {limit} {'met' if deadline.get('met') else 'missed'}{late}"


def _describe_interruption(record: Record) -> str:
    return f"interrupted: {_describe_ending(record.get('reason'))}; {safe_text(record.get('open'), ID)} targets open"


def _describe_resume(record: Record) -> str:
    torn = record.get("torn")
    after = f", after line {safe_text(torn.get('line'), ID)}, torn" if isinstance(torn, Mapping) else ""
    if record.get("to_abandon"):
        return f"resumed to abandon the run with {safe_text(record.get('open'), ID)} targets open{after}"
    return f"resumed with {safe_text(record.get('open'), ID)} targets open{after}"


def _describe_question(record: Record) -> str:
    until = f" (until {safe_text(record['expires_at'], ID)})" if record.get("expires_at") else ""
    return f"step {safe_text(record.get('step'), ID)} asks: {safe_text(record.get('question'), REASON)}{until}"


def _describe_answer(record: Record) -> str:
    answer = str(record.get("answer"))
    words = {"timed_out": "no answer in time"}.get(answer, safe_text(answer, ID))
    by = f" by {safe_text(record['by'], ID)}" if record.get("by") else ""
    via = f", through {safe_text(record['via'], ID)}" if record.get("via") else ""
    comment = f": {safe_text(record['comment'], REASON)}" if record.get("comment") else ""
    return f"step {safe_text(record.get('step'), ID)}: {words}{by}{via}{comment}"


def _describe_notice(record: Record) -> str:
    return f"step {safe_text(record.get('step'), ID)} says: {safe_text(record.get('message'), REASON)}"


def _describe_charge(record: Record) -> str:
    state = str(record.get("state"))
    charged, expected = part(record, "charged"), part(record, "expected")
    if state == "charged":
        words = f"billing: charged {usd(charged.get('usd'))} for {safe_text(charged.get('minutes'), ID)} minutes"
    elif state == "none":
        words = "billing: no charge"
    else:
        words = f"billing: charge {safe_text(state, ID)}"
    if expected.get("usd") is not None:
        words += f", {usd(expected['usd'])} expected"
    if record.get("difference_usd") is not None:
        words += f", difference {usd(record['difference_usd'])}"
    return words + reason(record)


def _describe_seal(record: Record) -> str:
    covers = record.get("covers")
    lines = safe_text(covers.get("lines"), ID) if isinstance(covers, Mapping) else "-"
    return (
        f"sealed up to line {lines} by {safe_text(record.get('by'), ID)}, key {safe_text(record.get('key_id'), _SHORT)}"
    )


RUN_WORDS: dict[str, Callable[[Record], str]] = {
    Event.RUN_STARTED: _describe_start,
    Event.RUN_PLANNED: _describe_plan,
    Event.RUN_INTERRUPTED: _describe_interruption,
    Event.RUN_RESUMED: _describe_resume,
    Event.RUN_FINISHED: _describe_finish,
    Event.RUN_SEALED: _describe_seal,
    Event.STEP_PLANNED: _step_planned,
    Event.WAVE_SOAKING: _describe_soak,
    Event.APPROVAL_REQUESTED: _describe_question,
    Event.APPROVAL_ANSWERED: _describe_answer,
    Event.NOTICE: _describe_notice,
    Event.BILLING_RECONCILED: _describe_charge,
}
"""By event."""
