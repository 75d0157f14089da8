"""The document of a fleet run's report, read from its audit logs."""

from typing import Any

from orchestrator import __version__
from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.store import RunStore, StoredRun
from orchestrator.audit.verify import Verdict
from orchestrator.report.fleet.full import build_fleet_report_document
from orchestrator.report.full.reading import read_log_file, read_run_document
from orchestrator.times import utc_now


def read_fleet_document(fleet: StoredRun, store: RunStore, *, even_if_altered: bool) -> tuple[dict[str, Any], bool]:
    """Read the document of a fleet run's report; also returns True for an altered log.

    Args:
        fleet: the log of the fleet run.
        store: the store of its runs.
        even_if_altered: whether to accept an altered log up to the altered line.

    Raises:
        AlteredError: when a log was altered, unless `even_if_altered`.
        UsageError: when a log can't be read.
    """
    state = FleetState(fleet.run_id)
    log = read_log_file(fleet, state.apply_record, lambda: state.finished is not None, even_if_altered=even_if_altered)
    runs, is_altered = [], log.reading.verdict is Verdict.ALTERED
    for run in state.runs:
        document, altered = read_run_document(store.get_run(run.run_id), even_if_altered=even_if_altered)
        runs.append((run.workspace, document))
        is_altered = is_altered or altered
    return build_fleet_report_document(state, runs, log, made_at=utc_now(), version=__version__), is_altered
