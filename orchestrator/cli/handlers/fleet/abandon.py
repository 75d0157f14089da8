"""`orchestrator abandon FLEET_ID`."""

from functools import partial
from pathlib import Path

import anyio

from orchestrator.cli.event_log import configure_log
from orchestrator.cli.handlers.abandon import check_reason
from orchestrator.cli.handlers.fleet.plan import observe_members
from orchestrator.cli.handlers.fleet.reading import read_fleet, read_outcome
from orchestrator.cli.handlers.fleet.show import print_outcome
from orchestrator.errors import UsageError
from orchestrator.runs.fleet.abandon import abandon_fleet, open_fleet_sessions
from orchestrator.runs.fleet.execute import FleetResult
from orchestrator.runs.fleet.resume import ReopenedFleet, reopen_fleet
from orchestrator.runs.stores import fleet_store, run_store
from orchestrator.settings.load import Settings, load_settings


def abandon_interrupted_fleet(
    run_id: str, config: Path | None, assignments: tuple[str, ...], *, reason: str, as_json: bool
) -> int:
    """End the unfinished runs of a fleet run without a request to their CVMs."""
    reason = check_reason(reason)
    settings = load_settings(config, assignments)
    configure_log(settings.log)
    with reopen_fleet(fleet_store(settings).find_fleet(run_id), run_store(settings), to_abandon=True) as fleet:
        fleet_id = fleet.state.fleet_id
        if fleet.state.finished is not None:
            hint = f"see `orchestrator show {fleet_id}`"
            raise UsageError("the fleet run is finished", file=fleet.stored.location, hint=hint)
        result = anyio.run(partial(_open_and_abandon, settings, fleet, reason))
    print_outcome(read_outcome(read_fleet(settings, fleet_id)), as_json=as_json)
    return int(result.exit_code)


async def _open_and_abandon(settings: Settings, fleet: ReopenedFleet, reason: str) -> FleetResult:
    async with open_fleet_sessions(fleet, settings, observe_members(settings)) as sessions:
        return await abandon_fleet(fleet, sessions, reason)
