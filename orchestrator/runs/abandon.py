"""End an unfinished run without a request to its CVMs."""

import anyio

from orchestrator.engine.read.status import Observation
from orchestrator.engine.result import RunResult
from orchestrator.outcome import Ending
from orchestrator.runs.execute import deliver_notices, prepare_run
from orchestrator.runs.fresh_status import read_open_statuses
from orchestrator.runs.records import rebuild_jobs
from orchestrator.runs.resume import ReopenedRun, record_resume
from orchestrator.runs.session import Session, WorkspaceIdentity, read_workspace
from orchestrator.runs.start import OpenRun
from orchestrator.runs.stores import find_actor
from orchestrator.times import parse_timestamp


async def abandon_run(
    session: Session,
    reopened: ReopenedRun,
    reason: str | None,
    *,
    nothing_sent: bool = False,
    cancelled_by: str | None = None,
) -> RunResult:
    """Read the status of every open target, and record the end of the run.

    Args:
        session: the connection to the cloud.
        reopened: the run.
        reason: the reason, for the record; None for a cancelled run.
        nothing_sent: whether the run has no request for certain, so that no status is read.
        cancelled_by: user@host of the person that cancelled the run; None for an abandoned run.

    Raises:
        CloudError: when a status can't be read.
        UsageError: when the key belongs to another workspace.
    """
    log, state = reopened.log, reopened.state
    jobs = rebuild_jobs(state, now=session.clock.now(), wall=session.clock.wall())
    opened = OpenRun(reopened.stored, log, state, jobs, (), state.planned.workspace_size)
    seen = {} if nothing_sent else await _read_statuses(session, opened)
    await record_resume(log, reopened.reading, state, jobs, session.observer, to_abandon=True)
    run = prepare_run(session, opened)
    async with deliver_notices(session, log, state) as finish:
        if cancelled_by is not None:
            result = await run.abandon(seen, Ending.CANCELLED, cancelled_by=cancelled_by)
        else:
            result = await run.abandon(seen, abandoned_by=find_actor(), reason=reason)
        await finish(result)
    return result


async def _read_statuses(session: Session, opened: OpenRun) -> dict[str, Observation]:
    state, settings = opened.state, session.settings
    age = (session.clock.wall() - parse_timestamp(state.last_ts)).total_seconds()
    # A status proves "no effect" only if the read began late enough after the last request.
    await anyio.sleep(min(settings.settle.recheck_after, max(0.0, settings.settle.recheck_after - age)))
    (await read_workspace(session)).compare_with(WorkspaceIdentity.from_record(state.started.record), "the run")
    return await read_open_statuses(session, opened.jobs, opened.workspace_size)
