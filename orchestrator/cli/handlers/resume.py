"""`orchestrator resume`."""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import click

from orchestrator.audit.claims import Claim
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import RunStore
from orchestrator.audit.verify import Reading
from orchestrator.cli.carry_out import carry_out
from orchestrator.cli.consoles import stdout
from orchestrator.cli.verdict import ask, ask_about_key, last_line
from orchestrator.duration import format_duration
from orchestrator.moment import parse_timestamp
from orchestrator.outcome import Exit
from orchestrator.report.run.resume_plan import print_resume_plan
from orchestrator.report.run.text import print_run
from orchestrator.runs.claims import claim_again, wait_for_statuses
from orchestrator.runs.documents import run_document, write_document
from orchestrator.runs.endpoint import Endpoint, endpoint
from orchestrator.runs.event_log import configure, run_log
from orchestrator.runs.frozen import Applied, apply_settings
from orchestrator.runs.recheck import Rechecked, is_settled_by, recheck_run
from orchestrator.runs.records import works_from
from orchestrator.runs.resume import ResumePlan, check, frozen_in, go_on_record, log_warnings, resume_plan
from orchestrator.runs.session import Session, open_session
from orchestrator.settings.load import Settings, load_settings


def resume(
    run_id: str,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    dry_run: bool,
    yes: bool,
    ignore_running: bool,
    as_json: bool,
) -> int:
    """Resume an interrupted run from its audit log."""
    settings = load_settings(config, assignments)
    configure(settings.log)
    path = RunStore(settings.audit.state_dir).find(run_id)
    state = RunState()
    log, reading = AuditLog.reopen(path, state.apply)
    try:
        check(reading, state, path)
        if state.finished is not None:
            return _finished(state, path, as_json=as_json)
        applied = apply_settings(frozen_in(state, path), settings, assignments)
        with endpoint(settings, simulate=False) as where:
            where.require_url(state.started["cloud_url"])
            with nullcontext() if dry_run else claim_again(settings, state, ignore_running=ignore_running) as claim:
                order = _Order(
                    log=log,
                    reading=reading,
                    state=state,
                    applied=applied,
                    claim=claim,
                    ignore_running=ignore_running,
                    yes=yes,
                    as_json=as_json,
                )
                return anyio.run(partial(_open_and_resume, settings, where, order))
    finally:
        log.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """The run to resume, and the options.

    Attributes:
        log: the audit log, held by this process.
        reading: the result of reading the log.
        state: the replayed state of the log.
        applied: the effective limits.
        claim: the claim on the run's CVMs; None to stop after the plan was shown.
        ignore_running: whether to act on CVMs claimed by another run.
        yes: whether to skip the questions.
        as_json: whether stdout is for a JSON document.
    """

    log: AuditLog
    reading: Reading
    state: RunState
    applied: Applied
    claim: Claim | None
    ignore_running: bool
    yes: bool
    as_json: bool


def _finished(state: RunState, path: Path, *, as_json: bool) -> int:
    code = int((state.finished or {})["exit_code"])
    if as_json:
        write_document(run_document(state, code, path), partial(click.echo, nl=False))
    else:
        click.echo("This run is finished; there is nothing to go on with.\n")
        print_run(stdout(), state, code, path)
    return code


async def _open_and_resume(settings: Settings, where: Endpoint, order: _Order) -> int:
    state, applied = order.state, order.applied
    async with open_session(settings, where, applied.limits) as session:
        if order.claim is not None:
            await wait_for_statuses(session, order.claim)
        jobs = works_from(state, now=session.clock.now(), wall=session.clock.wall())
        with last_line(as_json=order.as_json, nothing="Nothing more"):
            checked = await recheck_run(session, state, jobs)
            plan = resume_plan(jobs, checked, applied)
            if order.claim is None and order.as_json:
                write_document(plan.document(state), partial(click.echo, nl=False))
            elif not order.as_json:
                print_resume_plan(stdout(), plan, state)
            if order.claim is None:
                if not order.as_json:
                    click.echo("Nothing was sent: --dry-run.")
                return int(Exit.OK)
            if order.as_json:
                log_warnings(plan, state.run_id)
            _confirm(session, state, plan, checked, yes=order.yes)
        await go_on_record(
            order.log,
            order.reading,
            state,
            jobs,
            run_log(settings.log, state),
            stricter=applied.stricter,
            ignore_running=order.ignore_running,
        )
        return await carry_out(
            session,
            order.log,
            state,
            jobs,
            plan.steps,
            workspace_size=state.planned["workspace_size"],
            as_json=order.as_json,
            claim=order.claim,
            fresh=checked.fresh,
        )


def _confirm(session: Session, state: RunState, plan: ResumePlan, checked: Rechecked, *, yes: bool) -> None:
    """Ask about a different key, and about an old plan: someone may have started a CVM on purpose since."""
    if yes:
        return
    if checked.other_key is not None:
        ask_about_key(checked.other_key.message)
    age = (session.clock.wall() - parse_timestamp(state.planned["ts"])).total_seconds()
    unsent = [*plan.send, *(work for work in plan.watch if not work.accepted)]
    number = sum(not is_settled_by(work, checked.fresh.get(work.ref.key)) for work in unsent)
    if age <= session.settings.audit.resume_without_asking or not number:
        return
    if any(work.action.leaves_running for work in unsent):
        ask(
            f"The plan is {format_duration(age)} old, and {number} of its CVMs are not as it wants them, and nothing "
            f"sent to them is known to have had an effect; someone may have meant that.\n"
            f"Type their number ({number}) to go on with them: ",
            str(number),
        )
    else:
        ask(
            f"The plan is {format_duration(age)} old, and {number} of its CVMs are up of which no stop is known to "
            f"have had an effect; someone may have started them on purpose.\n"
            f"Type their number ({number}) to stop them: ",
            str(number),
        )
