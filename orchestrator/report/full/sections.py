"""The sections of a report, described once for all formats. Every function is pure: a document in, a section out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.report.full.blocks import (
    Block,
    Cell,
    Code,
    ColumnKind,
    Commands,
    Count,
    Counts,
    CvmName,
    Facts,
    Heading,
    Items,
    Mood,
    Paragraph,
    Report,
    Section,
    Table,
    TableColumn,
    TimeChart,
)
from orchestrator.report.full.charts import Series
from orchestrator.report.full.incidents import list_incidents
from orchestrator.report.full.phrases import (
    ANSWERS,
    CHARGES_NOTE,
    HASH_CHAIN,
    READS_ARE_NOT_IN_THE_LOG,
    STAGES,
    action_words,
    amount_charged,
    amount_expected,
    charged_words,
    cvm_name,
    deadline_words,
    ending_words,
    failure_reason,
    guard_words,
    headline_words,
    limit_words,
    list_failures,
    list_skip_reasons,
    next_command,
    seal_words,
    stage_mark,
    trigger_words,
)
from orchestrator.report.full.timeline_section import describe_timeline
from orchestrator.report.layout import after, format_dollars, moment, per_hour, rate_words, size
from orchestrator.report.phrases import VERDICTS, describe_approval, describe_narrowing
from orchestrator.text import plural

_Document = Mapping[str, Any]

_NAMES = 20
_MOODS = {"✓": Mood.GOOD, "✗": Mood.BAD}


def describe_report(document: _Document) -> Report:
    """Describe the whole report.

    Args:
        document: the report's document.
    """
    run = document["run"]
    good = run["state"] == "finished" and run["exit_code"] == 0
    bad = run["state"] == "altered" or (run["exit_code"] or 0) != 0
    describe = (
        describe_summary,
        describe_failures,
        describe_timeline,
        describe_requests,
        describe_incidents,
        describe_guards,
        describe_skipped,
        describe_billing,
        describe_log,
    )
    return Report(
        playbook=str(run["playbook"].get("name") or "unknown playbook"),
        run_id=str(run["run_id"]),
        started_at=moment(run["started_at"]),
        headline=("✓ " if good else "✗ " if bad else "… ") + headline_words(document),
        mood=Mood.GOOD if good else Mood.BAD if bad else Mood.OPEN,
        sections=[section for each in describe if (section := each(document)).blocks],
        foot=f"Made {moment(document['made_at'])} by {document['made_by']} from the audit log alone. Times are UTC.",
    )


def describe_summary(document: _Document) -> Section:
    """Describe the outcomes and the facts of the run."""
    run, total = document["run"], document["billing"]["total"]
    paused = f", {after(sum(run['paused_s']))} of it interrupted" if run["paused_s"] else ""
    pairs: list[tuple[str, Cell]] = [
        ("Started by", str(run["actor"] or "-")),
        ("Trigger", trigger_words(document)),
        ("Started", moment(run["started_at"])),
        ("Last record" if run["exit_code"] is None else "Ended", moment(run["ended_at"])),
        ("Took", after(run["seconds"]) + paused),
        ("Ending", ending_words(document)),
        ("Playbook", str(run["playbook"].get("path") or run["playbook"].get("name") or "-")),
        ("Variables", ", ".join(f"{key} = {value}" for key, value in (run["vars"] or {}).items()) or "none"),
        ("Cloud", f"{run['cloud_url'] or '-'}{' (simulated)' if run['simulated'] else ''}"),
        ("Limits", limit_words(document)),
        ("Workspace", _describe_workspace(run)),
        ("Steps", ", ".join(f"{step['name']} ({step['action']})" for step in run["steps"] if "action" in step) or "-"),
        ("Deadline", deadline_words(document) or "none"),
    ]
    if run["narrowed"]:
        pairs.append(("Narrowed by", describe_narrowing(run["narrowed"])))
    if "break_freeze" in run:
        pairs.append(("Despite freezes", str(run["break_freeze"])))
    if "ignore_keep" in run:
        pairs.append(("Despite exemptions", str(run["ignore_keep"])))
    if "approval" in run:
        pairs.append(("Approved by", describe_approval(run["approval"])))
    if command := next_command(document):
        pairs.append(("To continue", Code(command)))
    if total["stops"]:
        pairs += [
            ("Compute ended", rate_words(total["ended"], "compute")),
            ("Charged", charged_words(total["charged"])),
        ]
    return Section("summary", "Summary", [describe_counts(document["stages"]), Facts(pairs)])


def _describe_workspace(run: Mapping[str, Any]) -> str:
    """Describe the workspace of a run by its name in the settings, if any, and its size."""
    size = f"{run['workspace_size']:,} CVMs" if run["workspace_size"] else "only some apps were read"
    name = run.get("workspace_name")
    return size if name is None else f"{name}, {size}"


def describe_counts(counts: Mapping[str, int]) -> Counts:
    """Describe the number of targets at every stage."""
    found = [Count(sum(counts.values()), "", "planned", "targets of the plan")]
    for stage, meaning in STAGES.items():
        if counts.get(stage):
            mark = stage_mark(stage)
            found.append(Count(counts[stage], mark, stage, meaning, _MOODS.get(mark, Mood.OPEN)))
    return Counts(found)


def describe_failures(document: _Document) -> Section:
    """Describe the failed targets, with the API's reason if available, and the targets not sent."""
    failures = list_failures(document)
    unsent = [cvm_name(target) for target in document["targets"] if target["stage"] == "not_sent"]
    columns = (
        TableColumn("CVM"),
        TableColumn("teepod"),
        TableColumn("outcome", ColumnKind.WORD),
        TableColumn("reason", ColumnKind.SENTENCE),
        TableColumn("last status"),
        TableColumn("action"),
        TableColumn("request", ColumnKind.ID),
    )
    rows = [
        (
            CvmName(cvm_name(target), str(target["cvm"]["id"] or target["cvm"]["vm_uuid"] or "-")),
            str(target["cvm"]["teepod"] or "-"),
            f"✗ {target['stage']}",
            failure_reason(target),
            str(target["status"] or "-"),
            action_words(target),
            str(target["request_id"] or "-"),
        )
        for target in failures
    ]
    blocks: list[Block] = [Table("CVMs without the wanted result", columns, rows)] if rows else []
    if unsent:
        blocks.append(Paragraph(f"{plural(len(unsent), 'CVM')} not sent: {_name_list(unsent, len(unsent))}."))
    return Section("failures", "Failures", blocks or [Paragraph("None.")], is_empty=not blocks)


