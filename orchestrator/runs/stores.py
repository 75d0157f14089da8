"""The stores of a command or of the service, built from the settings. The only place that chooses an implementation."""

import getpass
import os
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator.audit.store import FileRunStore, RunStore
from orchestrator.playbook.value_types import AUTO
from orchestrator.settings.load import Settings
from orchestrator.times import utc_now

if TYPE_CHECKING:
    from orchestrator.audit.claims import ClaimStore
    from orchestrator.audit.fleet_store import FleetStore
    from orchestrator.audit.plan_uses import PlanUseStore
    from orchestrator.postgres.run_store import StoreRunStore
    from orchestrator.postgres.store_thread import StoreThread
    from orchestrator.runs.api_profile import ApiProfileStore
    from orchestrator.runs.keeping import KeepStore

DEFAULT_KEY = "default:"
"""Beginning of the names in the team store for workspaces without a name in the settings: each key is one workspace."""
SIMULATED = f"{DEFAULT_KEY}simulated"
"""Name in the team store for the simulated cloud of a command."""
DEFAULT_RATE = 5.0
"""Rate of a workspace without a number in the settings and in the store."""
_LEAST_BURST = 2
"""With a burst of 1, no request could be late by a network delay."""


def run_store(settings: Settings, workspace: str = SIMULATED) -> RunStore:
    """Return the store of runs.

    Args:
        settings: the settings.
        workspace: the name of the workspace of new runs in a team store.
    """
    return file_run_store(settings, workspace)


def file_run_store(settings: Settings, workspace: str = SIMULATED, *, compare: bool = False) -> FileRunStore:
    """Return the store of logs in files, for commands about files; with a team store, of its mirrors.

    Args:
        settings: the settings.
        workspace: the name of the workspace of new runs in a team store.
        compare: whether to compare every byte of a mirror with the team store.
    """
    if settings.store.url is None:
        return FileRunStore(settings.audit.state_dir)
    return _store_logs(settings, workspace, compare=compare)


def _store_logs(settings: Settings, workspace: str | None, *, compare: bool = False) -> "StoreRunStore":
    """Return the logs of the team store; new runs belong to this workspace, or are fleet runs."""
    from orchestrator.postgres.run_store import StoreRunStore  # noqa: PLC0415 - only where `store.url` is set

    thread, folder, budget = team_store(settings), settings.audit.state_dir, workspace_budget(settings)
    return StoreRunStore(thread, folder, workspace, budget, find_actor(), compare=compare)


def workspace_budget(settings: Settings) -> tuple[float, int]:
    """Return rate and burst of a workspace for all machines of a team store; half of the burst stays in reserve."""
    from orchestrator.engine.rate.gcra import with_headroom  # noqa: PLC0415 - readers of logs do without

    rate = settings.rate
    requests = DEFAULT_RATE if rate.requests_per_second == AUTO else float(rate.requests_per_second)
    return requests, max(_LEAST_BURST, with_headroom(rate.burst))


def team_store(settings: Settings) -> "StoreThread":
    """Return this process's side of the team store; always the same one for the same settings with `store.url`."""
    from orchestrator.postgres.store_thread import StoreTerms, open_thread  # noqa: PLC0415 - the same

    store = settings.store
    assert store.url is not None  # noqa: S101 - by the caller
    name = f"{find_actor()}:{os.getpid()}"
    return open_thread(StoreTerms(store.url, name, store.lease, store.outage, settings.cloud.timeout, store.listen))


def read_clock(settings: Settings) -> datetime:
    """Return the time of day: the database's with a team store, whatever the clock of this machine says."""
    return utc_now() if settings.store.url is None else team_store(settings).wall()


def claim_store(settings: Settings) -> "ClaimStore":
    """Return the store of the claims on CVMs."""
    if settings.store.url is not None:
        return team_store(settings).claims
    from orchestrator.audit.claims import FileClaimStore  # noqa: PLC0415 - readers of logs do without

    return FileClaimStore(file_run_store(settings))


def keep_store(settings: Settings) -> "KeepStore":
    """Return the store of the exemptions by command."""
    if settings.store.url is not None:
        from orchestrator.postgres.keeps import StoreKeeps  # noqa: PLC0415 - only where `store.url` is set
        from orchestrator.runs.keeping import COMMAND  # noqa: PLC0415 - the same

        return StoreKeeps(team_store(settings).query, COMMAND, find_actor())
    from orchestrator.runs.keeping import FileKeepStore  # noqa: PLC0415 - most commands know no exemption

    return FileKeepStore(settings.audit.state_dir)


def plan_use_store(settings: Settings) -> "PlanUseStore":
    """Return the store of the used plans."""
    if settings.store.url is not None:
        from orchestrator.postgres.plan_uses import StorePlanUses  # noqa: PLC0415 - only where `store.url` is set

        return StorePlanUses(team_store(settings).query, find_actor())
    from orchestrator.audit.plan_uses import FilePlanUseStore  # noqa: PLC0415 - only for approved plans

    return FilePlanUseStore(settings.audit.state_dir)


def api_profile_store(settings: Settings, workspace: str, warn: Callable[..., object]) -> "ApiProfileStore":
    """Return the store of API profiles.

    Args:
        settings: the settings.
        workspace: the name of the workspace in a team store.
        warn: called with an event's name, and its facts by keyword, when the store is unusable.
    """
    if settings.store.url is not None:
        from orchestrator.postgres.profiles import StoreProfileRow  # noqa: PLC0415 - only where `store.url` is set
        from orchestrator.runs.api_profile import RowApiProfileStore  # noqa: PLC0415 - readers of logs do without

        row = StoreProfileRow(workspace, team_store(settings).start_query)
        return RowApiProfileStore(row, warn)
    from orchestrator.runs.api_profile import FileApiProfileStore  # noqa: PLC0415 - readers of logs do without

    return FileApiProfileStore(settings.audit.state_dir, warn)


def fleet_store(settings: Settings) -> "FleetStore":
    """Return the store of fleet logs."""
    if settings.store.url is not None:
        from orchestrator.postgres.fleet_store import StoreFleetStore  # noqa: PLC0415 - only where `store.url` is set

        return StoreFleetStore(_store_logs(settings, None))
    from orchestrator.audit.fleet_store import FileFleetStore  # noqa: PLC0415 - most commands know no fleet run

    return FileFleetStore(settings.audit.state_dir)


def find_actor() -> str:
    """Return user@host. A user without a name on the system, as in many containers, appears as a number."""
    import socket  # noqa: PLC0415 - readers of logs do without

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
