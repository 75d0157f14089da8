"""The stores of a command or of the service, built from the settings. The only place that chooses an implementation."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.audit.store import FileRunStore, RunStore
from orchestrator.settings.load import Settings

if TYPE_CHECKING:
    from orchestrator.audit.claims import ClaimStore
    from orchestrator.audit.fleet_store import FleetStore
    from orchestrator.runs.api_profile import ApiProfileStore


def run_store(settings: Settings) -> RunStore:
    """Return the store of runs."""
    return file_run_store(settings)


def file_run_store(settings: Settings) -> FileRunStore:
    """Return the store of logs in files, for commands about files: seals, pruning, verification."""
    return FileRunStore(settings.audit.state_dir)


def claim_store(settings: Settings) -> "ClaimStore":
    """Return the store of the claims on CVMs."""
    from orchestrator.audit.claims import FileClaimStore  # noqa: PLC0415 - readers of logs do without

    return FileClaimStore(file_run_store(settings))


def api_profile_store(settings: Settings, warn: Callable[..., object]) -> "ApiProfileStore":
    """Return the store of API profiles.

    Args:
        settings: the settings.
        warn: called with an event's name, and its facts by keyword, when the store is unusable.
    """
    from orchestrator.runs.api_profile import FileApiProfileStore  # noqa: PLC0415 - readers of logs do without

    return FileApiProfileStore(settings.audit.state_dir, warn)


def fleet_store(settings: Settings) -> "FleetStore":
    """Return the store of fleet logs."""
    from orchestrator.audit.fleet_store import FileFleetStore  # noqa: PLC0415 - most commands know no fleet run

    return FileFleetStore(settings.audit.state_dir)