def _name_list(names: Sequence[str], count: int) -> str:
    listed = ", ".join(names[:_NAMES])
    rest = count - min(_NAMES, len(names))
    return f"{listed} and {rest:,} more" if rest else listed


def describe_requests(document: _Document) -> Section:
    """Describe the requests: number, rate beside the limit, and answers."""
    found = document["requests"]
    if not found["sent"]:
        sentence = Paragraph("No request that changes something was sent.")
        return Section("requests", "Requests", [sentence], is_empty=True)
    rows = [(name, ANSWERS.get(name, ""), f"{number:,}") for name, number in found["answers"].items()]
    columns = (
        TableColumn("answer", ColumnKind.WORD),
        TableColumn("meaning", ColumnKind.SENTENCE),
        TableColumn("requests", ColumnKind.NUMBER),
    )
    unsent = found["announced_and_not_sent"]
    blocks: list[Block] = [
        _request_rate(document),
        Paragraph(READS_ARE_NOT_IN_THE_LOG),
        Table("Answers to the requests", columns, rows, ("all", "", f"{found['sent']:,}")),
    ]
    if unsent:
        blocks.append(Paragraph(f"{unsent:,} more were announced in the log, and not sent."))
    return Section("requests", "Requests", blocks)


def _request_rate(document: _Document) -> TimeChart:
    found, burst = document["requests"], (document["run"]["limits"] or {}).get("burst")
    width, limit = found["seconds_a_bin"], found["limit_per_second"]
    every = [count / width for count in found["bins"]]
    vain = [count / width for count in found["bins_without_effect"]]
    series = [Series("requests a second", "settling", every), Series("without effect", "otherwise", vain)]
    keys = [
        ("settling", "requests a second"),
        ("otherwise", "not accepted: deferred, refused, failed or unknown"),
    ]
    if isinstance(limit, int | float):
        series.append(Series("limit", "limit", [float(limit)] * len(every), filled=False))
        keys.append(("limit", f"the limit: {limit:g} a second after a burst of {burst}"))
        words = f"limit {limit:g} a second"
    else:
        words = "limit found during the run"
    return TimeChart(
        caption=f"Requests a second (mean of {after(width)})",
        summary=f"{plural(found['sent'], 'request')} sent, {found['busiest_second']:,} in the busiest second, {words}.",
        keys=keys,
        seconds_each=width,
        series=series,
        length=max(document["times"]["length_s"], width),
    )


