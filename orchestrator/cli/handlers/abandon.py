"""`orchestrator abandon`."""

from functools import partial
from pathlib import Path

import anyio
import click

from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import RunStore
from orchestrator.audit.verify import Reading
from orchestrator.cli.consoles import stdout
from orchestrator.engine.result import RunResult
from orchestrator.errors import UsageError
from orchestrator.moment import parse_timestamp
from orchestrator.report.run.text import print_run
from orchestrator.runs.actor import actor
from orchestrator.runs.documents import run_document, write_document
from orchestrator.runs.endpoint import Endpoint, endpoint
from orchestrator.runs.event_log import configure, run_log
from orchestrator.runs.execute import prepare_run
from orchestrator.runs.fresh_status import read_open_statuses
from orchestrator.runs.notifications import finish, notices
from orchestrator.runs.records import limits_from, works_from
from orchestrator.runs.resume import check
from orchestrator.runs.session import Session, open_session
from orchestrator.runs.workspace import Workspace, read_workspace
from orchestrator.settings.load import Settings, load_settings

_LONGEST_REASON = 1000


def abandon(run_id: str, config: Path | None, assignments: tuple[str, ...], *, reason: str, as_json: bool) -> int:
    """End an unfinished run without a request to its CVMs."""
    reason = reason.strip()
    if not 0 < len(reason) <= _LONGEST_REASON:
        raise UsageError(f"--reason needs 1 to {_LONGEST_REASON} characters")
    settings = load_settings(config, assignments)
    configure(settings.log)
    path = RunStore(settings.audit.state_dir).find(run_id)
    state = RunState()
    log, reading = AuditLog.reopen(path, state.apply)
    try:
        check(reading, state, path)
        if state.finished is not None:
            raise UsageError("the run is finished", file=path, hint=f"see `orchestrator show {state.run_id}`")
        if state.cloud_ended:
            raise UsageError("the run was against a simulated cloud, which ended with it", file=path)
        with endpoint(settings, simulate=False) as where:
            where.require_url(state.started["cloud_url"])
            result = anyio.run(partial(_open_and_abandon, settings, where, log, reading, state, reason=reason))
    finally:
        log.close()
    if result.error is not None:
        raise result.error
    code = int(result.exit_code)
    if as_json:
        write_document(run_document(state, code, path), partial(click.echo, nl=False))
    else:
        print_run(stdout(), state, code, path)
    return code


async def _open_and_abandon(
    settings: Settings, where: Endpoint, log: AuditLog, reading: Reading, state: RunState, *, reason: str
) -> RunResult:
    async with open_session(settings, where, limits_from(state.started)) as session:
        return await _abandon(session, log, reading, state, reason)


async def _abandon(session: Session, log: AuditLog, reading: Reading, state: RunState, reason: str) -> RunResult:
    settings = session.settings
    age = (session.clock.wall() - parse_timestamp(state.last_ts)).total_seconds()
    # A status proves "no effect" only if the read began late enough after the last request.
    await anyio.sleep(min(settings.settle.recheck_after, max(0.0, settings.settle.recheck_after - age)))
    jobs = works_from(state, now=session.clock.now(), wall=session.clock.wall())
    size = state.planned["workspace_size"]
    (await read_workspace(session)).compare(Workspace.recorded(state.started), "the run")
    seen = await read_open_statuses(session, jobs, size)
    log.observers += [state.apply, run_log(settings.log, state)]
    log.resumed(
        reading.torn,
        unterminated=reading.unterminated,
        open=sum(work.outcome is None for work in jobs),
        to_abandon=True,
    )
    run = prepare_run(session, log, state, jobs, size)
    async with notices(session, log, state) as notifier:
        result = await run.abandon(seen, abandoned_by=actor(), reason=reason)
        await finish(notifier, settings.notify, state, result)
    return result
