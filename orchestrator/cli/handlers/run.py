"""`orchestrator run`."""

import sys
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TextIO

import anyio
import click

from orchestrator.audit.claims import Claim
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import RunStore, new_run_id
from orchestrator.cli.plan_file import read_plan_file
from orchestrator.cli.print_error import report
from orchestrator.cli.verdict import ask_about_key, confirm, has_nothing_to_do, last_line
from orchestrator.duration import format_duration
from orchestrator.engine.job import Job
from orchestrator.engine.read.status import Observation
from orchestrator.errors import OrchestratorError, PlanFileError, UsageError
from orchestrator.moment import timestamp, utc_now
from orchestrator.playbook.frozen_plan import FrozenPlan
from orchestrator.playbook.load import find_playbook, load_playbook
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.plan_warning import PlanWarning
from orchestrator.playbook.resolved_steps import AnyPlanned
from orchestrator.playbook.variables import parse_assignments
from orchestrator.runs.claims import claim_cvms, read_what_others_changed
from orchestrator.runs.documents import plan_document
from orchestrator.runs.endpoint import Endpoint, endpoint
from orchestrator.runs.fresh_status import read_open_statuses
from orchestrator.runs.frozen import Frozen, apply_settings
from orchestrator.runs.plan_check import verdict
from orchestrator.runs.plan_file import read_plan
from orchestrator.runs.prepare import Prepared, prepare
from orchestrator.runs.session import Session, limits_of, open_session
from orchestrator.runs.start import RunRequest, begin_log
from orchestrator.runs.workspace import Workspace
from orchestrator.safe_text import safe_text
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
    ignore_running: bool,
    as_json: bool,
) -> int:
    """Carry a playbook out: plan, confirm, act, watch until settled."""
    loaded = load_playbook(find_playbook(playbook), parse_assignments(variables))
    settings = load_settings(config, assignments)
    RunStore(settings.audit.state_dir).prepare()
    order = RunRequest(loaded, limits_of(loaded.playbook.limits, settings), ignore_running=ignore_running)
    with endpoint(settings, simulate=simulate) as where:
        return anyio.run(partial(open_and_run, settings, where, order, yes=yes, expect=expect, as_json=as_json))


