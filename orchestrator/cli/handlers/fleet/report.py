"""`orchestrator report FLEET_ID`."""

from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.cli.handlers.report import print_report
from orchestrator.report.fleet.reading import read_fleet_document
from orchestrator.runs.stores import fleet_store, run_store
from orchestrator.settings.load import load_settings


def write_fleet_report(
    run_id: str,
    form: str,
    out: Path | None,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    even_if_altered: bool,
) -> int:
    """Write a full report of a fleet run, from its audit logs."""
    return print_report(
        partial(_read_document, run_id, config, assignments, even_if_altered=even_if_altered), form, out
    )


def _read_document(
    run_id: str, config: Path | None, assignments: tuple[str, ...], *, even_if_altered: bool
) -> tuple[dict[str, Any], bool]:
    settings = load_settings(config, assignments)
    fleet = fleet_store(settings).find_fleet(run_id)
    return read_fleet_document(fleet, run_store(settings), even_if_altered=even_if_altered)
