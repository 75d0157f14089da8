"""`orchestrator resume`."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path

import anyio
import click

from orchestrator.audit.claims import Claim
from orchestrator.audit.replay import RunState
from orchestrator.cli.carry_out import carry_out
from orchestrator.cli.confirmation import ask_about_key, last_line, require_answer
from orchestrator.cli.consoles import stdout_console
from orchestrator.cli.event_log import configure_log
from orchestrator.cli.log_observer import LogObserver
from orchestrator.cli.named_runs import find_run_to_change
from orchestrator.cli.options import require_no_skip
from orchestrator.outcome import Exit
from orchestrator.report.run.resume_plan import print_resume_plan
from orchestrator.report.run.text import print_run
from orchestrator.runs.claims import claim_again
from orchestrator.runs.documents import run_document, write_document
from orchestrator.runs.frozen import Applied
from orchestrator.runs.resume import ReopenedRun, ResumePlan, reopen_run, report_warnings
from orchestrator.runs.session import Endpoint, open_endpoint, open_session
from orchestrator.runs.stores import claim_store, run_store
from orchestrator.runs.workspaces import settings_of_run
from orchestrator.settings.load import Settings, load_settings
from orchestrator.text import plural
from orchestrator.times import format_duration


def resume_run(
    run_id: str,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    dry_run: bool,
    yes: bool,
    ignore_running: bool,
    break_freeze: str | None,
    as_json: bool,
    skip: tuple[str, ...] = (),
) -> int:
    """Resume an interrupted run from its audit log."""
    require_no_skip(skip)
    settings = load_settings(config, assignments)
    configure_log(settings.log)
    store = run_store(settings)
    with reopen_run(store.find_run(run_id) if dry_run else find_run_to_change(store, run_id)) as reopened:
        state = reopened.state
        if state.finished is not None:
            return _print_finished(state, reopened.stored.location, as_json=as_json)
        settings = settings_of_run(settings, state)
        applied = reopened.apply_settings(settings, assignments)
        with open_endpoint(settings, simulate=False) as where:
            where.require_url(state.started.cloud_url)
            claims = claim_store(settings)
            with nullcontext() if dry_run else claim_again(claims, state, ignore_running=ignore_running) as claim:
                order = _ResumeRequest(
                    reopened,
                    applied,
                    claim,
                    ignore_running=ignore_running,
                    break_freeze=break_freeze,
                    yes=yes,
                    as_json=as_json,
                )
                return anyio.run(partial(_open_and_resume, settings, where, order))


@dataclass(frozen=True, slots=True)
class _ResumeRequest:
    """The run to resume, and the options.

    Attributes:
        run: the run with its open log.
        applied: the effective limits.
        claim: the claim on the run's CVMs; None to stop after the plan was shown.
        ignore_running: whether to act on CVMs claimed by another run.
        break_freeze: the reason to act during a freeze.
        yes: whether to skip the questions.
        as_json: whether stdout is for a JSON document.
    """

    run: ReopenedRun
    applied: Applied
    claim: Claim | None
    _: KW_ONLY
    ignore_running: bool
    break_freeze: str | None
    yes: bool
    as_json: bool


def _print_finished(state: RunState, location: str, *, as_json: bool) -> int:
    assert state.finished is not None  # noqa: S101 - the caller checked it
    code = int(state.finished.exit_code)
    if as_json:
        write_document(run_document(state, code, location), partial(click.echo, nl=False))
    else:
        click.echo("This run is finished; there is nothing to resume.\n")
        print_run(stdout_console(), state, code, location)
    return code


async def _open_and_resume(settings: Settings, where: Endpoint, order: _ResumeRequest) -> int:
    state = order.run.state
    async with open_session(settings, where, order.applied.limits, LogObserver(settings)) as session:
        with last_line(as_json=order.as_json, nothing="Nothing more"):
            plan = await order.run.plan(session, order.applied, order.claim, break_freeze=order.break_freeze)
            if order.claim is None and order.as_json:
                write_document(plan.document(state), partial(click.echo, nl=False))
            elif not order.as_json:
                print_resume_plan(stdout_console(), plan, state)
            if order.claim is None:
                if not order.as_json:
                    click.echo("Nothing was sent: --dry-run.")
                return int(Exit.OK)
            if order.as_json:
                report_warnings(plan, session.observer, state.run_id)
            confirm_resume([plan], yes=order.yes)
        opened = await order.run.record_resume(session, plan, order.claim, ignore_running=order.ignore_running)
        return await carry_out(session, opened, as_json=order.as_json)


def confirm_resume(plans: Sequence[ResumePlan], *, yes: bool) -> None:
    """Ask about a different key, and about old plans: someone may have started a CVM on purpose since."""
    if yes:
        return
    for plan in plans:
        if plan.checked.other_key is not None:
            ask_about_key(plan.checked.other_key.message)
    number = sum(plan.doubtful for plan in plans)
    if not number:
        return
    age = format_duration(max(plan.age for plan in plans))
    if any(job.action.leaves_running for plan in plans for job in plan.unsent):
        require_answer(
            f"The plan is {age} old. {plural(number, 'CVM')} did not reach the planned state, and no "
            f"request to them is known to have had an effect. Someone may have changed them on purpose.\n"
            f"Type the number of CVMs ({number}) to continue: ",
            str(number),
        )
    else:
        require_answer(
            f"The plan is {age} old. CVMs still up: {number}. No stop is known to have had "
            f"an effect. Someone may have started them on purpose.\n"
            f"Type the number of CVMs ({number}) to stop them: ",
            str(number),
        )
