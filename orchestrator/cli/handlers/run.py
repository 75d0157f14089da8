"""`orchestrator run`."""

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import anyio
import click

from orchestrator.cli.confirmation import ask_about_key, confirm_plan, has_nothing_to_do, last_line
from orchestrator.cli.log_observer import LogObserver
from orchestrator.cli.options import require_no_skip
from orchestrator.cli.plan_file import read_plan_file
from orchestrator.cli.print_error import print_error
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.playbook.frozen_plan import FrozenPlan
from orchestrator.playbook.load import LoadedPlaybook, find_playbook, load_playbook, parse_assignments
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.plan_warning import WarningCode
from orchestrator.runs.documents import plan_document
from orchestrator.runs.plan_file import read_plan, request_plan, require_cloud
from orchestrator.runs.prepare import Overrides
from orchestrator.runs.session import Endpoint, Session, limits_of, open_endpoint, open_session
from orchestrator.runs.start import OpenRun, RunRequest, plan_request, start_run
from orchestrator.runs.stores import run_store
from orchestrator.runs.workspaces import choose_names, settings_of_name
from orchestrator.settings.load import Settings, load_settings
from orchestrator.text import safe_text
from orchestrator.times import format_duration, utc_now

if TYPE_CHECKING:
    from orchestrator.runs.signed_start import SignedStart


