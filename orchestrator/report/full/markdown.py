"""A report as GitHub-flavoured Markdown, for issues and chats. Text from outside is never markup."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.plural import plural
from orchestrator.report.formatting import after, between, moment, per_hour, per_month, size
from orchestrator.report.full.incidents import happened
from orchestrator.report.full.phrases import (
    READS_ARE_NOT_IN_THE_LOG,
    STAGES,
    VERDICTS,
    amount_charged,
    charged_words,
    deadline_words,
    done,
    guard_words,
    headline,
    left_alone,
    limit_words,
    named,
    next_words,
    trigger_words,
    troubled,
    why,
)
from orchestrator.safe_text import safe_text

_Document = Mapping[str, Any]

_SPECIAL = re.compile(r"[\\`*_{}\[\]()<>#!|~@$&:]|^[-+=]|^\d(?=\d*[.)])|(?i:w(?=ww\.))")
_MOST = 200
_MOST_TARGETS = 1000
_LONGEST = 600


def escaped(text: object, width: int = _LONGEST) -> str:
    """Escape text against Markdown markup, links, mentions and HTML."""
    return _SPECIAL.sub(_entity, safe_text(text, width))


def _entity(match: re.Match[str]) -> str:
    """Write a character by its number: after a backslash GitHub would still make links and mentions."""
    return f"&#{ord(match.group())};"


def report_markdown(document: _Document) -> str:
    """Build the whole report."""
    parts = (_summary, _failures, _timeline, _requests, _moments, _guards, _skipped, _billing, _log)
    return "\n".join(line for part in parts for line in part(document))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], right: int = 0) -> Iterator[str]:
    """Yield a table; the last `right` columns hold numbers."""
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join("---:" if number >= len(head) - right else "---" for number in range(len(head))) + " |"
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"
    yield ""


def _summary(document: _Document) -> Iterator[str]:
    run, counts = document["run"], document["stages"]
    yield f"# Run of {escaped(run['playbook'].get('name'), 120)}"
    yield ""
    yield f"**{escaped(headline(document))}**"
    yield ""
    rows = [(outcome, STAGES[outcome], f"{counts[outcome]:,}") for outcome in STAGES if counts.get(outcome)]
    yield from _table(("outcome", "meaning", "targets"), rows, 1)
    paused = f", {after(sum(run['paused_s']))} of it interrupted" if run["paused_s"] else ""
    facts = [
        ("Run", escaped(run["run_id"])),
        ("Started by", escaped(run["actor"])),
        ("Because of", escaped(trigger_words(document))),
        ("Started", moment(run["started_at"])),
        ("Ended" if run["exit_code"] is not None else "Last record", moment(run["ended_at"])),
        ("Took", after(run["seconds"]) + paused),
        ("Cloud", escaped(run["cloud_url"]) + (" (simulated)" if run["simulated"] else "")),
        ("Limits", escaped(limit_words(document))),
        ("Variables", escaped(", ".join(f"{key} = {value}" for key, value in (run["vars"] or {}).items()) or "none")),
    ]
    facts += [("Deadline", escaped(words))] if (words := deadline_words(document)) else []
    facts += [("To go on", f"`{words}`")] if (words := next_words(document)) else []
    yield from _table(("fact", ""), facts)


def _failures(document: _Document) -> Iterator[str]:
    found = troubled(document)
    unsent = sum(target["stage"] == "not_sent" for target in document["targets"])
    yield "## Failures"
    yield ""
    rows = [
        (
            escaped(named(target), 120),
            escaped(target["cvm"]["teepod"], 64),
            target["stage"],
            escaped(why(target)),
            escaped(target["request_id"], 64),
        )
        for target in found[:_MOST]
    ]
    if rows:
        yield from _table(("CVM", "teepod", "outcome", "why", "request"), rows)
    if len(found) > _MOST:
        yield f"And {len(found) - _MOST:,} more, which the JSON document has."
        yield ""
    if unsent:
        yield f"{unsent:,} were not sent."
        yield ""
    if not found and not unsent:
        yield "None."
        yield ""


def _timeline(document: _Document) -> Iterator[str]:
    times, targets = document["times"], document["targets"]
    yield "## Timeline"
    yield ""
    names = {"intent_to_accepted_s": "from the first request to its acceptance", "accepted_to_end_s": "from there on"}
    spreads = [(words, times[key]) for key, words in names.items() if times[key]]
    rows = [(words, *(after(each[key]) for key in ("half", "nine_tenths", "all"))) for words, each in spreads]
    if rows:
        yield from _table(("how long CVMs took", "half within", "nine of ten within", "all within"), rows, 3)
    yield "<details><summary>Every CVM</summary>"
    yield ""
    cells = (
        (
            escaped(named(target), 120),
            escaped(target["cvm"]["teepod"], 64),
            escaped(done(target)),
            target["stage"],
            after(target["intent_s"]),
            between(target["intent_s"], target["accepted_s"]),
            between(target["accepted_s"], target["ended_s"]),
        )
        for target in targets[:_MOST_TARGETS]
    )
    head = ("CVM", "teepod", "action", "outcome", "asked at", "accepted after", "settled after")
    yield from _table(head, cells, 3)
    if len(targets) > _MOST_TARGETS:
        yield f"And {len(targets) - _MOST_TARGETS:,} more, which the JSON and CSV formats have."
        yield ""
    yield "</details>"
    yield ""


def _requests(document: _Document) -> Iterator[str]:
    found = document["requests"]
    limit = found["limit_per_second"]
    beside = f", under a limit of {limit:g} a second" if isinstance(limit, int | float) else ""
    yield "## Requests"
    yield ""
    yield f"{found['sent']:,} sent, {found['busiest_second']:,} in the busiest second{beside}."
    yield READS_ARE_NOT_IN_THE_LOG
    yield ""
    if found["answers"]:
        yield from _table(("answer", "requests"), [(name, f"{n:,}") for name, n in found["answers"].items()], 1)


def _moments(document: _Document) -> Iterator[str]:
    found = happened(document)[:_MOST]
    if found:
        yield "## What else happened"
        yield ""
        yield from _table(("at", "what"), [(moment(ts), escaped(words)) for ts, _, words in found])


def _guards(document: _Document) -> Iterator[str]:
    yield "## Guards"
    yield ""
    rows = [
        (escaped(each["name"]), escaped(guard_words(each)), "kept" if each["ok"] else "broken")
        for each in document["guards"]
    ]
    if rows:
        yield from _table(("guard", "value and limit", "verdict"), rows)
    for warning in document["warnings"]:
        yield f"- {escaped(warning)}"
    if document["warnings"] or not rows:
        yield "" if rows or document["warnings"] else "No guard was set.\n"


def _skipped(document: _Document) -> Iterator[str]:
    if document["skipped"]:
        yield "## Left alone"
        yield ""
        rows = [(escaped(reason, 300), f"{count:,}") for reason, count, _ in left_alone(document)[:_MOST]]
        yield from _table(("reason", "CVMs"), rows, 1)


def _pending_line(pending: _Document, seen: str) -> Iterator[str]:
    if pending["cvms"]:
        cvms = plural(pending["cvms"], "CVM")
        yield f"- Pending (estimated): {per_hour(pending, 'compute')} an hour of compute, {cvms} not seen {seen}"


def _billing(document: _Document) -> Iterator[str]:
    bill, total = document["billing"], document["billing"]["total"]
    if not total["stops"] and not total["starts"]:
        return
    yield "## Billing"
    yield ""
    if total["stops"]:
        for words, kind in (("Compute that ended", "compute"), ("Storage that goes on", "storage")):
            hour, month = per_hour(total["ended"], kind), per_month(total["ended"], kind)
            yield f"- {words} (estimated): {hour} an hour, {month} a month"
        yield from _pending_line(total["pending"], "down")
        yield f"- Charged: {charged_words(total['charged'])}"
    if total["starts"]:
        yield f"- Compute that began (estimated): {per_hour(total['begun'], 'compute')} an hour"
        yield from _pending_line(total["begun_pending"], "running")
    yield ""
    head = ("stops", "compute ended an hour", "storage goes on an hour", "charged (observed)", "pending or not asked")
    for by in ("app", "teepod"):
        rows = [_money(escaped(each["name"] or each["key"] or "-", 64), each) for each in bill[f"by_{by}"][:_MOST]]
        yield from _table((by, *head), [*rows, _money("**all**", total)], 5)


def _money(name: str, sums: _Document) -> tuple[str, ...]:
    charged, ended = sums["charged"], sums["ended"]
    waiting = f"{charged['pending'] + charged['not_asked']:,}"
    amounts = (per_hour(ended, "compute"), per_hour(ended, "storage"), amount_charged(charged))
    return (name, f"{sums['stops']:,}", *amounts, waiting)


def _log(document: _Document) -> Iterator[str]:
    found = document["log"]
    where = f", line {found['line']}: {escaped(found['reason'])}" if found["line"] is not None else ""
    yield "## Audit log"
    yield ""
    facts = [
        ("File", escaped(found["path"], 4096)),
        ("Verdict", f"{VERDICTS.get(found['verdict'], found['verdict'])}{where}"),
        ("Records", f"{found['records']:,} in {size(found['bytes'])}"),
        ("Digest", f"`{found['digest']}`"),
        ("SHA-256", f"`{found['sha256']}`"),
    ]
    yield from _table(("fact", ""), facts)
    yield "To check it:"
    yield ""
    yield from (f"    {safe_text(line, 4096)}" for line in found["verify"])
    yield ""
    yield f"Made {moment(document['made_at'])} by {escaped(document['made_by'])} from the audit log alone."
    yield ""
