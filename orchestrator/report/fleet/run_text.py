"""A fleet run for people: a row for every workspace, the failed targets, the bill, the next commands."""

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from orchestrator.outcome import AS_WANTED, TROUBLE, Exit
from orchestrator.report.fleet.plan_text import list_left_out
from orchestrator.report.fleet.totals import FleetOutcome, WorkspaceRun
from orchestrator.report.layout import Column, fact_lines, moment, print_lines, print_table, prose_lines
from orchestrator.report.phrases import abandon_command, meaning_of, meaning_of_run
from orchestrator.report.run.text import STYLES, describe_money, describe_wait, explain_target
from orchestrator.text import plural, safe_text
from orchestrator.times import format_duration, parse_timestamp

_MOST_TROUBLES = 20
_BY_A_PERSON = frozenset({Exit.SIGINT, Exit.SIGTERM})
"""Interruptions of all runs at once; the head names the interruption."""


def print_fleet(console: Console, fleet: FleetOutcome) -> None:
    """Print a fleet run at its end or so far."""
    head = Text.assemble(("Fleet run ", "dim"), (safe_text(fleet.fleet_id), "bold"), f"  {describe_fleet(fleet)}")
    print_lines(console, prose_lines(console, head))
    counts = fleet.counts
    tally = Text("  ").join(Text(f"{number} {outcome}", STYLES.get(outcome, "")) for outcome, number in counts.items())
    console.print(tally if counts else Text("nothing to do: no targets"))
    console.print()
    if fleet.runs:
        _print_runs(console, fleet)
        console.print()
    _print_troubles(console, fleet)
    print_lines(console, fact_lines(console, _list_facts(fleet)))


def describe_fleet(fleet: FleetOutcome) -> str:
    """Describe the state or the end of a fleet run: `succeeded: 32 of 32 CVMs as planned in 3 workspaces (exit 0)`."""
    if not fleet.runs:
        end = "" if fleet.is_void or fleet.exit_code is None else f" (exit {fleet.exit_code})"
        return f"nothing was sent: the fleet run ended before its plan{end}"
    targets = [target for run in fleet.runs for target in run.state.targets.values() if target.taken_up_by is None]
    reached = sum(target.outcome_so_far in AS_WANTED for target in targets)
    result = f"{reached} of {plural(len(targets), 'CVM')} as planned in {plural(len(fleet.runs), 'workspace')}"
    if fleet.exit_code is None:
        return f"running: {result} so far"
    if fleet.is_unfinished:
        return f"not finished, {meaning_of(fleet.exit_code)}: {result} so far"
    return f"{meaning_of(fleet.exit_code)}: {result} (exit {fleet.exit_code})"


def _print_runs(console: Console, fleet: FleetOutcome) -> None:
    columns = [
        Column("workspace", wraps=True),
        Column("CVMs", rank=2, right=True),
        Column("run", rank=1),
        Column("exit", rank=3, right=True),
        Column("result", wraps=True),
    ]
    rows: list[list[str | Text]] = [
        [
            safe_text(run.workspace, 64),
            f"{run.state.cvm_count:,}",
            safe_text(run.state.run_id),
            "-" if run.exit_code is None or run.is_unfinished else str(run.exit_code),
            describe_workspace_run(run),
        ]
        for run in fleet.runs
    ]
    print_table(console, columns, rows)


def describe_workspace_run(run: WorkspaceRun) -> Text:
    """Describe the result of a workspace's run: its outcomes, or the reason for its early end."""
    tally = Text(", ").join(
        Text(f"{number} {outcome}", STYLES.get(outcome, "")) for outcome, number in run.counts.items()
    )
    waiting = describe_wait(run.state) if run.exit_code is None else None
    if waiting is not None:
        return Text.assemble(tally, "  ", (waiting, "yellow"))
    if run.exit_code is not None and run.is_unfinished and run.exit_code not in _BY_A_PERSON:
        return Text.assemble(tally, f"{'; ' if tally else ''}{meaning_of_run(run.state, running=False)}")
    return tally or Text("nothing to do", "dim")


def _print_troubles(console: Console, fleet: FleetOutcome) -> None:
    """Print the targets with a problem, with the API's own words."""
    found = [
        (run, target)
        for run in fleet.runs
        for target in run.state.targets.values()
        if target.taken_up_by is None
        and (target.outcome if run.exit_code is None or run.is_unfinished else target.outcome_so_far) in TROUBLE
    ]
    if not found:
        return
    columns = [Column("workspace", wraps=True), Column("CVM", wraps=True), Column("id", rank=2)]
    columns += [Column("teepod", rank=3), Column("outcome", rank=1), Column("why", wraps=True)]
    rows: list[list[str | Text]] = []
    for run, target in found[:_MOST_TROUBLES]:
        ref, outcome = target.ref, target.outcome_so_far.value
        place = [safe_text(run.workspace, 64), safe_text(ref.name, 64), safe_text(ref.address, 64)]
        rows.append([*place, safe_text(ref.teepod, 64), Text(outcome, STYLES.get(outcome, "")), explain_target(target)])
    print_table(console, columns, rows)
    if len(found) > _MOST_TROUBLES:
        rest = len(found) - _MOST_TROUBLES
        print_lines(console, [Text(f"and {rest} more: orchestrator report {safe_text(fleet.fleet_id)}")])
    console.print()


def _list_facts(fleet: FleetOutcome) -> Iterator[tuple[str, str | Text]]:
    fleet_id = safe_text(fleet.fleet_id)
    starts = [run.state.started for run in fleet.runs if run.state.started.record]
    if starts:
        begin = min(started.ts for started in starts)
        yield "started", Text(f"{moment(begin)} by {safe_text(starts[0].actor, 100)}")
        ends = [run.state.ended_at for run in fleet.runs]
        last = max((end for end in ends if end is not None), default=None)
        if last is not None and fleet.exit_code is not None:
            took = parse_timestamp(last) - parse_timestamp(begin)
            yield "took", format_duration(max(0.0, round(took.total_seconds(), 1)))
    money = fleet.money
    if money["triggered"] or "starts" in money:
        yield "billing", describe_money(money)
    yield from list_left_out(fleet.left_out)
    yield "fleet log", Text(safe_text(fleet.audit_log, 4096), no_wrap=True)
    yield "verify", Text(f"orchestrator audit verify {fleet_id}", no_wrap=True)
    if fleet.is_void and fleet.exit_code is not None:
        yield "abandon", Text(abandon_command(fleet.fleet_id), "bold", no_wrap=True)
    if fleet.is_unfinished and fleet.exit_code is not None:
        yield "resume", Text(f"orchestrator resume {fleet_id}", "bold", no_wrap=True)
