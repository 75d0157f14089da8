"""What one record of an audit log says, as a sentence without its subject. Every word of others is made safe to show.

Made for records of any version: what a record lacks is left out, and an event that is not known is told by its name.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from orchestrator.action import Action
from orchestrator.audit.record import Record
from orchestrator.duration import format_duration
from orchestrator.report.meaning import meaning_of
from orchestrator.report.shown import shown
from orchestrator.wording import counted

_REASON = 400
_ID = 80
_SHORT = 16
_OUTCOMES = {
    "refused": "ended as refused",
    "failed": "failed",
    "unsettled": "did not settle in time",
    "resurrected": "came back: it was down, and is up again",
    "not_sent": "was not sent: the run ended before",
    "skipped": "was left alone: it was as wanted already",
}
_ENDINGS = {
    "completed": "every target has an outcome",
    "max_failures": "more targets failed than max_failures allows",
    "step_failed": "a step with on_failure: stop did not end as wanted",
    "canary_failed": "the first wave of a step did not end as wanted",
    "not_approved": "a question was not answered with yes",
    "key_refused": "the API refused the key",
    "log_failed": "the audit log could not be written",
    "cloud_down": "the cloud was down for too long",
    "timed_out": "the run took too long",
    "sigint": "interrupted by Ctrl-C",
    "sigterm": "terminated",
}


def sentence(record: Record) -> str:
    """What a record says, such as `accepted in 84 ms (HTTP 200, request req_1): compute of $0.12 an hour ends`."""
    tell = _TELL.get(str(record.get("event")))
    return tell(record) if tell else shown(record.get("event"), _ID)


def asked(record: Record) -> str:
    """What was asked for, by its announcement: `asked to stop (request 1)`."""
    together = "" if record.get("batch") is None else f", together with others in batch {shown(record['batch'], _ID)}"
    return f"asked to {verb(record.get('action'))} (request {shown(record.get('attempt'), _ID)}{together})"


def verb(action: object) -> str:
    """An action as a verb: `stop`, `shut down`."""
    try:
        return Action(str(action)).verb
    except ValueError:
        return shown(action, _ID)


def usd(amount: object) -> str:
    """An amount as the log has it, in dollars, with as many decimals as it needs and two at the least."""
    try:
        value = Decimal(str(amount))
        whole = f"{value:.6f}".rstrip("0")
    except (InvalidOperation, ValueError):
        return shown(amount, _ID)
    head, _, decimals = whole.partition(".")
    sign, digits = ("-", head[1:]) if head.startswith("-") else ("", head)
    return f"{sign}${digits}.{decimals:0<2}"


def bill(note: Mapping[str, Any]) -> str:
    """What an action does to the bill, by the rates that are known: `compute of $0.12 an hour ends, …`."""
    codes = note.get("notes")
    codes = codes if isinstance(codes, list) else []
    compute, storage = note.get("compute_usd_per_hour"), note.get("storage_usd_per_hour")
    parts = []
    for code, word in (("compute_ends", "ends"), ("compute_begins", "begins")):
        if code in codes:
            parts.append(f"compute {f'of {usd(compute)} an hour ' if compute is not None else ''}{word}")
    if "storage_continues" in codes:
        parts.append(f"storage {f'of {usd(storage)} an hour ' if storage is not None else ''}goes on")
    if "gpu_24h_minimum_on_restart" in codes:
        parts.append("starting it again is charged a GPU minimum of 24 hours")
    if "gpu_24h_minimum" in codes:
        parts.append("a GPU minimum of 24 hours is charged")
    return ", ".join(parts)


def _answer(record: Record) -> str:
    """`in 84 ms (HTTP 200, request req_1)`, or as much of it as there is."""
    latency = record.get("latency_ms")
    parts = [
        f"HTTP {shown(record['http_status'], _ID)}" if record.get("http_status") is not None else "",
        f"request {shown(record['request_id'], _ID)}" if record.get("request_id") else "",
    ]
    told = ", ".join(filter(None, parts))
    return (f" in {shown(latency, _ID)} ms" if latency is not None else "") + (f" ({told})" if told else "")


def _reason(record: Record) -> str:
    """`: rented`, without the status code that `_answer` tells already."""
    if not record.get("reason"):
        return ""
    status = f"HTTP {record.get('http_status')}: "
    return f": {shown(str(record['reason']).removeprefix(status), _REASON)}"


def _seconds(value: object) -> str | None:
    return format_duration(value) if isinstance(value, int | float) and value >= 0 else None


def _accepted(record: Record) -> str:
    note = record.get("billing")
    money = bill(note) if isinstance(note, Mapping) else ""
    status = f" ({shown(record['status'], _ID)})" if record.get("status") else ""
    head = f"seen to have taken effect{status}" if record.get("observed") else f"accepted{_answer(record)}"
    return f"{head}: {money}" if money else head


def _deferred(record: Record) -> str:
    if record.get("sent") is False:
        return f"not sent after all{_reason(record)}"
    wait = _seconds(record.get("retry_after_s"))
    return f"put off{_answer(record)}{_reason(record)}{f'; the API asks to wait {wait}' if wait else ''}"


def _settled(record: Record) -> str:
    took = _seconds(record.get("seconds"))
    after = f" after {took}" if took else ""
    if record.get("outcome") == "gone":
        return f"gone{after}: deleted meanwhile"
    status = f", {shown(record['status'], _ID)}" if record.get("status") else ""
    return f"settled{after}{status}{_reason(record)}"


def _ended(record: Record) -> str:
    outcome = str(record.get("outcome"))
    took = _seconds(record.get("seconds"))
    words = _OUTCOMES.get(outcome, shown(outcome, _ID))
    status = f"; last seen {shown(record['status'], _ID)}" if record.get("status") else ""
    return f"{words}{f' after {took}' if took and outcome != 'skipped' else ''}{_reason(record)}{status}"


def _status(record: Record) -> str:
    return f"seen {shown(record.get('status'), _ID)}{', in progress' if record.get('in_progress') else ''}"


def _started(record: Record) -> str:
    playbook = record.get("playbook")
    name = playbook.get("name") if isinstance(playbook, Mapping) else None
    trigger = record.get("trigger")
    by = f"by {shown(record.get('actor'), _ID)}"
    if isinstance(trigger, Mapping):
        by = f"by schedule {shown(trigger.get('schedule'), _ID)}, due {shown(trigger.get('planned'), _ID)}, as {by[3:]}"
    parts = [f"started {by}: playbook {shown(name, _ID)}"]
    if isinstance(record.get("plan_file"), Mapping):
        parts.append(f"with plan file {shown(record['plan_file'].get('path'), _REASON)}")
    if record.get("restores"):
        parts.append(f"undoes run {shown(record['restores'], _ID)}")
    if isinstance(record.get("vars"), Mapping) and record["vars"]:
        given = ", ".join(f"{shown(key, _ID)}={shown(value, _ID)}" for key, value in record["vars"].items())
        parts.append(f"with {given}")
    if record.get("simulated"):
        parts.append("against a simulated cloud")
    return ", ".join(parts)


def _planned(record: Record) -> str:
    text = f"planned: {_among(record.get('targets'))}, {_count(record.get('skipped'))} CVMs left alone"
    size = record.get("workspace_size")
    return f"{text}, of {size} in the workspace" if size else text


def _step_planned(record: Record) -> str:
    return f"step {shown(record.get('step'), _ID)} chose {_among(record.get('targets'))}"


def _among(targets: object) -> str:
    """`3 targets`, or `3 targets (2 to stop, 1 to start)`."""
    tally: dict[str, int] = {}
    for target in targets if isinstance(targets, list) else []:
        tally[verb(target.get("action"))] = tally.get(verb(target.get("action")), 0) + 1
    return f"{counted(sum(tally.values()), 'target')}" + (
        f" ({', '.join(f'{number} to {word}' for word, number in tally.items())})" if tally else ""
    )


def _count(items: object) -> int:
    return len(items) if isinstance(items, list) else 0


def _tally(record: Record) -> str:
    counts = record.get("counts")
    told = ", ".join(f"{shown(n, _ID)} {shown(o, _ID)}" for o, n in counts.items()) if isinstance(counts, dict) else ""
    return f"; {told}" if told else ""


def _ending(word: object) -> str:
    return _ENDINGS.get(str(word), shown(word, _ID))


def _finished(record: Record) -> str:
    code = record.get("exit_code")
    meaning = f"{meaning_of(code)} (exit {code})" if isinstance(code, int) else "ended"
    why = "" if record.get("ending") in {None, "completed"} else f": {_ending(record['ending'])}"
    return f"finished: {meaning}{why}{_tally(record)}{_deadline(_part(record, 'deadline'))}"


def _deadline(deadline: Mapping[str, Any]) -> str:
    limit = _seconds(deadline.get("seconds"))
    if limit is None:
        return ""
    late = "" if deadline.get("met") else f": {shown(deadline.get('late'), _ID)} CVMs asked too late"
    return f"; deadline of {limit} {'met' if deadline.get('met') else 'missed'}{late}"


def _interrupted(record: Record) -> str:
    return f"interrupted: {_ending(record.get('reason'))}; {shown(record.get('open'), _ID)} targets open"


def _resumed(record: Record) -> str:
    torn = record.get("torn")
    after = f", after line {shown(torn.get('line'), _ID)} that was cut off" if isinstance(torn, Mapping) else ""
    return f"resumed with {shown(record.get('open'), _ID)} targets open{after}"


def _escalated(record: Record) -> str:
    return f"not down yet, so to {verb(record.get('to'))} it comes now{_reason(record)}"


def _requested(record: Record) -> str:
    until = f" (until {shown(record['expires_at'], _ID)})" if record.get("expires_at") else ""
    return f"step {shown(record.get('step'), _ID)} asks: {shown(record.get('question'), _REASON)}{until}"


def _answered(record: Record) -> str:
    answer = str(record.get("answer"))
    words = {"timed_out": "nobody answered in time"}.get(answer, shown(answer, _ID))
    by = f" by {shown(record['by'], _ID)}" if record.get("by") else ""
    via = f", through {shown(record['via'], _ID)}" if record.get("via") else ""
    comment = f": {shown(record['comment'], _REASON)}" if record.get("comment") else ""
    return f"step {shown(record.get('step'), _ID)}: {words}{by}{via}{comment}"


def _notice(record: Record) -> str:
    return f"step {shown(record.get('step'), _ID)} says: {shown(record.get('message'), _REASON)}"


def _reconciled(record: Record) -> str:
    state = str(record.get("state"))
    charged, expected = _part(record, "charged"), _part(record, "expected")
    if state == "charged":
        words = f"billing: charged {usd(charged.get('usd'))} for {shown(charged.get('minutes'), _ID)} minutes"
    elif state == "none":
        words = "billing: no charge came"
    else:
        words = f"billing: charge {shown(state, _ID)}"
    if expected.get("usd") is not None:
        words += f", {usd(expected['usd'])} expected"
    if record.get("difference_usd") is not None:
        words += f", difference {usd(record['difference_usd'])}"
    return words + _reason(record)


def _part(record: Record, key: str) -> Mapping[str, Any]:
    part = record.get(key)
    return part if isinstance(part, Mapping) else {}


def _sealed(record: Record) -> str:
    covers = record.get("covers")
    lines = shown(covers.get("lines"), _ID) if isinstance(covers, Mapping) else "-"
    return f"sealed up to line {lines} by {shown(record.get('by'), _ID)}, key {shown(record.get('key_id'), _SHORT)}"


_TELL: dict[str, Callable[[Record], str]] = {
    "run.started": _started,
    "run.planned": _planned,
    "run.interrupted": _interrupted,
    "run.resumed": _resumed,
    "run.finished": _finished,
    "run.sealed": _sealed,
    "step.planned": _step_planned,
    "action.intent": asked,
    "action.accepted": _accepted,
    "action.refused": lambda record: f"refused{_answer(record)}{_reason(record)}",
    "action.deferred": _deferred,
    "action.unknown": lambda record: f"no clear answer{_answer(record)}{_reason(record)}; the status will tell",
    "action.failed": lambda record: f"failed{_answer(record)}{_reason(record)}",
    "action.escalated": _escalated,
    "target.status": _status,
    "target.settled": _settled,
    "target.failed": _ended,
    "approval.requested": _requested,
    "approval.answered": _answered,
    "notice": _notice,
    "billing.reconciled": _reconciled,
}
