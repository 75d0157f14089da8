"""`orchestrator show FLEET_ID`."""

from functools import partial
from pathlib import Path

import click

from orchestrator.cli.consoles import stdout_console
from orchestrator.cli.handlers.fleet.reading import read_fleet, read_outcome
from orchestrator.report.fleet.document import fleet_run_document
from orchestrator.report.fleet.run_text import print_fleet
from orchestrator.report.fleet.totals import FleetOutcome
from orchestrator.runs.documents import write_document
from orchestrator.settings.load import load_settings


def show_fleet(run_id: str, config: Path | None, assignments: tuple[str, ...], *, as_json: bool) -> None:
    """Print the summary of a fleet run, from its audit logs."""
    print_outcome(read_outcome(read_fleet(load_settings(config, assignments), run_id)), as_json=as_json)


def print_outcome(fleet: FleetOutcome, *, as_json: bool) -> None:
    """Print the outcome of a fleet run."""
    if as_json:
        write_document(fleet_run_document(fleet), partial(click.echo, nl=False))
    else:
        print_fleet(stdout_console(), fleet)
