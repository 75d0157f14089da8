"""An audit event as a sentence without its subject. Every word from outside is made safe to show.

Works for records of any version: a missing field is left out, and an unknown event is described by its name.
"""

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.audit.events import (
    ActionAccepted,
    ActionDeferred,
    ActionEscalated,
    ActionFailed,
    ActionIntent,
    ActionRefused,
    ActionUnknown,
    LogEvent,
    RepliedEvent,
    TargetEnded,
    TargetFailed,
    TargetOperation,
    TargetSettled,
    TargetStatus,
)
from orchestrator.outcome import Outcome
from orchestrator.report.audit.run_phrases import RUN_PHRASES
from orchestrator.report.audit.terms import ID, describe_bill, format_reason, format_seconds, verb
from orchestrator.report.audit.tolerance import as_mapping
from orchestrator.report.phrases import OUTCOMES
from orchestrator.text import safe_text

_SENTENCES = {outcome.value: phrase.sentence for outcome, phrase in OUTCOMES.items()}


def describe_event(event: LogEvent) -> str:
    """Describe an event: `accepted in 84 ms (HTTP 200, request req_1): compute of $0.12 an hour ends`."""
    describe = PHRASES.get(type(event))
    return describe(event) if describe else safe_text(event.name, ID)


def describe_intent(event: ActionIntent) -> str:
    """Describe a request by its announcement: `asked to stop (request 1)`."""
    together = "" if event.batch is None else f", in batch {safe_text(event.batch, ID)}"
    return f"asked to {verb(event.action)} (request {safe_text(event.attempt, ID)}{together})"


def _describe_reply(event: RepliedEvent) -> str:
    """Format `in 84 ms (HTTP 200, request req_1)`, or the known parts."""
    parts = [
        f"HTTP {safe_text(event.http_status, ID)}" if event.http_status is not None else "",
        f"request {safe_text(event.request_id, ID)}" if event.request_id else "",
    ]
    facts = ", ".join(filter(None, parts))
    latency = f" in {safe_text(event.latency_ms, ID)} ms" if event.latency_ms is not None else ""
    return f"{latency} ({facts})" if facts else latency


def _describe_acceptance(event: ActionAccepted) -> str:
    money = describe_bill(as_mapping(event.billing))
    status = f" ({safe_text(event.status, ID)})" if event.status else ""
    head = f"observed to have taken effect{status}" if event.observed else f"accepted{_describe_reply(event)}"
    return f"{head}: {money}" if money else head


def _describe_deferral(event: ActionDeferred) -> str:
    if event.sent is False:
        return f"not sent after all{_reason_of(event)}"
    wait = format_seconds(event.retry_after_s)
    return f"deferred{_describe_reply(event)}{_reason_of(event)}{f'; retry after {wait}' if wait else ''}"


def _describe_settling(event: TargetSettled) -> str:
    phrase = _SENTENCES.get(str(event.outcome), "settled")
    status = f", {safe_text(event.status, ID)}" if event.status else ""
    return f"{phrase}{_describe_duration(event)}{status}{_reason_of(event)}"


def _describe_failure(event: TargetFailed) -> str:
    phrase = _SENTENCES.get(str(event.outcome), safe_text(str(event.outcome), ID))
    duration = "" if event.outcome == Outcome.SKIPPED else _describe_duration(event)
    status = f"; last status {safe_text(event.status, ID)}" if event.status else ""
    return f"{phrase}{duration}{_reason_of(event)}{status}"


def _describe_duration(event: TargetEnded) -> str:
    duration = format_seconds(event.seconds)
    return f" after {duration}" if duration else ""


def _describe_operations(event: TargetOperation) -> str:
    given: object = event.correlation_ids
    ids = ", ".join(safe_text(each, ID) for each in given) if isinstance(given, list) else ""
    return (
        f"own operations: {ids}" if ids else "own operations unknown: somebody else may have started the CVM meanwhile"
    )


def _describe_status(event: TargetStatus) -> str:
    return f"status {safe_text(event.status, ID)}{', in progress' if event.in_progress else ''}"


def _describe_escalation(event: ActionEscalated) -> str:
    return f"escalated to {verb(event.to)}{format_reason(event.reason)}"


def _describe_refusal(event: ActionRefused) -> str:
    return f"refused{_describe_reply(event)}{_reason_of(event)}"


def _describe_unknown_effect(event: ActionUnknown) -> str:
    return f"no clear answer{_describe_reply(event)}{_reason_of(event)}; the status decides"


def _describe_failed_request(event: ActionFailed) -> str:
    return f"failed{_describe_reply(event)}{_reason_of(event)}"


def _reason_of(event: RepliedEvent) -> str:
    return format_reason(event.reason, event.http_status)


PHRASES: Mapping[type[LogEvent], Callable[[Any], str]] = {
    **RUN_PHRASES,
    ActionIntent: describe_intent,
    ActionAccepted: _describe_acceptance,
    ActionRefused: _describe_refusal,
    ActionDeferred: _describe_deferral,
    ActionUnknown: _describe_unknown_effect,
    ActionFailed: _describe_failed_request,
    ActionEscalated: _describe_escalation,
    TargetStatus: _describe_status,
    TargetOperation: _describe_operations,
    TargetSettled: _describe_settling,
    TargetFailed: _describe_failure,
}
"""By type of event."""
