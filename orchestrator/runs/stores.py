"""The stores of a command or of the service, built from the settings. The only place that chooses an implementation."""

from orchestrator.audit.store import FileRunStore, RunStore
from orchestrator.settings.load import Settings


def run_store(settings: Settings) -> RunStore:
    """Return the store of runs."""
    return FileRunStore(settings.audit.state_dir)
