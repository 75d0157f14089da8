"""A report as plain text for a terminal. Lines are at most 60 columns long, except for unbreakable words."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.plural import plural
from orchestrator.report.formatting import after, moment, per_hour, per_month, size
from orchestrator.report.full.incidents import happened
from orchestrator.report.full.phrases import (
    READS_ARE_NOT_IN_THE_LOG,
    STAGES,
    VERDICTS,
    amount_charged,
    charged_words,
    deadline_words,
    guard_words,
    headline,
    left_alone,
    limit_words,
    named,
    next_words,
    seal_words,
    trigger_words,
    troubled,
    why,
)
from orchestrator.safe_text import safe_text

_Document = Mapping[str, Any]

_WIDTH = 60
_INDENT = " " * 13
_MOST = 50


def report_text(document: _Document) -> str:
    """Build the whole report."""
    parts = (_summary, _failures, _timeline, _requests, _moments, _guards, _skipped, _billing, _log)
    blocks = ["\n".join(part(document)) for part in parts]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _fact(name: str, value: object) -> str:
    return textwrap.fill(
        safe_text(value, 2000), _WIDTH, initial_indent=f"{name:<12} ", subsequent_indent=_INDENT, break_on_hyphens=False
    )


def _sentence(text: str) -> str:
    return textwrap.fill(safe_text(text, 2000), _WIDTH, break_on_hyphens=False)


def _point(text: str) -> str:
    return textwrap.fill(
        safe_text(text, 600), _WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    )


def _summary(document: _Document) -> Iterator[str]:
    run = document["run"]
    yield _sentence(f"Run {run['run_id']} of {run['playbook'].get('name')}")
    yield _sentence(headline(document))
    yield ""
    counts = document["stages"]
    for outcome in STAGES:
        if counts.get(outcome):
            yield f"  {counts[outcome]:>7,}  {outcome:<12} {STAGES[outcome]}"
    yield ""
    yield _fact("started by", run["actor"])
    yield _fact("because of", trigger_words(document))
    yield _fact("started", moment(run["started_at"]))
    yield _fact("ended" if run["exit_code"] is not None else "last record", moment(run["ended_at"]))
    paused = f", {after(sum(run['paused_s']))} of it interrupted" if run["paused_s"] else ""
    yield _fact("took", after(run["seconds"]) + paused)
    yield _fact("cloud", f"{run['cloud_url']}{' (simulated)' if run['simulated'] else ''}")
    yield _fact("limits", limit_words(document))
    for name, words in (("deadline", deadline_words(document)), ("go on", next_words(document))):
        if words is not None:
            yield _fact(name, words)
    if run["vars"]:
        yield _fact("variables", ", ".join(f"{key} = {value}" for key, value in run["vars"].items()))


def _failures(document: _Document) -> Iterator[str]:
    found = troubled(document)
    unsent = sum(target["stage"] == "not_sent" for target in document["targets"])
    if found or unsent:
        yield "Failures"
    for target in found[:_MOST]:
        request = f" (request {target['request_id']})" if target["request_id"] else ""
        yield _point(f"{safe_text(named(target), 64)} on {safe_text(target['cvm']['teepod'], 40)}: {target['stage']}")
        yield textwrap.indent(_point(f"{why(target)}{request}"), "  ")
    if len(found) > _MOST:
        yield _point(f"and {len(found) - _MOST:,} more: --format json")
    if unsent:
        yield _point(f"{unsent:,} were not sent")


def _timeline(document: _Document) -> Iterator[str]:
    times = document["times"]
    names = {"intent_to_accepted_s": "accepted", "accepted_to_end_s": "then settled"}
    found = [(words, times[key]) for key, words in names.items() if times[key]]
    if found:
        yield "How long CVMs took"
        yield f"  {'':<14}{'half':>10}{'nine of ten':>14}{'all within':>14}"
    for words, spread in found:
        half, most, every = (after(spread[key]) for key in ("half", "nine_tenths", "all"))
        yield f"  {words:<14}{half:>10}{most:>14}{every:>14}"


def _requests(document: _Document) -> Iterator[str]:
    found = document["requests"]
    answers = ", ".join(f"{number:,} {name}" for name, number in found["answers"].items())
    limit = found["limit_per_second"]
    beside = f", limit {limit:g} a second" if isinstance(limit, int | float) else ""
    yield "Requests"
    yield _point(f"{found['sent']:,} sent{': ' if answers else ''}{answers}")
    yield _point(f"{found['busiest_second']:,} in the busiest second{beside}")
    yield _point(READS_ARE_NOT_IN_THE_LOG)


def _moments(document: _Document) -> Iterator[str]:
    found = happened(document)
    if found:
        yield "What else happened"
    for ts, _, words in found[:_MOST]:
        yield _point(f"{ts[11:19]} {words}")
    if len(found) > _MOST:
        yield _point(f"and {len(found) - _MOST:,} more: --format json")


def _guards(document: _Document) -> Iterator[str]:
    if document["guards"] or document["warnings"]:
        yield "Guards"
    for guard in document["guards"]:
        yield _point(f"{'kept' if guard['ok'] else 'broken'}  {guard['name']}: {guard_words(guard)}")
    for warning in document["warnings"]:
        yield _point(f"!  {warning}")


def _skipped(document: _Document) -> Iterator[str]:
    if document["skipped"]:
        yield "Left alone"
    for reason, count, _ in left_alone(document)[:_MOST]:
        yield _point(f"{count:,}  {reason}")


def _pending_line(pending: _Document, seen: str) -> Iterator[str]:
    if pending["cvms"]:
        cvms = plural(pending["cvms"], "CVM")
        yield _point(f"pending  {per_hour(pending, 'compute')} an hour of compute: {cvms} not seen {seen}")


def _billing(document: _Document) -> Iterator[str]:
    bill, total = document["billing"], document["billing"]["total"]
    if not total["stops"] and not total["starts"]:
        return
    yield "Billing (rates are estimated, charges observed)"
    if total["stops"]:
        ended = total["ended"]
        yield _point(f"stops    {per_hour(ended, 'compute')} an hour, {per_month(ended, 'compute')} a month of compute")
        yield _point(f"goes on  {per_hour(ended, 'storage')} an hour, {per_month(ended, 'storage')} a month of storage")
        yield from _pending_line(total["pending"], "down")
    if total["starts"]:
        begun = total["begun"]
        yield _point(f"begins   {per_hour(begun, 'compute')} an hour, {per_month(begun, 'compute')} a month of compute")
        yield from _pending_line(total["begun_pending"], "running")
    if total["stops"]:
        yield _point(f"charged  {charged_words(total['charged'])}")
    for by in ("app", "teepod"):
        yield f"  {'by ' + by:<26}{'stops':>7}{'ended/h':>13}{'charged':>12}"
        for group in bill[f"by_{by}"][:_MOST]:
            name = safe_text(group["name"] or group["key"] or f"no {by}", 25)
            ended, charged = per_hour(group["ended"], "compute").split(" ")[0], amount_charged(group["charged"])
            yield f"  {name:<26}{group['stops']:>7,}{ended:>13}{charged:>12}"
        if len(bill[f"by_{by}"]) > _MOST:
            yield _point(f"and {len(bill[f'by_{by}']) - _MOST:,} more: --format json")


def _log(document: _Document) -> Iterator[str]:
    found = document["log"]
    where = f", line {found['line']}: {found['reason']}" if found["line"] is not None else ""
    yield "Audit log"
    yield f"  {safe_text(found['path'], 4096)}"
    yield _point(f"{VERDICTS.get(found['verdict'], found['verdict'])}{where}")
    yield _point(f"{found['records']:,} records in {size(found['bytes'])}")
    yield f"  digest   {found['digest']}"
    yield f"  sha256   {found['sha256']}"
    if found["seal"]:
        yield _point(f"sealed {seal_words(found['seal'])}")
    yield "To check it:"
    for line in found["verify"]:
        yield f"  {safe_text(line, 4096)}"