def describe_incidents(document: _Document) -> Section:
    """Describe the unusual events."""
    rows = [(f"{ts[11:19]} UTC", after(at), words) for ts, at, words in list_incidents(document)]
    columns = (
        TableColumn("time", ColumnKind.WORD),
        TableColumn("after", ColumnKind.NUMBER, rank=1),
        TableColumn("event", ColumnKind.SENTENCE),
    )
    table = Table("Interruptions, approvals, notices and other events", columns, rows, shown=500)
    return Section("moments", "Other events", [table] if rows else [])


def describe_guards(document: _Document) -> Section:
    """Describe the plan's guards and warnings."""
    rows = [
        (str(guard["name"]), guard_words(guard), "✓ kept" if guard["ok"] else "✗ broken")
        for guard in document["guards"]
    ]
    columns = (
        TableColumn("guard"),
        TableColumn("value and limit", ColumnKind.SENTENCE),
        TableColumn("result", ColumnKind.WORD),
    )
    blocks: list[Block] = [Table("Guards of the plan", columns, rows) if rows else Paragraph("No guard was set.")]
    if document["warnings"]:
        blocks += [Heading("Warnings of the plan"), Items(document["warnings"])]
    return Section("guards", "Guards", blocks, is_empty=not rows and not document["warnings"])


def describe_skipped(document: _Document) -> Section:
    """Describe the skipped CVMs, by reason."""
    groups = list_skip_reasons(document)
    if not groups:
        return Section("skipped", "Skipped", [Paragraph("No CVM was skipped.")], is_empty=True)
    rows = [(reason, f"{count:,}", _name_list(names, count)) for reason, count, names in groups]
    columns = (
        TableColumn("reason", ColumnKind.SENTENCE),
        TableColumn("CVMs", ColumnKind.NUMBER),
        TableColumn("names", ColumnKind.SENTENCE, rank=1),
    )
    total = f"{sum(count for _, count, _ in groups):,}"
    return Section("skipped", "Skipped", [Table("Skipped CVMs", columns, rows, ("all", total, ""))])


def describe_billing(document: _Document) -> Section:
    """Describe the bill: rates that ended, rates still billed, and charges."""
    bill = document["billing"]
    total = bill["total"]
    if not total["stops"] and not total["starts"]:
        sentence = Paragraph("No action was accepted: the bill is unchanged.")
        return Section("billing", "Billing", [sentence], is_empty=True)
    blocks: list[Block] = [Facts(list(_bill_facts(total))), Paragraph(CHARGES_NOTE, is_note=True)]
    for by in ("app", "teepod"):
        blocks += [Heading(f"By {by}"), _billing_table(by, bill[f"by_{by}"], total)]
    blocks += [*_pending_charges(bill["not_charged_yet"]), *_billing_notes(bill["notes"])]
    return Section("billing", "Billing", blocks)


def _bill_facts(total: _Document) -> Iterator[tuple[str, Cell]]:
    if total["stops"]:
        yield "Compute ended", f"{rate_words(total['ended'], 'compute')} (estimated)"
        yield "Still billed", f"storage {rate_words(total['ended'], 'storage')} (estimated)"
        yield from _pending_rate("Stops pending", total["pending"], "down")
        yield "Charged", charged_words(total["charged"])
    if total["starts"]:
        yield "Compute begun", f"{rate_words(total['begun'], 'compute')} (estimated)"
        yield from _pending_rate("Starts pending", total["begun_pending"], "running")


