"""`orchestrator reconcile FLEET_ID`."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from orchestrator.audit.fleet_store import is_void, void_error
from orchestrator.billing.reconciled import add_up_charges
from orchestrator.cli.consoles import stdout_console
from orchestrator.cli.handlers.fleet.reading import read_fleet
from orchestrator.cli.handlers.reconcile import reconcile_log
from orchestrator.errors import UsageError
from orchestrator.outcome import Exit
from orchestrator.report.savings.reconcile import print_reconciliation, print_total_charges, reconciliation_document
from orchestrator.runs.documents import write_document
from orchestrator.runs.reconciling import Reconciliation
from orchestrator.runs.workspaces import name_errors
from orchestrator.settings.load import load_settings
from orchestrator.text import safe_text


def reconcile_fleet(
    run_id: str, config: Path | None, assignments: tuple[str, ...], *, details: bool, as_json: bool
) -> int:
    """Find the charges for the stops of all runs of a fleet run, unless already known."""
    settings = load_settings(config, assignments)
    fleet = read_fleet(settings, run_id)
    if is_void(fleet.stored):
        raise void_error(fleet.stored, UsageError)
    if fleet.state.finished is None:
        raise UsageError(
            "the fleet run is not finished, so its stops are not certain",
            file=fleet.stored.location,
            hint=f"first: orchestrator resume {safe_text(fleet.state.fleet_id)}",
        )
    documents: list[dict[str, Any]] = []
    every: list[Reconciliation] = []
    code = Exit.OK
    for number, (workspace, run) in enumerate(fleet.runs):
        with name_errors(workspace):
            found, state = reconcile_log(settings, run)
        every.append(found)
        own = Exit.UNSETTLED if found.open else Exit.OK
        code = max(code, own)
        if as_json:
            documents.append({"workspace": workspace, **reconciliation_document(found, state, run.location, int(own))})
        else:
            click.echo(f"{chr(10) if number else ''}Workspace {safe_text(workspace, 64)}")
            print_reconciliation(stdout_console(), found, state, run.location, details=details)
    fleet_id = fleet.state.fleet_id
    if not as_json:
        print_total_charges(stdout_console(), fleet_id, every)
    else:
        total = add_up_charges(each for one in every for each in one.found.values())
        document = {
            "fleet_id": fleet_id,
            "exit_code": int(code),
            "workspaces": documents,
            "total": total.document(),
            "next": f"orchestrator reconcile {fleet_id}" if code else None,
        }
        write_document(document, partial(click.echo, nl=False))
    return int(code)
