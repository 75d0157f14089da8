"""The unusual events of a run in words: interruptions, approvals, notices, escalations."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from orchestrator.audit.events import Event
from orchestrator.report.layout import moment
from orchestrator.report.phrases import ENDINGS

_Document = Mapping[str, Any]

_NAMED = 10


def list_incidents(document: _Document) -> list[tuple[str, float, str]]:
    """List the unusual events: timestamp, second of the run, and words. Consecutive escalations share a line."""
    lines: list[tuple[str, float, str]] = []
    for event, group in groupby(document["moments"], key=lambda each: each["event"]):
        each = list(group)
        if event == Event.ACTION_ESCALATED and len(each) > 1:
            names = ", ".join(str((one["fields"].get("cvm") or {}).get("name")) for one in each[:_NAMED])
            more = f" and {len(each) - _NAMED:,} more" if len(each) > _NAMED else ""
            words = f"{len(each):,} CVMs were not down in time, and were force-stopped: {names}{more}"
            lines.append((each[0]["ts"], each[0]["at_s"], words))
        else:
            lines += [(one["ts"], one["at_s"], _incident_words(one)) for one in each]
    return lines


def _resumption_words(fields: _Document) -> str:
    what = "the run was abandoned" if fields.get("to_abandon") else "the run was resumed"
    return f"{what}, with {fields.get('open')} targets open"


def _incident_words(one: _Document) -> str:
    event, fields = one["event"], one["fields"]
    cvm = (fields.get("cvm") or {}).get("name")
    until = moment(fields.get("expires_at"))
    reason = ENDINGS.get(str(fields.get("reason")), fields.get("reason"))
    phrases = {
        Event.RUN_INTERRUPTED: f"not finished: {reason}; {fields.get('open')} targets open",
        Event.RUN_RESUMED: _resumption_words(fields),
        Event.STEP_PLANNED: f"step {fields.get('step')!r} selected {fields.get('targets')} CVMs",
        Event.WAVE_SOAKING: f"wave {fields.get('wave')} of step {fields.get('step')!r} has ended, "
        f"the next wave starts at {moment(fields.get('until'))}",
        Event.ACTION_ESCALATED: f"{cvm}: {fields.get('action')} replaced by {fields.get('to')}: {fields.get('reason')}",
        Event.APPROVAL_REQUESTED: f"approval requested: {fields.get('question')} (until {until})",
        Event.APPROVAL_ANSWERED: _answer_words(fields),
        Event.NOTICE: f"{fields.get('message')}",
    }
    if event in phrases:
        return phrases[event]
    return f"{event}: " + ", ".join(f"{key} {value}" for key, value in sorted(fields.items()))


def _answer_words(fields: _Document) -> str:
    if fields.get("by") is None:
        return f"{fields.get('answer')}: no answer in time"
    comment = f": {fields['comment']}" if fields.get("comment") else ""
    user = f", database user {fields['db_user']}" if fields.get("db_user") else ""
    names = ", ".join(str(each.get("key_name")) for each in fields.get("signatures") or () if isinstance(each, dict))
    user += f", signed by {names}" if names else ""
    return f"{fields.get('answer')} by {fields['by']} via {fields.get('via')}{user}{comment}"
