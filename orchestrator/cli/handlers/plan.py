"""`orchestrator plan`."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from orchestrator import __version__
from orchestrator.cli.log_observer import LogObserver
from orchestrator.cli.options import require_no_skip
from orchestrator.cli.plan_file import check_place, write_plan_file
from orchestrator.cli.print_error import print_error
from orchestrator.errors import UsageError
from orchestrator.outcome import Exit
from orchestrator.playbook.load import LoadedPlaybook, find_playbook, load_playbook, parse_assignments
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.playbook.plan import Plan, PlanConstraint
from orchestrator.runs.prepare import NO_OVERRIDES, Overrides, Prepared, find_refusal, prepare_plan
from orchestrator.runs.session import Endpoint, limits_of, open_endpoint, open_session
from orchestrator.runs.workspaces import choose_names
from orchestrator.settings.load import Settings, load_settings
from orchestrator.times import utc_now

if TYPE_CHECKING:
    from orchestrator.runs.start import RunRequest


def show_plan(
    playbook: str,
    variables: tuple[str, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    workspaces: tuple[str, ...],
    skip: tuple[str, ...],
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    overrides: Overrides,
    simulate: bool,
    out: Path | None,
    details: bool,
    form: str,
) -> int:
    """Print the plan of a playbook. Sends no changing request."""
    loaded = load_playbook(find_playbook(playbook), parse_assignments(variables))
    narrowing = Narrowing.parse_options(only, exclude)
    every = load_settings(config, assignments)
    names = choose_names(every, workspaces, loaded.playbook.workspaces, simulate=simulate)
    if len(names) > 1:
        from orchestrator.cli.handlers.fleet.plan import PlaybookRequest, show_fleet_plan  # noqa: PLC0415 - seldom needed

        request = PlaybookRequest(loaded, narrowing, overrides=overrides)
        has_out = out is not None
        return show_fleet_plan(every, names, request, skip=skip, details=details, form=form, has_out=has_out)
    require_no_skip(skip)
    settings = every.for_workspace(names[0]) if names else every
    if out is not None:
        if simulate:
            raise UsageError("--out excludes --simulate", hint="a simulated cloud ends with this command")
        check_place(out)
    with open_endpoint(settings, simulate=simulate) as where:
        found = anyio.run(_read_and_plan, settings, where, loaded, narrowing, overrides)
        written = None
        if out is not None and find_refusal(found.plan) is None:
            written = write_plan(out, found, loaded, where.base_url)
    needs_approval = bool(settings.approval.keys) and loaded.playbook.name not in settings.approval.exempt
    return print_result(
        found.plan,
        loaded.playbook.description,
        out,
        written,
        details=details,
        form=form,
        needs_approval=needs_approval,
    )


def show_undo_plan(
    restore: str,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    playbook: str | None,
    variables: tuple[str, ...],
    workspaces: tuple[str, ...],
    skip: tuple[str, ...],
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    overrides: Overrides,
    simulate: bool,
    out: Path | None,
    details: bool,
    form: str,
) -> int:
    """Print the plan to undo a run. Sends no changing request."""
    from orchestrator.cli.handlers.restore import describe_origin  # noqa: PLC0415 - only for an undo
    from orchestrator.cli.named_runs import find_run, names_fleet  # noqa: PLC0415 - the same
    from orchestrator.runs.restore import playbook_for_plan, read_undo, request_undo  # noqa: PLC0415 - the same
    from orchestrator.runs.workspaces import settings_of_run  # noqa: PLC0415 - the same

    for given, name in (
        (playbook, "PLAYBOOK"),
        (variables, "--var"),
        (workspaces, "--workspace"),
        (only, "--only"),
        (exclude, "--exclude"),
        (overrides != NO_OVERRIDES, "--break-freeze and --ignore-keep"),
        (simulate, "--simulate"),
    ):
        if given:
            raise UsageError(f"--restore excludes {name}", hint="the log of the run has the CVMs and the workspace")
    require_no_skip(skip)
    if names_fleet(restore):
        raise UsageError("--restore needs the id of a single run", hint=f"its runs: orchestrator show {restore}")
    run = find_run(restore, config, assignments)
    undo, state = read_undo(run)
    settings = settings_of_run(load_settings(config, assignments), state)
    request = request_undo(undo, state, run, settings)
    if out is not None:
        check_place(out)
    elif form == "text":
        click.echo(describe_origin(undo, state))
    with open_endpoint(settings, simulate=False) as where:
        where.require_url(state.started.cloud_url)
        found = anyio.run(_read_and_plan_request, settings, where, request)
        written = None
        if out is not None and find_refusal(found.plan, undo) is None:
            restores = {"run_id": state.run_id, "cvms_up": undo.whole_of_starts(found.plan.cvms).number}
            written = write_plan(out, found, playbook_for_plan(undo), where.base_url, {"restores": restores})
    description = request.loaded.playbook.description
    needs_approval = bool(settings.approval.keys)
    return print_result(
        found.plan,
        description,
        out,
        written,
        details=details,
        form=form,
        constraint=undo,
        needs_approval=needs_approval,
    )


def show_wake_plan(
    wake: str,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    restore: str | None,
    playbook: str | None,
    variables: tuple[str, ...],
    workspaces: tuple[str, ...],
    skip: tuple[str, ...],
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    overrides: Overrides,
    simulate: bool,
    out: Path | None,
    details: bool,
    form: str,
) -> int:
    """Print the plan to wake a playbook. Sends no changing request."""
    from orchestrator.cli.handlers.wake import WakeRequests  # noqa: PLC0415 - only for a wake
    from orchestrator.runs.restore import playbook_for_plan  # noqa: PLC0415 - the same
    from orchestrator.runs.signed_start import needs_approval  # noqa: PLC0415 - the same
    from orchestrator.runs.wake import request_wake  # noqa: PLC0415 - the same

    for given, name in (
        (restore, "--restore"),
        (playbook, "PLAYBOOK"),
        (variables, "--var"),
        (only, "--only"),
        (exclude, "--exclude"),
        (overrides != NO_OVERRIDES, "--break-freeze and --ignore-keep"),
        (simulate, "--simulate"),
    ):
        if given:
            raise UsageError(f"--wake excludes {name}", hint="the logs of the playbook's runs have the CVMs to start")
    loaded = load_playbook(find_playbook(wake), {})
    every = load_settings(config, assignments)
    names = choose_names(every, workspaces, loaded.playbook.workspaces)
    if len(names) > 1:
        from orchestrator.cli.handlers.fleet.plan import show_fleet_plan  # noqa: PLC0415 - seldom needed

        requests = WakeRequests(loaded, request_wake(loaded, every).loaded)
        has_out = out is not None
        return show_fleet_plan(every, names, requests, skip=skip, details=details, form=form, has_out=has_out)
    require_no_skip(skip)
    settings = every.for_workspace(names[0]) if names else every
    request = request_wake(loaded, settings)
    order = request.wake
    assert order is not None  # noqa: S101 - by `request_wake`
    if out is not None:
        check_place(out)
    with open_endpoint(settings, simulate=False) as where:
        found = anyio.run(_read_and_plan_request, settings, where, request)
        written = None
        if out is not None and found.plan.targets and find_refusal(found.plan, order) is None:
            wakes = {**order.wakes, "cvms_up": order.whole_of_starts(found.plan.cvms).number}
            written = write_plan(out, found, playbook_for_plan(order.wake), where.base_url, {"wakes": wakes})
    if out is not None and not found.plan.targets:
        click.echo(f"The plan was not written to {out}: there is nothing to start.", err=True)
    if form == "text":
        click.echo(order.origin)
    description = request.loaded.playbook.description
    return print_result(
        found.plan,
        description,
        out,
        written,
        details=details,
        form=form,
        constraint=order,
        may_be_empty=True,
        needs_approval=needs_approval(settings, request),
    )


async def _read_and_plan_request(settings: Settings, where: Endpoint, request: "RunRequest") -> Prepared:
    from orchestrator.runs.start import plan_request  # noqa: PLC0415 - `plan` of a playbook does without

    async with open_session(settings, where, request.limits, LogObserver(settings), few=True) as session:
        return await plan_request(session, request)


def write_plan(
    out: Path,
    found: Prepared,
    loaded: LoadedPlaybook,
    cloud_url: str,
    undoes: Mapping[str, Mapping[str, object]] | None = None,
) -> str:
    """Write the plan file; returns its digest. `undoes` has `restores` or `wakes` of `build_plan_file`."""
    from orchestrator.runs.plan_file import build_plan_file, format_plan_file  # noqa: PLC0415 - the same
    from orchestrator.runs.stores import find_actor  # noqa: PLC0415 - the requests had to go out first

    document = build_plan_file(
        found.plan,
        loaded,
        found.guards,
        workspace_size=found.workspace_size,
        made_at=utc_now(),
        actor=find_actor(),
        version=__version__,
        cloud_url=cloud_url,
        workspace=found.workspace.record_fields(),
        **(undoes or {}),
    )
    write_plan_file(out, format_plan_file(document))
    return str(document["digest"])


def print_result(
    plan: Plan,
    description: str | None,
    out: Path | None,
    digest: str | None,
    *,
    details: bool = False,
    form: str,
    is_named: bool = False,
    constraint: PlanConstraint | None = None,
    may_be_empty: bool = False,
    needs_approval: bool = False,
    now: datetime | None = None,
    extra: Mapping[str, object] | None = None,
) -> int:
    """Print a plan, and the place of its file; returns the exit code.

    Args:
        plan: the plan.
        description: the playbook's description of itself.
        out: the requested file of the plan.
        digest: the digest of the written file; None without a written file.
        details: whether to list every CVM by name.
        form: the format: `text`, `json` or `md`.
        is_named: whether a person named every CVM.
        may_be_empty: whether a plan without targets is no error, as for a wake.
        constraint: the constraint of the plan, such as a run to undo.
        needs_approval: whether a person has to approve the written plan with a signature.
        now: the reference time for ages; the present by default.
        extra: more fields of the document.
    """
    from orchestrator.runs.documents import plan_document  # noqa: PLC0415 - the requests had to go out first

    error = find_refusal(plan, constraint, is_named=is_named, may_be_empty=may_be_empty)
    document = {**plan_document(plan), **(extra or {})}
    if digest is not None:
        document["plan_file"] = {"path": str(out), "digest": digest}
    if form == "text":
        from orchestrator.cli.consoles import stdout_console  # noqa: PLC0415 - only for people; a good part of the start
        from orchestrator.report.plan.text import print_plan  # noqa: PLC0415 - the same
        from orchestrator.text import safe_text  # noqa: PLC0415 - the same

        print_plan(stdout_console(), plan, description, details=details, now=now)
        if digest is not None:
            path = safe_text(out, 4096)
            key = " --key KEY" if needs_approval else ""
            review = f"For the review, by another person: orchestrator approve {path} --key KEY\n" if key else ""
            click.echo(
                f"\nWritten to {path} (digest {digest}).\n{review}After the review: orchestrator run --plan {path}{key}"
            )
    elif form == "md":
        from orchestrator.report.plan.markdown import render_plan_markdown  # noqa: PLC0415 - the same

        refusal = None if error is None else error.message
        file = None if digest is None else (str(out), digest)
        click.echo(render_plan_markdown(plan, description, refusal=refusal, plan_file=file, details=details))
    elif error is None:
        click.echo(json.dumps(document, indent=2))
    if error is None:
        return int(Exit.OK)
    if out is not None:
        click.echo(f"The plan was not written to {out}: it can't be executed.", err=True)
    print_error(error, as_json=form == "json", extra=document)
    return int(error.exit_code)


async def _read_and_plan(
    settings: Settings,
    where: Endpoint,
    loaded: LoadedPlaybook,
    narrowing: Narrowing | None,
    overrides: Overrides,
) -> Prepared:
    limits = limits_of(loaded.playbook.limits, settings)
    async with open_session(settings, where, limits, LogObserver(settings), few=True) as session:
        return await prepare_plan(session, loaded, narrowing=narrowing, overrides=overrides)
