"""`orchestrator resume`."""

from functools import partial
from pathlib import Path

import anyio
import click

from orchestrator.action import Action, is_as_wanted
from orchestrator.audit.claims import Claim
from orchestrator.audit.log import AuditLog, Observer
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import RunStore
from orchestrator.audit.verify import Reading, Verdict
from orchestrator.cli.carry_out import carry_out
from orchestrator.cli.claiming import claim_again, wait_for_statuses
from orchestrator.cli.consoles import stdout
from orchestrator.cli.endpoint import Endpoint, endpoint
from orchestrator.cli.fresh import read_fresh
from orchestrator.cli.logs import configure, run_log
from orchestrator.cli.session import Session, open_session
from orchestrator.cli.verdict import ask, last_line
from orchestrator.duration import format_duration
from orchestrator.engine.status import Seen
from orchestrator.engine.work import Work
from orchestrator.errors import NotConfirmedError, SettingsError
from orchestrator.moment import parse_timestamp
from orchestrator.report.documents import run_document, write_document
from orchestrator.report.records import limits_from, works_from
from orchestrator.report.run_text import print_run
from orchestrator.report.steps import steps_from
from orchestrator.settings.load import Settings, load_settings


def resume(
    run_id: str,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    yes: bool,
    ignore_running: bool,
    as_json: bool,
) -> int:
    """Go on with a run that was interrupted, from what its audit log says."""
    settings = load_settings(config, assignments)
    configure(settings.log)
    path = RunStore(settings.audit.state_dir).find(run_id)
    state = RunState()
    log, reading = AuditLog.reopen(path, state.apply)
    try:
        check(reading, state, path)
        if state.finished is not None:
            return _finished(state, path, as_json=as_json)
        with endpoint(settings, simulate=False) as where:
            where.has_to_be(state.started["cloud_url"])
            with claim_again(settings, state, ignore_running=ignore_running) as claim:
                carry = partial(_open_and_resume, settings, where, log, reading, state)
                return anyio.run(partial(carry, claim=claim, yes=yes, as_json=as_json))
    finally:
        log.close()


def check(reading: Reading, state: RunState, path: Path) -> None:
    """Refuse to go on with a log with which nobody can.

    Raises:
        SettingsError: when it was altered.
        NotConfirmedError: when it has no plan, so that nothing was sent.
    """
    if reading.verdict is Verdict.ALTERED:
        raise SettingsError(
            f"the audit log was altered: {reading.reason}",
            file=path,
            line=reading.line,
            hint="a log that is not what was written can't be gone on with; start a new run",
        )
    if not state.planned:
        raise NotConfirmedError(
            "the run ended before its plan was on record, so nothing was sent",
            file=path,
            hint="there is nothing to go on with; start a new run",
        )


def _finished(state: RunState, path: Path, *, as_json: bool) -> int:
    code = int((state.finished or {})["exit_code"])
    if as_json:
        write_document(run_document(state, code, path), partial(click.echo, nl=False))
    else:
        click.echo("This run is finished; there is nothing to go on with.\n")
        print_run(stdout(), state, code, path)
    return code


async def _open_and_resume(
    settings: Settings,
    where: Endpoint,
    log: AuditLog,
    reading: Reading,
    state: RunState,
    *,
    claim: Claim,
    yes: bool,
    as_json: bool,
) -> int:
    async with open_session(settings, where, limits_from(state.started)) as session:
        return await _resume(session, log, reading, state, claim=claim, yes=yes, as_json=as_json)


async def _resume(
    session: Session,
    log: AuditLog,
    reading: Reading,
    state: RunState,
    *,
    claim: Claim,
    yes: bool,
    as_json: bool,
) -> int:
    await wait_for_statuses(session, claim)
    works = works_from(state, now=session.clock.now(), wall=session.clock.wall())
    fresh = await read_fresh(session, works, state.planned["workspace_size"])
    with last_line(as_json=as_json, nothing="Nothing more"):
        _confirm(session.settings, session, state, works, fresh, yes=yes)
    await go_on_record(log, reading, state, works, run_log(session.settings.log, state))
    return await carry_out(
        session,
        log,
        state,
        works,
        steps_from(state.planned),
        workspace_size=state.planned["workspace_size"],
        as_json=as_json,
        claim=claim,
        fresh=fresh,
    )


async def go_on_record(log: AuditLog, reading: Reading, state: RunState, works: list[Work], heard: Observer) -> None:
    """Write down that the run goes on; `state` follows the log from here on, and `heard` is told of every record."""
    log.observers += [state.apply, heard]
    log.resumed(
        reading.torn,
        unterminated=reading.unterminated,
        open=sum(work.outcome is None for work in works),
    )
    await log.flush()


def _confirm(
    settings: Settings,
    session: Session,
    state: RunState,
    works: list[Work],
    fresh: dict[str, Seen],
    *,
    yes: bool,
) -> None:
    """Ask again when the plan is old: someone may have started a CVM on purpose since."""
    age = (session.clock.wall() - parse_timestamp(state.planned["ts"])).total_seconds()
    if yes or age <= settings.audit.resume_without_asking:
        return
    unsent = [work for work in works if work.outcome is None and not work.accepted]
    still_up = sum(not _is_as_wanted(work.action, fresh[work.ref.key]) for work in unsent)
    if still_up and any(work.action.ends_up for work in unsent):
        ask(
            f"The plan is {format_duration(age)} old, and {still_up} of its CVMs are not as it wants them, and nothing "
            f"sent to them is known to have had an effect; someone may have meant that.\n"
            f"Type their number ({still_up}) to go on with them: ",
            str(still_up),
        )
    elif still_up:
        ask(
            f"The plan is {format_duration(age)} old, and {still_up} of its CVMs are up of which no stop is known to "
            f"have had an effect; someone may have started them on purpose.\n"
            f"Type their number ({still_up}) to stop them: ",
            str(still_up),
        )


def _is_as_wanted(action: Action, seen: Seen) -> bool:
    return seen.read is None or is_as_wanted(action, seen.read.status, in_progress=seen.read.in_progress)
