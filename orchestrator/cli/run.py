"""`orchestrator run`."""

import getpass
import os
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import click

from orchestrator import __version__
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import RunStore, new_run_id
from orchestrator.cli.fail import report
from orchestrator.cli.fresh import read_fresh
from orchestrator.cli.session import Endpoint, Prepared, Session, endpoint, limits_of, open_session, prepare
from orchestrator.cli.verdict import confirm, verdict
from orchestrator.engine.status import Seen
from orchestrator.engine.work import Work
from orchestrator.errors import NotConfirmedError
from orchestrator.playbook.load import LoadedPlaybook, find_playbook, load_playbook
from orchestrator.playbook.plan import PlannedStep
from orchestrator.playbook.variables import parse_assignments
from orchestrator.report.documents import plan_document
from orchestrator.report.records import planned_fields, started_fields
from orchestrator.settings.load import Settings, load_settings


def run(
    playbook: str,
    variables: tuple[str, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    expect: int | None,
    *,
    simulate: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Carry a playbook out: plan, confirm, stop, watch until settled."""
    loaded = load_playbook(find_playbook(playbook), parse_assignments(variables))
    settings = load_settings(config, assignments)
    RunStore(settings.audit.state_dir).prepare()
    with endpoint(settings, simulate=simulate) as where:
        return anyio.run(partial(_open_and_run, settings, where, loaded, yes=yes, expect=expect, as_json=as_json))


async def _open_and_run(
    settings: Settings,
    where: Endpoint,
    loaded: LoadedPlaybook,
    *,
    yes: bool,
    expect: int | None,
    as_json: bool,
) -> int:
    async with open_session(settings, where, limits_of(loaded.playbook.limits, settings)) as session:
        return await _run(session, loaded, yes=yes, expect=expect, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """A run that may go: its log is begun. The plan itself, with all that the list told, is not kept while it goes on.

    Attributes:
        log: the audit log.
        state: what it says.
        works: every target.
        steps: the steps in order.
        workspace_size: how many CVMs the list has.
        fresh: statuses that were read after a late yes.
    """

    log: AuditLog
    state: RunState
    works: list[Work]
    steps: tuple[PlannedStep, ...]
    workspace_size: int
    fresh: dict[str, Seen] | None


async def _run(session: Session, loaded: LoadedPlaybook, *, yes: bool, expect: int | None, as_json: bool) -> int:
    run = await _plan_and_confirm(session, loaded, yes=yes, expect=expect, as_json=as_json)
    if isinstance(run, int):
        return run
    from orchestrator.cli.carry_out import carry_out  # noqa: PLC0415 - the live view and the log take long to import

    return await carry_out(
        session,
        run.log,
        run.state,
        run.works,
        run.steps,
        workspace_size=run.workspace_size,
        as_json=as_json,
        fresh=run.fresh,
    )


async def _plan_and_confirm(
    session: Session, loaded: LoadedPlaybook, *, yes: bool, expect: int | None, as_json: bool
) -> _Confirmed | int:
    """Plan, ask, and begin the log; an exit code when the run may not go."""
    prepared = await prepare(session, loaded)
    plan = prepared.plan
    if not as_json:
        from orchestrator.cli.consoles import stdout  # noqa: PLC0415 - the requests had to go out first
        from orchestrator.report.plan_text import print_plan  # noqa: PLC0415 - the same

        print_plan(stdout(), plan, loaded.playbook.description)
    error = verdict(plan)
    if error is not None:
        report(error, as_json=as_json, extra=plan_document(plan))
        return int(error.exit_code)
    works = [Work.of(target) for target in plan.targets]
    asked_at, asked_on = session.clock.now(), session.clock.wall()
    try:
        confirm(plan, yes=yes, expect=expect)
    except NotConfirmedError as unconfirmed:
        report(unconfirmed, as_json=as_json, extra=plan_document(plan))
        return int(unconfirmed.exit_code)
    # Both clocks: the one stands still while a machine sleeps, the other may be set back.
    waited = max(session.clock.now() - asked_at, (session.clock.wall() - asked_on).total_seconds())
    fresh = None
    if waited > session.settings.guards.recheck_after:
        fresh = await read_fresh(session, works, prepared.workspace_size)
    if not as_json:
        click.echo()
    log, state = _begin_log(session, loaded, prepared)
    return _Confirmed(log, state, works, plan.steps, prepared.workspace_size, fresh)


def _begin_log(session: Session, loaded: LoadedPlaybook, prepared: Prepared) -> tuple[AuditLog, RunState]:
    """Write down who started what, and exactly what was planned."""
    from orchestrator.cli.logs import configure, log_record  # noqa: PLC0415 - takes long to import

    configure(session.settings.log)
    run_id = new_run_id(session.clock.wall())
    started = started_fields(
        loaded,
        actor=f"{_user()}@{socket.gethostname()}",
        version=__version__,
        cloud_url=session.endpoint.base_url,
        limits=session.limits,
        simulated=session.endpoint.simulated,
    )
    state = RunState()
    log = AuditLog.create(
        RunStore(session.settings.audit.state_dir).path(run_id),
        run_id,
        [("run.started", started), ("run.planned", planned_fields(prepared.plan, prepared.workspace_size))],
        observers=[state.apply, log_record],
    )
    return log, state


def _user() -> str:
    """Who runs this; a number where the system has no name for it, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