def _pending_rate(name: str, pending: _Document, seen: str) -> Iterator[tuple[str, Cell]]:
    if pending["cvms"]:
        cvms = plural(pending["cvms"], "CVM")
        yield name, f"compute {rate_words(pending, 'compute')} (estimated): {cvms} not seen {seen}"


def _billing_table(by: str, groups: Sequence[_Document], total: _Document) -> Table:
    columns = [
        TableColumn(by),
        TableColumn("stops", ColumnKind.NUMBER),
        TableColumn("compute ended/h (estimated)", ColumnKind.NUMBER, rank=1),
        TableColumn("compute of CVMs not seen down/h (estimated)", ColumnKind.NUMBER, rank=6),
        TableColumn("storage still billed/h (estimated)", ColumnKind.NUMBER, rank=4),
        TableColumn("expected charge (estimated)", ColumnKind.NUMBER, rank=5),
        TableColumn("charged (observed)", ColumnKind.NUMBER),
        TableColumn("pending or not requested", ColumnKind.NUMBER, rank=3),
    ]
    if total["starts"]:
        columns.append(TableColumn("compute begun/h (estimated)", ColumnKind.NUMBER, rank=2))
    rows = [_billing_row(str(each["name"] or each["key"] or f"no {by}"), each, total) for each in groups]
    return Table(f"Billing by {by}", columns, rows, _billing_row("all", total, total), shown=40)


def _billing_row(name: str, sums: _Document, total: _Document) -> list[Cell]:
    charged = sums["charged"]
    cells: list[Cell] = [
        name,
        f"{sums['stops']:,}",
        per_hour(sums["ended"], "compute"),
        per_hour(sums["pending"], "compute"),
        per_hour(sums["ended"], "storage"),
        amount_expected(charged),
        amount_charged(charged),
        f"{charged['pending'] + charged['not_asked']:,}",
    ]
    return [*cells, per_hour(sums["begun"], "compute")] if total["starts"] else cells


def _pending_charges(waiting: Sequence[_Document]) -> Iterator[Block]:
    rows = [
        (cvm_name(each), format_dollars(each["expected_usd"]), str(each["reason"] or "-"))
        for each in waiting
        if each["state"] == "pending"
    ]
    columns = (
        TableColumn("CVM"),
        TableColumn("expected (estimated)", ColumnKind.NUMBER),
        TableColumn("reason", ColumnKind.SENTENCE),
    )
    if rows:
        yield Heading("Pending charges")
        yield Table("Stops without a charge yet", columns, rows, shown=50)


def _billing_notes(notes: Sequence[_Document]) -> Iterator[Block]:
    rows = [(str(each["meaning"] or each["code"]), f"{each['count']:,}") for each in notes]
    if rows:
        yield Heading("Billing notes")
        yield Table(
            "Billing notes of the accepted actions",
            (TableColumn("note", ColumnKind.SENTENCE), TableColumn("CVMs", ColumnKind.NUMBER)),
            rows,
        )


def describe_log(document: _Document) -> Section:
    """Describe the audit log: its path, its digests, and the commands to verify the log."""
    found = document["log"]
    where = f", line {found['line']}: {found['reason']}" if found["line"] is not None else ""
    pairs: list[tuple[str, Cell]] = [
        ("File", Code(found["path"])),
        ("Verdict", f"{VERDICTS.get(found['verdict'], found['verdict'])}{where}"),
        ("Records", f"{found['records']:,} in {size(found['bytes'])}"),
        ("Digest", Code(found["digest"] or "-")),
        ("SHA-256", Code(found["sha256"])),
        ("Playbook", Code(document["run"]["playbook"].get("sha256") or "-")),
    ]
    if found["seal"]:
        pairs.append(("Seal", seal_words(found["seal"])))
    blocks: list[Block] = [
        Facts(pairs, is_wide=True),
        Paragraph(HASH_CHAIN, is_note=True),
        Paragraph("To verify the log, run these commands and compare the digests with those above:"),
        Commands(found["verify"]),
    ]
    return Section("log", "Audit log", blocks)
