"""The report of a fleet run, in every format."""

from pathlib import Path

import pytest

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.record import Record
from orchestrator.report.fleet.full import build_fleet_report_document, describe_fleet_report
from orchestrator.report.full.csv import build_report_csv
from orchestrator.report.full.document import LogFile, build_report_document
from orchestrator.report.full.html import render_html
from orchestrator.report.full.markdown import render_markdown
from orchestrator.report.full.text import render_text
from orchestrator.report.full.timeline import RunTimeline
from tests.logs import START, LogBuilder, check_log
from tests.report.fleet.fleets import FLEET_ID, LEFT_OUT


def log_file(log: LogBuilder, folder: str = "runs") -> LogFile:
    data = b"".join(log.lines)
    return LogFile(Path(f"/state/{folder}/{log.run_id}.jsonl"), len(data), "ab" * 32, check_log(data))


def run_document(number: int, outcome: str) -> dict[str, object]:
    log = LogBuilder.start(START, suffix=f"{number:04x}", workspace_name=f"prod-{number}", fleet=FLEET_ID, vars={})
    log.plan((number, "stop", "running"), guards=[], warnings=[])
    log.end(number, outcome=outcome).finish(0 if outcome == "settled" else 6)
    timeline = RunTimeline()
    for record in log.records:
        timeline.apply_record(record)
    return build_report_document(timeline, log_file(log), made_at=START, version="1")


def fleet_log(*, finished: bool = True) -> LogBuilder:
    log = LogBuilder(START, FLEET_ID)
    log.record(
        "fleet.started",
        actor="me@here",
        playbook={"name": "nightly"},
        vars={},
        workspaces=["prod-0", "prod-1"],
        left_out=LEFT_OUT,
    )
    guard: Record = {"name": "max_targets", "limit": 50, "value": 2, "ok": True}
    runs = [{"workspace": f"prod-{n}", "run_id": f"20261123T080000Z-000{n}", "targets": 1} for n in range(2)]
    log.record("fleet.planned", runs=runs, guards=[guard])
    return log.record("fleet.finished", exit_code=6, counts={}, runs=[]) if finished else log


@pytest.fixture(scope="module")
def document() -> dict[str, object]:
    log, state = fleet_log(), FleetState()
    for record in log.records:
        state.apply_record(record)
    runs = [("prod-0", run_document(0, "settled")), ("prod-1", run_document(1, "refused"))]
    return build_fleet_report_document(state, runs, log_file(log, "fleets"), made_at=START, version="1")


def test_the_document_has_totals_and_the_report_of_every_run(document: dict[str, object]) -> None:
    assert document["totals"] == {
        "workspaces": 2,
        "targets": 2,
        "stages": {"settled": 1, "refused": 1},
        "requests": 2,
    }
    assert document["fleet"]["state"] == "finished"  # type: ignore[index] # a document
    assert document["log"]["verify"][0] == f"orchestrator audit verify {FLEET_ID}"  # type: ignore[index] # the same


def test_every_format_has_a_table_and_a_section_for_every_workspace(document: dict[str, object]) -> None:
    report = describe_fleet_report(document)
    for text in (render_text(report, 80), render_markdown(report), render_html(report).decode()):
        assert "Fleet run" in text
        assert "completed with problems: 1 of 2 CVMs as planned in 2 workspaces (exit 6)" in text
        assert "Workspace prod-0" in text
        assert "Workspace prod-1" in text
        assert "prod-x: the API answered 503" in text
    assert max(map(len, render_text(report, 80).splitlines())) <= 100
    names = [section.name for section in report.sections]
    assert len(set(names)) == len(names)


def test_the_csv_has_the_targets_of_all_runs_with_their_workspace(document: dict[str, object]) -> None:
    head, *rows = build_report_csv(document).splitlines()
    assert head.endswith(",workspace")
    assert [row.rsplit(",", 1)[1] for row in rows] == ["prod-0", "prod-1"]


def test_an_unfinished_fleet_run_is_reported_so_far() -> None:
    log, state = fleet_log(finished=False), FleetState()
    for record in log.records:
        state.apply_record(record)
    found = build_fleet_report_document(state, [], log_file(log, "fleets"), made_at=START, version="1")
    assert describe_fleet_report(found).headline == "… not finished: 0 of 0 CVMs as planned in 0 workspaces so far"
