"""`orchestrator report FLEET_ID`."""

from functools import partial
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.verify import Verdict
from orchestrator.cli.handlers.report import print_report, read_log_file, read_run_document
from orchestrator.report.fleet.full import build_fleet_report_document
from orchestrator.runs.stores import fleet_store, run_store
from orchestrator.settings.load import load_settings
from orchestrator.times import utc_now


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
    stored = fleet_store(settings).find_fleet(run_id)
    state = FleetState(stored.run_id)
    log = read_log_file(stored, state.apply_record, lambda: state.finished is not None, even_if_altered=even_if_altered)
    store, runs = run_store(settings), []
    is_altered = log.reading.verdict is Verdict.ALTERED
    for run in state.runs:
        document, altered = read_run_document(store.get_run(run.run_id), even_if_altered=even_if_altered)
        runs.append((run.workspace, document))
        is_altered = is_altered or altered
    return build_fleet_report_document(state, runs, log, made_at=utc_now(), version=__version__), is_altered