def run_plan_file(
    *,
    plan_file: Path,
    playbook: str | None,
    variables: tuple[str, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    expect: int | None,
    simulate: bool,
    yes: bool,
    ignore_running: bool,
    as_json: bool,
) -> int:
    """Carry out a plan file, except for targets changed since the plan."""
    for given, name in ((playbook, "PLAYBOOK"), (variables, "--var"), (simulate, "--simulate")):
        if given:
            hint = "the plan file says which playbook, with which values, and for which cloud"
            raise UsageError(f"{name} does not go with --plan", hint=hint)
    lock = read_plan(read_plan_file(plan_file), plan_file)
    settings = load_settings(config, assignments)
    RunStore(settings.audit.state_dir).prepare()
    applied = apply_settings(_frozen(lock, plan_file), settings, assignments)
    lock = replace(lock, limits=applied.limits, steps=applied.steps)
    order = RunRequest(
        lock.loaded,
        lock.limits,
        lock,
        _origin(lock, plan_file, utc_now()),
        {
            "plan_file": {
                "path": str(plan_file),
                "digest": lock.digest,
                "made_at": timestamp(lock.made_at),
                "actor": lock.actor,
            }
        },
        ignore_running=ignore_running,
        workspace=Workspace(lock.workspace, lock.key_fingerprint),
        warnings=applied.warnings,
    )
    with endpoint(settings, simulate=False) as where:
        if where.base_url != lock.cloud_url:
            raise PlanFileError(
                f"the plan is for {lock.cloud_url}, the settings are for {where.base_url}",
                file=plan_file,
                hint="use the same cloud.base_url (PHALA_CLOUD_API_PREFIX) as the plan did",
            )
        return anyio.run(partial(open_and_run, settings, where, order, yes=yes, expect=expect, as_json=as_json))


def _frozen(lock: FrozenPlan, file: Path) -> Frozen:
    limits = {"max_targets": lock.guards.max_targets, "max_percent": lock.guards.max_percent}
    guards = {name: Decimal(limit) for name, limit in limits.items() if limit is not None}
    return Frozen("the plan file", lock.limits, lock.steps, guards, lock.loaded.playbook.notify.on, file=file)


async def open_and_run(
    settings: Settings,
    where: Endpoint,
    order: RunRequest,
    *,
    yes: bool,
    expect: int | None,
    as_json: bool,
) -> int:
    """Plan, confirm and carry out; returns the exit code."""
    async with open_session(settings, where, order.limits) as session:
        return await _run(session, order, yes=yes, expect=expect, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """A confirmed run with an open log. The plan itself is not kept, to save memory.

    Attributes:
        log: the audit log.
        state: the replayed state of the log.
        jobs: every target.
        steps: the steps in order.
        workspace_size: the number of CVMs in the inventory.
        fresh: the statuses read after a late yes, or after actions of another run on the targets.
        claim: the run's claim on its CVMs.
    """

    log: AuditLog
    state: RunState
    jobs: list[Job]
    steps: tuple[AnyPlanned, ...]
    workspace_size: int
    fresh: dict[str, Observation] | None
    claim: Claim


async def _run(session: Session, order: RunRequest, *, yes: bool, expect: int | None, as_json: bool) -> int:
    run = await _plan_and_confirm(session, order, yes=yes, expect=expect, as_json=as_json)
    if isinstance(run, int):
        return run
    from orchestrator.cli.carry_out import carry_out  # noqa: PLC0415 - the live view and the log take long to import

    with run.claim:
        return await carry_out(
            session,
            run.log,
            run.state,
            run.jobs,
            run.steps,
            workspace_size=run.workspace_size,
            as_json=as_json,
            claim=run.claim,
            fresh=run.fresh,
        )


async def _plan_and_confirm(
    session: Session, order: RunRequest, *, yes: bool, expect: int | None, as_json: bool
) -> _Confirmed | int:
    """Plan, ask, and begin the log; returns an exit code for a refused run."""
    meant, claim = yes or expect is not None, None
    order = replace(order, run_id=order.run_id or new_run_id(session.clock.wall()))
    try:
        prepared = await prepare(session, order.loaded, order.hold)
        other_key = _check_workspace(order, prepared)
    except OrchestratorError as failure:
        await _tell_refused(session, order, failure, meant=meant)
        raise
    warnings = (*prepared.plan.warnings, *order.warnings, *(() if other_key is None else (other_key,)))
    prepared = replace(prepared, plan=replace(prepared.plan, warnings=warnings))
    plan, jobs = prepared.plan, [Job.of(target) for target in prepared.plan.targets]
    show = partial(_show, order, plan)
    if not as_json:
        show(sys.stdout)
    try:
        with last_line(as_json=as_json):
            error = verdict(plan, order.hold)
            if error is not None:
                raise error
            asked_at, asked_on = session.clock.now(), session.clock.wall()
            seen = not as_json and sys.stdout.isatty()
            confirm(plan, yes=yes, expect=expect, show=None if seen else show)
            if other_key is not None and expect is not None and not yes:
                ask_about_key(other_key.message)
            # Both clocks: the engine's clock stops while a machine sleeps, the wall clock may be set back.
            waited = max(session.clock.now() - asked_at, (session.clock.wall() - asked_on).total_seconds())
            refs = [work.ref for work in jobs]
            claim = claim_cvms(session, order.run_id or "", refs, ignore_running=order.ignore_running)
            size = prepared.workspace_size
            fresh = await read_what_others_changed(session, claim, jobs, size, prepared.read_at)
            if fresh is None and waited > session.settings.guards.recheck_after:
                fresh = await read_open_statuses(session, jobs, size)
            log, state = begin_log(session, order, prepared)
    except OrchestratorError as refused:
        if claim is not None:
            claim.release(has_ended=True)
        report(refused, as_json=as_json, extra=plan_document(plan))
        await _tell_refused(session, order, refused, meant=meant)
        return int(refused.exit_code)
    if not as_json:
        click.echo("Nothing to do: no CVM is left to act on.\n" if has_nothing_to_do(plan) else "")
    return _Confirmed(log, state, jobs, plan.steps, prepared.workspace_size, fresh, claim)


def _show(order: RunRequest, plan: Plan, stream: TextIO) -> None:
    """Print the plan."""
    from orchestrator.cli.consoles import on  # noqa: PLC0415 - the requests had to go out first
    from orchestrator.report.plan.text import print_plan  # noqa: PLC0415 - the same

    if order.origin is not None:
        click.echo(order.origin, file=stream)
    print_plan(on(stream), plan, order.loaded.playbook.description)


def _check_workspace(order: RunRequest, prepared: Prepared) -> PlanWarning | None:
    """Refuse a plan file or a run to undo of another workspace; warn if only the keys can be compared."""
    if order.hold is None or order.workspace is None:
        return None
    return prepared.workspace.compare(order.workspace, order.hold.source)


async def _tell_refused(session: Session, order: RunRequest, error: OrchestratorError, *, meant: bool) -> None:
    """Send a notice about a refused run, if a run was meant and no person sits at the terminal."""
    if meant and session.settings.notify.somebody and not sys.stdin.isatty():
        from orchestrator.runs.event_log import configure  # noqa: PLC0415 - takes long to import
        from orchestrator.runs.notifications import tell_refused  # noqa: PLC0415 - the same

        configure(session.settings.log)
        where = session.endpoint
        await tell_refused(session.settings, order.loaded, error, where.base_url, simulated=session.simulated)


def _origin(lock: FrozenPlan, file: Path, now: datetime) -> str:
    age = format_duration(max(0.0, (now - lock.made_at).total_seconds()))
    return f"From {safe_text(file, 4096)}, made {age} ago by {safe_text(lock.actor)} (digest {lock.digest})\n"
