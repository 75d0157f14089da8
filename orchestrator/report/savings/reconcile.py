"""The charges for the stops of a run, for people and as a JSON document."""

from collections.abc import Collection, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from orchestrator.audit.replay import RunState
from orchestrator.billing.reconcile import NOT_YET
from orchestrator.billing.reconciled import ChargeState, Reconciled, ReconciledTotal, add_up_charges
from orchestrator.report.layout import Column, fact_lines, print_lines, print_table
from orchestrator.report.phrases import CHARGES
from orchestrator.runs.reconciling import Key, Reconciliation
from orchestrator.text import plural, safe_text

_MOST_ROWS = 20
_STYLES = {
    ChargeState.CHARGED: "green",
    ChargeState.PENDING: "yellow",
    ChargeState.NONE: "",
    ChargeState.UNKNOWN: "red",
}
_BASIS = (
    "Charged is observed in the API's usage records. Expected is an estimate: the minutes from the last charge to the "
    "stop, times the compute rate. The difference is an estimate too."
)


def reconciliation_document(found: Reconciliation, state: RunState, audit_log: Path | str, code: int) -> dict[str, Any]:
    """Build the document of `reconcile --json`."""
    targets = []
    for key, each in _in_order(found, state):
        document = each.document()
        targets.append(document | {"problem": found.problems.get(key)})
    return {
        "run_id": state.run_id,
        "exit_code": code,
        "audit_log": str(audit_log),
        "asked": found.asked,
        "recorded": len(found.news),
        "total": add_up_charges(found.found.values()).document(),
        "targets": targets,
        "next": f"orchestrator reconcile {state.run_id}" if found.open else None,
    }


def print_reconciliation(
    console: Console, found: Reconciliation, state: RunState, audit_log: Path | str, *, details: bool
) -> None:
    """Print a reconciliation: a row for every CVM, the sums to the cent, and the source of the figures.

    Args:
        console: the console to print on.
        found: the known charges.
        state: the run.
        audit_log: the path of the run's log.
        details: whether to list every CVM, not only the most important rows.
    """
    run_id = safe_text(state.run_id)
    sums = add_up_charges(found.found.values())
    console.print(Text.assemble(("Run ", "dim"), (run_id, "bold"), f"  {_describe_counts(sums)}"))
    if not found.found:
        console.print(Text("nothing to reconcile: no stop of this run took effect"))
        return
    rows = _in_order(found, state)
    listed = rows if details else _sort_by_surprise(rows)[:_MOST_ROWS]
    console.print()
    _print_rows(console, [(each, found.problems.get(key)) for key, each in listed])
    if len(listed) < len(rows):
        rest = f"and {plural(len(rows) - len(listed), 'CVM')} more: orchestrator reconcile {run_id} --details"
        print_lines(console, [Text(rest)])
    console.print()
    facts = _list_sums(sums, found.found.values())
    facts.append(("basis", Text(_BASIS)))
    facts.append(("audit log", Text(safe_text(audit_log, 4096), no_wrap=True)))
    facts.append(("requested", _describe_requests(found)))
    if found.open:
        facts.append(("later", Text(f"orchestrator reconcile {run_id}", "bold", no_wrap=True)))
    print_lines(console, fact_lines(console, facts))


def print_total_charges(console: Console, fleet_id: str, found: Sequence[Reconciliation]) -> None:
    """Print the sums of all runs of a fleet run."""
    charges = [each for one in found for each in one.found.values()]
    sums = add_up_charges(charges)
    console.print()
    total = f"Total of {plural(len(found), 'workspace')}"
    console.print(Text.assemble((total, "bold"), f"  {_describe_counts(sums)}"))
    facts = _list_sums(sums, charges)
    if any(each.open for each in found):
        facts.append(("later", Text(f"orchestrator reconcile {safe_text(fleet_id)}", "bold", no_wrap=True)))
    print_lines(console, fact_lines(console, facts))


def _list_sums(sums: ReconciledTotal, charges: Collection[Reconciled]) -> list[tuple[str, str | Text]]:
    charged = Text(f"{_format_dollars(sums.charged_usd, 2)} for {plural(sums.charged_stops, 'stop')}", "bold")
    facts: list[tuple[str, str | Text]] = [("charged", charged)]
    if sums.pending_stops:
        facts.append(("pending", _describe_pending(charges)))
    if sums.compared:
        facts.append(("difference", _describe_difference(sums)))
    return facts


def _in_order(found: Reconciliation, state: RunState) -> list[tuple[Key, Reconciled]]:
    """Yield the charges in the order of the plan."""
    return [(key, found.found[key]) for key in state.targets if key in found.found]


def _sort_by_surprise(rows: Sequence[tuple[Key, Reconciled]]) -> list[tuple[Key, Reconciled]]:
    """Put unexpected rows first: stops without a charge, then the largest differences."""

    def rank(row: tuple[Key, Reconciled]) -> tuple[bool, Decimal]:
        _, each = row
        return each.standing is ChargeState.CHARGED, -abs(each.difference or Decimal(0))

    return list(rows) if len(rows) <= _MOST_ROWS else sorted(rows, key=rank)


def _describe_counts(sums: ReconciledTotal) -> str:
    counts = [f"{count} {words}" for state, words in CHARGES.items() if (count := sums.standings.get(state, 0))]
    return ", ".join(counts) or "no stops"


def _describe_pending(charges: Collection[Reconciled]) -> str:
    waiting = [each for each in charges if each.standing is ChargeState.PENDING]
    known = [each.expected.usd for each in waiting if each.expected.usd is not None]
    about = f", about {_format_dollars(sum(known, Decimal(0)), 2)} by estimate" if len(known) == len(waiting) else ""
    return f"{plural(len(waiting), 'stop')}{about}"


def _describe_difference(sums: ReconciledTotal) -> str:
    stops = f"over {plural(sums.compared, 'stop')}"
    if not round(sums.difference_usd, 2):
        return f"none: charged as expected, {stops}"
    word = "less" if sums.difference_usd < 0 else "more"
    return f"{_format_dollars(abs(sums.difference_usd), 2)} {word} than expected, {stops}"


def _describe_requests(found: Reconciliation) -> str:
    if not found.asked:
        return "nothing: every charge is in the audit log"
    return f"{plural(found.asked, 'app')}; {plural(len(found.news), 'record')} added to the audit log"


def _print_rows(console: Console, rows: Sequence[tuple[Reconciled, str | None]]) -> None:
    columns = [Column("CVM", wraps=True), Column("state"), Column("charged", right=True)]
    columns += [Column("expected", rank=2, right=True), Column("diff", rank=1, right=True)]
    cells: list[list[str | Text]] = []
    for each, problem in rows:
        name = Text(safe_text(each.ref.name, 64))
        why = problem or each.reason
        if why is not None and why != NOT_YET and each.standing is not ChargeState.NONE:
            name.append(f"\n{safe_text(why, 300)}", "dim")
        amounts = [_format_dollars(amount, 4) for amount in (each.charged.usd, each.expected.usd, each.difference)]
        cells.append([name, Text(each.standing.value, _STYLES[each.standing]), *amounts])
    print_table(console, columns, cells)


def _format_dollars(amount: Decimal | None, places: int) -> str:
    if amount is None:
        return "-"
    return f"{'-' if round(amount, places) < 0 else ''}${abs(amount):,.{places}f}"
