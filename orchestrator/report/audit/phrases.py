"""An audit record as a sentence without its subject. Every word from outside is made safe to show.

Works for records of any version: a missing field is left out, and an unknown event is described by its name.
"""

from collections.abc import Callable, Mapping

from orchestrator.audit.events import Event
from orchestrator.audit.record import Record
from orchestrator.report.audit.run_phrases import RUN_WORDS
from orchestrator.report.audit.terms import ID, bill, lasting, reason, verb
from orchestrator.report.phrases import OUTCOMES
from orchestrator.safe_text import safe_text

_SENTENCES = {outcome.value: phrase.sentence for outcome, phrase in OUTCOMES.items()}


def sentence(record: Record) -> str:
    """Describe a record: `accepted in 84 ms (HTTP 200, request req_1): compute of $0.12 an hour ends`."""
    describe = PHRASES.get(str(record.get("event")))
    return describe(record) if describe else safe_text(record.get("event"), ID)


def asked(record: Record) -> str:
    """Describe a request by its announcement: `asked to stop (request 1)`."""
    together = "" if record.get("batch") is None else f", in batch {safe_text(record['batch'], ID)}"
    return f"asked to {verb(record.get('action'))} (request {safe_text(record.get('attempt'), ID)}{together})"


def _describe_answer(record: Record) -> str:
    """Format `in 84 ms (HTTP 200, request req_1)`, or the known parts."""
    latency = record.get("latency_ms")
    parts = [
        f"HTTP {safe_text(record['http_status'], ID)}" if record.get("http_status") is not None else "",
        f"request {safe_text(record['request_id'], ID)}" if record.get("request_id") else "",
    ]
    told = ", ".join(filter(None, parts))
    return (f" in {safe_text(latency, ID)} ms" if latency is not None else "") + (f" ({told})" if told else "")


def _describe_acceptance(record: Record) -> str:
    note = record.get("billing")
    money = bill(note) if isinstance(note, Mapping) else ""
    status = f" ({safe_text(record['status'], ID)})" if record.get("status") else ""
    head = f"observed to have taken effect{status}" if record.get("observed") else f"accepted{_describe_answer(record)}"
    return f"{head}: {money}" if money else head


def _describe_deferral(record: Record) -> str:
    if record.get("sent") is False:
        return f"not sent after all{reason(record)}"
    wait = lasting(record.get("retry_after_s"))
    return f"deferred{_describe_answer(record)}{reason(record)}{f'; retry after {wait}' if wait else ''}"


def _describe_settling(record: Record) -> str:
    took = lasting(record.get("seconds"))
    after = f" after {took}" if took else ""
    words = _SENTENCES.get(str(record.get("outcome")), "settled")
    status = f", {safe_text(record['status'], ID)}" if record.get("status") else ""
    return f"{words}{after}{status}{reason(record)}"


def _describe_end(record: Record) -> str:
    outcome = str(record.get("outcome"))
    took = lasting(record.get("seconds"))
    words = _SENTENCES.get(outcome, safe_text(outcome, ID))
    status = f"; last status {safe_text(record['status'], ID)}" if record.get("status") else ""
    return f"{words}{f' after {took}' if took and outcome != 'skipped' else ''}{reason(record)}{status}"


def _describe_status(record: Record) -> str:
    return f"status {safe_text(record.get('status'), ID)}{', in progress' if record.get('in_progress') else ''}"


def _describe_escalation(record: Record) -> str:
    return f"escalated to {verb(record.get('to'))}{reason(record)}"


PHRASES: dict[str, Callable[[Record], str]] = {
    **RUN_WORDS,
    Event.ACTION_INTENT: asked,
    Event.ACTION_ACCEPTED: _describe_acceptance,
    Event.ACTION_REFUSED: lambda record: f"refused{_describe_answer(record)}{reason(record)}",
    Event.ACTION_DEFERRED: _describe_deferral,
    Event.ACTION_UNKNOWN: lambda record: (
        f"no clear answer{_describe_answer(record)}{reason(record)}; the status decides"
    ),
    Event.ACTION_FAILED: lambda record: f"failed{_describe_answer(record)}{reason(record)}",
    Event.ACTION_ESCALATED: _describe_escalation,
    Event.TARGET_STATUS: _describe_status,
    Event.TARGET_SETTLED: _describe_settling,
    Event.TARGET_FAILED: _describe_end,
}
"""By event."""
