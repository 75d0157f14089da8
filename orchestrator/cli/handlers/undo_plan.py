"""`orchestrator plan --restore`, `orchestrator plan --wake`."""

import anyio
import click

from orchestrator.cli.handlers.plan import PlanCommand, print_result, show_plan_of_fleet, write_plan
from orchestrator.cli.handlers.restore import describe_origin
from orchestrator.cli.handlers.wake import WakeRequests
from orchestrator.cli.log_observer import LogObserver
from orchestrator.cli.named_runs import find_run, names_fleet
from orchestrator.cli.options import require_no_skip
from orchestrator.cli.plan_file import check_place
from orchestrator.errors import UsageError
from orchestrator.playbook.load import find_playbook, load_playbook
from orchestrator.runs.prepare import Prepared, find_refusal
from orchestrator.runs.restore import playbook_for_plan, read_undo, request_undo
from orchestrator.runs.session import Endpoint, open_endpoint, open_session
from orchestrator.runs.signed_start import needs_approval
from orchestrator.runs.start import RunRequest, plan_request
from orchestrator.runs.wake import request_wake
from orchestrator.runs.workspaces import choose_names, settings_of_run
from orchestrator.settings.load import Settings, load_settings


def show_undo_plan(command: PlanCommand, run_id: str) -> int:
    """Print the plan to undo a run. Sends no changing request."""
    hint = "the log of the run has the CVMs and the workspace"
    command.require_no_choice("--restore", hint, workspaces=True)
    require_no_skip(command.skip)
    if names_fleet(run_id):
        raise UsageError("--restore needs the id of a single run", hint=f"its runs: orchestrator show {run_id}")
    run = find_run(run_id, command.config, command.assignments)
    undo, state = read_undo(run)
    settings = settings_of_run(load_settings(command.config, command.assignments), state)
    request = request_undo(undo, state, run, settings)
    if command.out is not None:
        check_place(command.out)
    elif command.form == "text":
        click.echo(describe_origin(undo, state))
    with open_endpoint(settings, simulate=False) as where:
        where.require_url(state.started.cloud_url)
        found = anyio.run(_read_and_plan, settings, where, request)
        written = None
        if command.out is not None and find_refusal(found.plan, undo) is None:
            restores = {"run_id": state.run_id, "cvms_up": undo.whole_of_starts(found.plan.cvms).number}
            written = write_plan(command.out, found, playbook_for_plan(undo), where.base_url, {"restores": restores})
    return print_result(
        found.plan,
        request.loaded.playbook.description,
        command.out,
        written,
        details=command.details,
        form=command.form,
        constraint=undo,
        needs_approval=bool(settings.approval.keys),
    )


def show_wake_plan(command: PlanCommand, playbook: str) -> int:
    """Print the plan to wake a playbook. Sends no changing request."""
    hint = "the logs of the playbook's runs have the CVMs to start"
    if command.restore:
        raise UsageError("--wake excludes --restore", hint=hint)
    command.require_no_choice("--wake", hint)
    loaded = load_playbook(find_playbook(playbook), {})
    every = load_settings(command.config, command.assignments)
    names = choose_names(every, command.workspaces, loaded.playbook.workspaces)
    if len(names) > 1:
        return show_plan_of_fleet(command, every, names, WakeRequests(loaded, request_wake(loaded, every).loaded))
    require_no_skip(command.skip)
    settings = every.for_workspace(names[0]) if names else every
    request = request_wake(loaded, settings)
    order = request.wake
    assert order is not None  # noqa: S101 - by `request_wake`
    if command.out is not None:
        check_place(command.out)
    with open_endpoint(settings, simulate=False) as where:
        found = anyio.run(_read_and_plan, settings, where, request)
        written = None
        if command.out is not None and found.plan.targets and find_refusal(found.plan, order) is None:
            wakes = {**order.wakes, "cvms_up": order.whole_of_starts(found.plan.cvms).number}
            written = write_plan(command.out, found, playbook_for_plan(order.wake), where.base_url, {"wakes": wakes})
    if command.out is not None and not found.plan.targets:
        click.echo(f"The plan was not written to {command.out}: there is nothing to start.", err=True)
    if command.form == "text":
        click.echo(order.origin)
    return print_result(
        found.plan,
        request.loaded.playbook.description,
        command.out,
        written,
        details=command.details,
        form=command.form,
        constraint=order,
        may_be_empty=True,
        needs_approval=needs_approval(settings, request),
    )


async def _read_and_plan(settings: Settings, where: Endpoint, request: RunRequest) -> Prepared:
    async with open_session(settings, where, request.limits, LogObserver(settings), few=True) as session:
        return await plan_request(session, request)