def run_playbook(
    playbook: str,
    variables: tuple[str, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    expect: int | None,
    *,
    workspaces: tuple[str, ...],
    skip: tuple[str, ...],
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    simulate: bool,
    yes: bool,
    ignore_running: bool,
    overrides: Overrides,
    as_json: bool,
) -> int:
    """Carry a playbook out: plan, confirm, act, watch until settled."""
    loaded = load_playbook(find_playbook(playbook), parse_assignments(variables))
    narrowing = Narrowing.parse_options(only, exclude)
    every = load_settings(config, assignments)
    names = choose_names(every, workspaces, loaded.playbook.workspaces, simulate=simulate)
    if len(names) > 1:
        from orchestrator.cli.handlers.fleet.plan import PlaybookRequest  # noqa: PLC0415 - seldom needed
        from orchestrator.cli.handlers.fleet.run import FleetCommand, run_fleet  # noqa: PLC0415 - the same

        fleet_order = PlaybookRequest(loaded, narrowing, ignore_running, overrides)
        return run_fleet(every, names, FleetCommand(fleet_order, skip, yes, expect, as_json))
    require_no_skip(skip)
    settings = every.for_workspace(names[0]) if names else every
    run_store(settings).prepare()
    limits = limits_of(loaded.playbook.limits, settings)
    order = RunRequest(loaded, limits, ignore_running=ignore_running, narrowing=narrowing, overrides=overrides)
    with open_endpoint(settings, simulate=simulate) as where:
        return anyio.run(partial(open_and_run, settings, where, order, yes=yes, expect=expect, as_json=as_json))


def run_plan_file(
    *,
    plan_file: Path,
    key: Path | None,
    playbook: str | None,
    variables: tuple[str, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    expect: int | None,
    workspaces: tuple[str, ...],
    skip: tuple[str, ...],
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    simulate: bool,
    yes: bool,
    ignore_running: bool,
    overrides: Overrides,
    as_json: bool,
) -> int:
    """Carry out a plan file, except for targets changed since the plan."""
    excluded = ((playbook, "PLAYBOOK"), (variables, "--var"), (simulate, "--simulate"), (workspaces, "--workspace"))
    for given, name in excluded:
        if given:
            hint = "the plan file has the playbook, its variables, the cloud and the workspace"
            raise UsageError(f"--plan excludes {name}", hint=hint)
    for given, name in ((only, "--only"), (exclude, "--exclude")):
        if given:
            raise UsageError(f"--plan excludes {name}", hint=f"make a new plan: `plan PLAYBOOK {name} … --out FILE`")
    require_no_skip(skip)
    lock = read_plan(read_plan_file(plan_file), plan_file)
    settings = settings_of_name(load_settings(config, assignments), lock.workspace_name, "the plan file")
    signed = _read_signed_start(plan_file, key, settings)
    run_store(settings).prepare()
    request = request_plan(lock, plan_file, settings, assignments, ignore_running=ignore_running)
    origin = _describe_origin(lock, plan_file, utc_now())
    order = replace(request, origin=origin, overrides=overrides, signed=signed)
    with open_endpoint(settings, simulate=False) as where:
        require_cloud(lock, where.base_url, plan_file)
        return anyio.run(partial(open_and_run, settings, where, order, yes=yes, expect=expect, as_json=as_json))


def _read_signed_start(plan_file: Path, key: Path | None, settings: Settings) -> "SignedStart | None":
    """Read the starter's key; None if the settings require no approvals.

    Raises:
        UsageError: when the key is unusable, or would have no effect.
    """
    if not settings.approval.keys:
        if key is not None:
            raise UsageError("--key would have no effect: the settings have no approval.keys", hint="remove --key")
        return None
    from orchestrator.audit.keys import read_private_key  # noqa: PLC0415 - most settings have no keys
    from orchestrator.cli.terminal_input import ask_passphrase  # noqa: PLC0415 - the same
    from orchestrator.runs.signed_start import SignedStart  # noqa: PLC0415 - the same

    return SignedStart(plan_file, None if key is None else read_private_key(key, ask_passphrase))


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
    async with open_session(settings, where, order.limits, LogObserver(settings)) as session:
        return await run_in_session(session, order, yes=yes, expect=expect, as_json=as_json)


async def run_in_session(session: Session, order: RunRequest, *, yes: bool, expect: int | None, as_json: bool) -> int:
    """Plan, confirm and carry out in an open session; returns the exit code."""
    run = await _plan_and_start(session, order, yes=yes, expect=expect, as_json=as_json)
    if isinstance(run, int):
        return run
    from orchestrator.cli.carry_out import carry_out  # noqa: PLC0415 - the live view and the log take long to import

    with run:
        return await carry_out(session, run, as_json=as_json)


async def _plan_and_start(
    session: Session, order: RunRequest, *, yes: bool, expect: int | None, as_json: bool
) -> OpenRun | int:
    """Plan, ask, and begin the log; returns an exit code for a refused run."""
    meant = yes or expect is not None
    try:
        prepared = await plan_request(session, order)
    except OrchestratorError as failure:
        await notify_refusal_of(session, order.loaded, failure, meant=meant)
        raise
    plan = prepared.plan
    show = partial(_print_plan, order, plan)
    if not as_json:
        show(sys.stdout)
    try:
        with last_line(as_json=as_json):
            seen = not as_json and sys.stdout.isatty()
            lister = "orchestrator cvms" if order.loaded.in_memory else "orchestrator plan"
            ask_person = partial(_confirm_with_key, yes=yes, expect=expect, show=None if seen else show, lister=lister)
            run = await start_run(session, order, prepared, ask_person)
    except OrchestratorError as refused:
        print_error(refused, as_json=as_json, extra=plan_document(plan))
        await notify_refusal_of(session, order.loaded, refused, meant=meant)
        return int(refused.exit_code)
    if not as_json:
        click.echo("Nothing to do: 0 targets.\n" if has_nothing_to_do(plan) else "")
    return run


async def _confirm_with_key(
    plan: Plan, *, yes: bool, expect: int | None, show: Callable[[TextIO], None] | None, lister: str
) -> bool:
    """Get a confirmation of the plan, and of another API key: `--expect` is about the number of CVMs alone."""
    confirm_plan(plan, yes=yes, expect=expect, show=show, lister=lister)
    other_key = next((each for each in plan.warnings if each.code is WarningCode.OTHER_KEY), None)
    if other_key is not None and expect is not None and not yes:
        ask_about_key(other_key.message)
    # Loaded before the log begins, because the load takes long and a signal in between cuts the run short.
    import_module("orchestrator.cli.carry_out")
    return True


def _print_plan(order: RunRequest, plan: Plan, stream: TextIO) -> None:
    """Print the plan."""
    from orchestrator.cli.consoles import console_on  # noqa: PLC0415 - the requests had to go out first
    from orchestrator.report.layout import print_lines, prose_lines  # noqa: PLC0415 - the same
    from orchestrator.report.plan.text import print_plan  # noqa: PLC0415 - the same

    console = console_on(stream)
    origin = order.origin if order.wake is None else order.wake.origin
    if origin is not None:
        print_lines(console, prose_lines(console, origin))
        console.print()
    print_plan(console, plan, order.loaded.playbook.description)


async def notify_refusal_of(session: Session, loaded: LoadedPlaybook, error: OrchestratorError, *, meant: bool) -> None:
    """Send a notice about a refused run, if a run was meant and no person is at the terminal."""
    if meant and session.settings.notify.has_receivers and not sys.stdin.isatty():
        from orchestrator.runs.notifications import notify_refusal  # noqa: PLC0415 - takes long to import

        url, simulated = session.endpoint.base_url, session.is_simulated
        await notify_refusal(session.settings, loaded, error, url, session.observer, simulated=simulated)


def _describe_origin(lock: FrozenPlan, file: Path, now: datetime) -> str:
    age = format_duration(max(0.0, (now - lock.made_at).total_seconds()))
    return f"From {safe_text(file, 4096)}, made {age} ago by {safe_text(lock.actor)} (digest {lock.digest})\n"
