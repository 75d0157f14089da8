"""Reports of logs built for a test, some with hostile names."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from orchestrator.audit.record import Record
from orchestrator.audit.verify import Reading, Verdict
from orchestrator.report.full.document import LogFile, build_report_document
from orchestrator.report.full.html import render_html
from orchestrator.report.full.markdown import render_markdown
from orchestrator.report.full.sections import describe_report
from orchestrator.report.full.text import render_text
from orchestrator.report.full.timeline import RunTimeline
from tests.logs import (
    RUN_ID,
    START,
    TimedEvent,
    accepted,
    asked,
    build_timed_log,
    check_log,
    cvm,
    ended,
    finished,
    reconciled,
    target,
)

HOSTILE = (
    "<script>document.title='pwned'</script>",
    "\"><img src=x onerror=\"document.title='pwned'\">",
    "'><svg onload=document.title='pwned'>",
    "</style></title></textarea><script>document.title='pwned'</script>",
    "<!--", "-->", "]]>", "&lt;script&gt;", "javascript:document.title='pwned'",
    "{{7*7}}${7*7}", '=HYPERLINK("http://evil.example")', "@SUM(1)", "+1", "-1", "\t=1",
    "[click](http://evil.example) ![x](http://evil.example/x.png) @everyone #1 | `x` | *b* <b>b</b>",
    "\u202egnp.exe\u2066x\u200b", "a\0b\x1b[2J\x07\r\nnext", "\ud800", "x" * 5000, "\u0301" * 50, "مرحبا", "",
)  # fmt: skip


def lines(targets: Iterable[Mapping[str, Any]], *events: TimedEvent, **planned: object) -> list[tuple[Record, bytes]]:
    """Build the records and log lines of a run, in the order of time."""
    started = {
        "playbook": {"name": planned.pop("name", "everything"), "path": "p.yaml", "sha256": "0" * 64},
        "vars": planned.pop("variables", {}),
        "actor": planned.pop("actor", "ann@desk"),
        "version": "0.1.0",
        "cloud_url": "http://127.0.0.1:1/api/v1",
        "simulated": False,
        "limits": {
            "requests_per_second": planned.pop("rate", 5.0),
            "burst": 5,
            "max_in_flight": 10,
            "per_teepod": 10,
            "max_failures": None,
            "dispatch": "single",
        },
    }
    plan: dict[str, object] = {
        "steps": [{"name": "stop", "action": "stop", "settle_timeout_s": 600.0, "on_failure": "continue"}],
        "targets": list(targets),
        "skipped": [],
        "guards": [],
        "warnings": [],
        "workspace_size": 9,
        **planned,
    }
    ordered = sorted([(0.0, "run.started", started), (0.0, "run.planned", plan), *events], key=lambda event: event[0])
    return list(build_timed_log(ordered))


def story(targets: Iterable[Mapping[str, Any]], *events: TimedEvent, **planned: object) -> RunTimeline:
    """Build the timeline of these records."""
    return RunTimeline.from_records(record for record, _ in lines(targets, *events, **planned))


def document(targets: Iterable[Mapping[str, Any]], *events: TimedEvent, **planned: object) -> dict[str, Any]:
    """Build the report document of a run."""
    written = lines(targets, *events, **planned)
    data = b"".join(line for _, line in written)
    reading = check_log(data)
    assert reading.verdict is not Verdict.ALTERED, reading.reason
    return of_story(RunTimeline.from_records(record for record, _ in written), reading, data)


def of_story(timeline: RunTimeline, reading: Reading, data: bytes = b"") -> dict[str, Any]:
    """Build the report document of a timeline."""
    log = LogFile(Path(f"/runs/{RUN_ID}.jsonl"), len(data), hashlib.sha256(data).hexdigest(), reading)
    return build_report_document(timeline, log, made_at=START + timedelta(hours=1), version="0.1.0")


def hostile(name: str = "".join(HOSTILE[:4])) -> dict[str, Any]:
    """Build a report with hostile names, apps, teepods, reasons and actor."""
    every = "".join(HOSTILE[:4])
    cvms = [
        {**cvm(number, name), "teepod": name, "app_id": name, "id": f"cvm_{number}"}
        for number, name in enumerate(HOSTILE)
    ]
    events = [
        event
        for number, each in enumerate(cvms)
        for event in (
            asked(each, number),
            accepted(each, number + 0.2, request_id=each["name"]),
            ended(each, number + 0.4, "failed", reason=each["name"], status=each["name"]),
        )
    ]
    events += [(5, "notice", {"step": every, "message": every}), (6, "some.thing", {"what": HOSTILE[0]})]
    skipped = [{"cvm": cvm(900 + n, name), "reason": name, "status": name} for n, name in enumerate(HOSTILE)]
    guards = [{"name": every, "limit": every, "value": every, "ok": False}]
    return document(
        [target(each) for each in cvms],
        *events,
        finished(99, 6),
        reconciled(cvms[0], 100, "0.0125"),
        name=name,
        actor=every,
        variables={every: every},
        warnings=[every],
        guards=guards,
        skipped=skipped,
    )


def report_html(of: dict[str, Any]) -> bytes:
    """Render a document as a page."""
    return render_html(describe_report(of))


def report_markdown(of: dict[str, Any]) -> str:
    """Render a document as Markdown."""
    return render_markdown(describe_report(of))


def report_text(of: dict[str, Any]) -> str:
    """Render a document as text."""
    return render_text(describe_report(of))
