"""`orchestrator abandon`."""

from functools import partial
from pathlib import Path

import anyio
import click

from orchestrator.cli.consoles import stdout_console
from orchestrator.cli.event_log import configure_log
from orchestrator.cli.log_observer import LogObserver
from orchestrator.cli.named_runs import find_run_to_change
from orchestrator.engine.result import RunResult
from orchestrator.errors import UsageError
from orchestrator.report.run.text import print_run
from orchestrator.runs.abandon import abandon_run
from orchestrator.runs.documents import run_document, write_document
from orchestrator.runs.records import limits_from
from orchestrator.runs.resume import ReopenedRun, reopen_run
from orchestrator.runs.session import Endpoint, open_endpoint, open_session
from orchestrator.runs.stores import run_store
from orchestrator.runs.workspaces import settings_of_run
from orchestrator.settings.load import Settings, load_settings

_LONGEST_REASON = 1000


def abandon_interrupted_run(
    run_id: str, config: Path | None, assignments: tuple[str, ...], *, reason: str, as_json: bool
) -> int:
    """End an unfinished run without a request to its CVMs."""
    reason = check_reason(reason)
    settings = load_settings(config, assignments)
    configure_log(settings.log)
    with reopen_run(find_run_to_change(run_store(settings), run_id), in_fleet=True) as reopened:
        state, location = reopened.state, reopened.stored.location
        if state.finished is not None:
            raise UsageError("the run is finished", file=location, hint=f"see `orchestrator show {state.run_id}`")
        if state.cloud_ended:
            raise UsageError("the simulated cloud of this run ended with the run", file=location)
        settings = settings_of_run(settings, state)
        with open_endpoint(settings, simulate=False) as where:
            where.require_url(state.started.cloud_url)
            result = anyio.run(partial(_open_and_abandon, settings, where, reopened, reason))
    if result.error is not None:
        raise result.error
    code = int(result.exit_code)
    if as_json:
        write_document(run_document(state, code, location), partial(click.echo, nl=False))
    else:
        print_run(stdout_console(), state, code, location)
    return code


def check_reason(reason: str) -> str:
    """Check the length of a reason, and return it without outer spaces.

    Raises:
        UsageError: when the reason is empty or too long.
    """
    reason = reason.strip()
    if not 0 < len(reason) <= _LONGEST_REASON:
        raise UsageError(f"--reason needs 1 to {_LONGEST_REASON} characters")
    return reason


async def _open_and_abandon(settings: Settings, where: Endpoint, reopened: ReopenedRun, reason: str) -> RunResult:
    limits = limits_from(reopened.state.started.limits)
    async with open_session(settings, where, limits, LogObserver(settings)) as session:
        return await abandon_run(session, reopened, reason)
