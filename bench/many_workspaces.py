"""A fleet run over many workspaces in its own process: `python -m bench.many_workspaces URL WORKSPACES …`.

The real sessions, plans, logs and rate budgets of `orchestrator.runs.fleet`, without the command line. The keys are
`key-0`, `key-1`, … Prints the exit code, and the most descriptors open at once, as JSON.
"""

import argparse
import gc
import json
import os
import resource
from collections import Counter
from functools import partial
from pathlib import Path

import anyio

from orchestrator.playbook.load import LoadedPlaybook, load_playbook
from orchestrator.runs.fleet.execute import carry_out_fleet
from orchestrator.runs.fleet.members import Member, open_sessions
from orchestrator.runs.fleet.plan import FleetPlan, WorkspaceRequest, plan_fleet
from orchestrator.runs.fleet.start import start_fleet
from orchestrator.runs.session import Endpoint, RunObserver, limits_of
from orchestrator.runs.start import RunRequest
from orchestrator.runs.status import StopRequest
from orchestrator.runs.stores import fleet_store, run_store
from orchestrator.settings.load import Settings
from orchestrator.settings.model import AuditSection, RateSection
from orchestrator.settings.workspaces import WorkspaceSection

DESCRIPTORS = 1024
_LOOK_SECONDS = 1.0
_NEW_OBJECTS = 100_000


class _Observer(RunObserver):
    """Counts the warnings of all runs."""

    def __init__(self) -> None:
        self.warnings: Counter[str] = Counter()

    def on_warning(self, event: str, /, **_: object) -> None:
        """Count a warning."""
        self.warnings[event] += 1


async def _confirm(_plan: FleetPlan) -> bool:
    return True


async def carry_out(members: tuple[Member, ...], settings: Settings, loaded: LoadedPlaybook) -> dict[str, object]:
    """Plan and carry out the fleet run; return its facts."""
    limits = {member.name: limits_of(loaded.playbook.limits, member.settings) for member in members}
    observer, most_open = _Observer(), 0

    async def count_descriptors() -> None:
        """Count the open descriptors from time to time."""
        nonlocal most_open
        while True:
            most_open = max(most_open, len(os.listdir("/dev/fd")))  # noqa: PTH208 - the shortest way
            await anyio.sleep(_LOOK_SECONDS)

    async with open_sessions(members, limits, lambda _name: observer) as sessions, anyio.create_task_group() as group:
        group.start_soon(count_descriptors)
        requests = [
            WorkspaceRequest(name, session, RunRequest(loaded, session.limits)) for name, session in sessions.items()
        ]
        plan = await plan_fleet(loaded, requests, base_guards=settings.guards)
        fleet = await start_fleet(fleet_store(settings), plan, _confirm)
        result = await carry_out_fleet(fleet, StopRequest())
        group.cancel_scope.cancel()
    return {"exit_code": int(result.exit_code), "descriptors": most_open, "warnings": observer.warnings}


def main() -> None:
    """Carry out one fleet run within 1,024 descriptors."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("workspaces", type=int)
    parser.add_argument("rate", type=float)
    parser.add_argument("burst", type=int)
    parser.add_argument("playbook", type=Path)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    gc.set_threshold(_NEW_OBJECTS)  # as the command does
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    names = [f"ws-{number:03}" for number in range(asked.workspaces)]
    settings = Settings(
        audit=AuditSection(state_dir=asked.folder),
        rate=RateSection(requests_per_second=asked.rate, burst=asked.burst),
        workspaces={name: WorkspaceSection(api_key_env="UNUSED") for name in names},
    )
    run_store(settings).prepare()
    members = tuple(
        Member(name, settings.for_workspace(name), Endpoint(asked.url, f"key-{number}"))
        for number, name in enumerate(names)
    )
    print(json.dumps(anyio.run(partial(carry_out, members, settings, load_playbook(asked.playbook, {})))))


if __name__ == "__main__":
    main()
