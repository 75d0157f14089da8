"""The report of a fleet run: a document of the runs' documents, and its sections. All formats render the sections."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.verify import Verdict
from orchestrator.report.full.blocks import (
    Block,
    Cell,
    ColumnKind,
    Facts,
    Heading,
    Items,
    Mood,
    Paragraph,
    Report,
    Section,
    Table,
    TableColumn,
)
from orchestrator.report.full.document import FORMAT, LogFile, describe_log_file, seconds_between
from orchestrator.report.full.phrases import STAGES, amount_charged
from orchestrator.report.full.sections import (
    describe_counts,
    describe_guards,
    describe_log,
    describe_report,
)
from orchestrator.report.layout import after, moment, per_hour
from orchestrator.report.phrases import meaning_of
from orchestrator.text import plural
from orchestrator.times import timestamp

_Document = Mapping[str, Any]

_WANTED = ("settled", "gone", "skipped")


def build_fleet_report_document(
    state: FleetState,
    runs: Sequence[tuple[str, dict[str, Any]]],
    log: LogFile,
    *,
    made_at: datetime,
    version: str,
) -> dict[str, Any]:
    """Build the document of `report FLEET_ID --format json`, also the source of the other formats.

    Args:
        state: the replayed state of the fleet log.
        runs: the name of every workspace, and the report document of its run.
        log: the fleet log.
        made_at: the wall clock.
        version: the version of this program.
    """
    stages: Counter[str] = Counter()
    for _, document in runs:
        stages.update(document["stages"])
    return {
        "report": FORMAT,
        "made_at": timestamp(made_at),
        "made_by": f"orchestrator {version}",
        "fleet": _describe_fleet(state, log),
        "totals": {
            "workspaces": len(runs),
            "targets": sum(stages.values()),
            "stages": dict(stages),
            "requests": sum(document["requests"]["sent"] for _, document in runs),
        },
        "workspaces": [{"workspace": name, **document} for name, document in runs],
        "guards": state.planned.guards,
        "warnings": [],
        "log": describe_log_file(log),
    }


def _describe_fleet(state: FleetState, log: LogFile) -> dict[str, Any]:
    started, finished = state.started, state.finished
    code = None if finished is None else finished.exit_code
    begun, last = started.record.get("ts"), state.ended_at or state.last_ts or None
    return {
        "fleet_id": state.fleet_id or log.path.stem,
        "playbook": started.playbook,
        "vars": started.vars,
        "actor": started.actor,
        "trigger": started.trigger,
        "restores": started.restores,
        "first": started.first,
        "left_out": state.left_out,
        "state": _find_state(state, log),
        "exit_code": code,
        "ending": finished.ending if finished else None if state.interrupted is None else state.interrupted.reason,
        "started_at": begun,
        "ended_at": last,
        "seconds": seconds_between(begun, last),
    }


def _find_state(state: FleetState, log: LogFile) -> str:
    if log.reading.verdict is Verdict.ALTERED:
        return "altered"
    if state.finished is not None:
        return "finished"
    if log.running:
        return "running"
    return "unfinished" if state.has_plan else "not_sent"


def describe_fleet_report(document: _Document) -> Report:
    """Describe the whole report: the totals, a table of the workspaces, and a section for every workspace.

    Args:
        document: the report's document.
    """
    fleet = document["fleet"]
    good = fleet["state"] == "finished" and fleet["exit_code"] == 0
    bad = fleet["state"] == "altered" or (fleet["exit_code"] or 0) != 0
    sections = [
        _describe_summary(document),
        _describe_workspaces(document),
        describe_guards(document),
        *(_describe_workspace(number, each) for number, each in enumerate(document["workspaces"], start=1)),
        describe_log({"log": document["log"], "run": fleet}),
    ]
    return Report(
        playbook=str(fleet["playbook"].get("name") or "unknown playbook"),
        run_id=str(fleet["fleet_id"]),
        started_at=moment(fleet["started_at"]),
        headline=("✓ " if good else "✗ " if bad else "… ") + _describe_end(document),
        mood=Mood.GOOD if good else Mood.BAD if bad else Mood.OPEN,
        sections=sections,
        foot=f"Made {moment(document['made_at'])} by {document['made_by']} from the audit logs alone. Times are UTC.",
        noun="Fleet run",
    )


def _describe_end(document: _Document) -> str:
    fleet, total = document["fleet"], document["totals"]
    reached = sum(total["stages"].get(stage, 0) for stage in _WANTED)
    result = f"{reached} of {plural(total['targets'], 'CVM')} as planned in {plural(total['workspaces'], 'workspace')}"
    match fleet["state"]:
        case "finished":
            return f"{meaning_of(fleet['exit_code'])}: {result} (exit {fleet['exit_code']})"
        case "not_sent":
            return "nothing was sent"
        case "altered":
            return f"the fleet log was altered at line {document['log']['line']}; {result}"
        case state:
            return f"{'running' if state == 'running' else 'not finished'}: {result} so far"


def _describe_summary(document: _Document) -> Section:
    fleet, total = document["fleet"], document["totals"]
    trigger = fleet["trigger"]
    pairs: list[tuple[str, Cell]] = [
        ("Started by", str(fleet["actor"] or "-")),
        ("Started", moment(fleet["started_at"])),
        ("Last record" if fleet["exit_code"] is None else "Ended", moment(fleet["ended_at"])),
        ("Took", after(fleet["seconds"])),
        ("Playbook", str(fleet["playbook"].get("path") or fleet["playbook"].get("name") or "-")),
        ("Variables", ", ".join(f"{key} = {value}" for key, value in (fleet["vars"] or {}).items()) or "none"),
        ("Requests", f"{total['requests']:,}"),
    ]
    if trigger:
        pairs.insert(1, ("Trigger", f"schedule {trigger.get('schedule')}, planned for {trigger.get('planned')}"))
    if fleet["restores"]:
        pairs.append(("Undo of", str(fleet["restores"])))
    if fleet["first"]:
        pairs.append(("First workspace", str(fleet["first"])))
    blocks: list[Block] = [describe_counts(total["stages"]), Facts(pairs)]
    if fleet["left_out"]:
        left = [f"{each.get('workspace')}: {each.get('reason')}" for each in fleet["left_out"]]
        blocks += [Heading("Workspaces left out"), Items(left)]
    return Section("summary", "Summary", blocks)


def _describe_workspaces(document: _Document) -> Section:
    columns = (
        TableColumn("workspace"),
        TableColumn("run", ColumnKind.CODE, rank=3),
        TableColumn("targets", ColumnKind.NUMBER),
        TableColumn("as planned", ColumnKind.NUMBER),
        TableColumn("exit", ColumnKind.NUMBER, rank=1),
        TableColumn("took", ColumnKind.NUMBER, rank=2),
        TableColumn("compute ended/h (estimated)", ColumnKind.NUMBER, rank=4),
        TableColumn("charged (observed)", ColumnKind.NUMBER, rank=5),
        TableColumn("result", ColumnKind.SENTENCE),
    )
    rows = [list(_format_row(each)) for each in document["workspaces"]]
    total = document["totals"]
    reached = sum(total["stages"].get(stage, 0) for stage in _WANTED)
    foot: list[Cell] = ["all", "", f"{total['targets']:,}", f"{reached:,}", "", "", "", "", ""]
    blocks: list[Block] = [Table("Workspaces", columns, rows, foot)] if rows else [Paragraph("The log names no runs.")]
    return Section("workspaces", "Workspaces", blocks)


def _format_row(document: _Document) -> Iterator[Cell]:
    run, stages, bill = document["run"], document["stages"], document["billing"]["total"]
    others = [f"{number} {stage}" for stage in STAGES if stage not in _WANTED and (number := stages.get(stage))]
    yield str(document["workspace"])
    yield str(run["run_id"])
    yield f"{sum(stages.values()):,}"
    yield f"{sum(stages.get(stage, 0) for stage in _WANTED):,}"
    yield "-" if run["exit_code"] is None else str(run["exit_code"])
    yield after(run["seconds"])
    yield per_hour(bill["ended"], "compute") if bill["stops"] else "-"
    yield amount_charged(bill["charged"]) if bill["stops"] else "-"
    yield ", ".join(others) or ("-" if run["state"] == "finished" else str(run["meaning"]))


def _describe_workspace(number: int, document: _Document) -> Section:
    """Describe a workspace in one section, made from the sections of its run's report."""
    report = describe_report(document)
    blocks: list[Block] = [Paragraph(f"Run {report.run_id}: {report.headline}")]
    for section in report.sections:
        if not section.is_empty:
            blocks += [Heading(section.title), *section.blocks]
    return Section(f"workspace-{number}", f"Workspace {document['workspace']}", blocks)
