"""`orchestrator wake`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio

from orchestrator.cli.handlers.run import open_and_run
from orchestrator.cli.options import require_no_skip
from orchestrator.playbook.load import LoadedPlaybook, find_playbook, load_playbook
from orchestrator.runs.fleet.plan import WorkspaceRequest
from orchestrator.runs.session import Session, open_endpoint
from orchestrator.runs.stores import run_store
from orchestrator.runs.wake import request_wake
from orchestrator.runs.workspaces import choose_names
from orchestrator.settings.load import load_settings


@dataclass(frozen=True, slots=True)
class WakeRequests:
    """The wake of a playbook in several workspaces, as the request for a fleet run.

    Attributes:
        slept: the playbook with `wake`.
        loaded: the playbook of the wake.
        ignore_running: whether to act on CVMs claimed by another run.
    """

    slept: LoadedPlaybook
    loaded: LoadedPlaybook
    ignore_running: bool = False

    def list_requests(self, sessions: Mapping[str, Session]) -> tuple[WorkspaceRequest, ...]:
        """List the wake of every workspace."""
        return tuple(
            WorkspaceRequest(
                name, session, request_wake(self.slept, session.settings, ignore_running=self.ignore_running)
            )
            for name, session in sessions.items()
        )


def wake_playbook(
    playbook: str,
    config: Path | None,
    assignments: tuple[str, ...],
    expect: int | None,
    *,
    workspaces: tuple[str, ...],
    skip: tuple[str, ...],
    yes: bool,
    ignore_running: bool,
    as_json: bool,
) -> int:
    """Start the CVMs stopped by the runs of a playbook, unless touched since."""
    loaded = load_playbook(find_playbook(playbook), {})
    every = load_settings(config, assignments)
    names = choose_names(every, workspaces, loaded.playbook.workspaces)
    if len(names) > 1:
        from orchestrator.cli.handlers.fleet.run import FleetCommand, run_fleet  # noqa: PLC0415 - seldom needed

        request = WakeRequests(loaded, request_wake(loaded, every).loaded, ignore_running)
        return run_fleet(every, names, FleetCommand(request, skip, yes, expect, as_json))
    require_no_skip(skip)
    settings = every.for_workspace(names[0]) if names else every
    order = request_wake(loaded, settings, ignore_running=ignore_running)
    run_store(settings).prepare()
    with open_endpoint(settings, simulate=False) as where:
        return anyio.run(partial(open_and_run, settings, where, order, yes=yes, expect=expect, as_json=as_json))
