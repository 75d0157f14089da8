"""`orchestrator plan`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
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
    from orchestrator.cli.handlers.fleet.plan import FleetRequest


@dataclass(frozen=True, slots=True)
class PlanCommand:
    """The arguments and options of `plan`, as click names them.

    Attributes:
        form: the format: `text`, `json` or `md`.
    """

    playbook: str | None
    variables: tuple[str, ...]
    config: Path | None
    assignments: tuple[str, ...]
    restore: str | None
    wake: str | None
    inventory: Path | None
    workspaces: tuple[str, ...]
    skip: tuple[str, ...]
    only: tuple[str, ...]
    exclude: tuple[str, ...]
    overrides: Overrides
    simulate: bool
    out: Path | None
    details: bool
    form: str

    def require_no_choice(self, option: str, hint: str, *, workspaces: bool = False) -> None:
        """Refuse arguments that choose or change targets: the option does so.

        Args:
            option: the option.
            hint: the hint of the error.
            workspaces: whether to refuse `--workspace` too.

        Raises:
            UsageError: when one of these arguments is given.
        """
        for given, name in (
            (self.playbook, "PLAYBOOK"),
            (self.variables, "--var"),
            (workspaces and self.workspaces, "--workspace"),
            (self.only, "--only"),
            (self.exclude, "--exclude"),
            (self.overrides != NO_OVERRIDES, "--break-freeze and --ignore-keep"),
            (self.simulate, "--simulate"),
        ):
            if given:
                raise UsageError(f"{option} excludes {name}", hint=hint)


def show_plan(command: PlanCommand, playbook: str) -> int:
    """Print the plan of a playbook. Sends no changing request."""
    loaded = load_playbook(find_playbook(playbook), parse_assignments(command.variables))
    narrowing = Narrowing.parse_options(command.only, command.exclude)
    every = load_settings(command.config, command.assignments)
    names = choose_names(every, command.workspaces, loaded.playbook.workspaces, simulate=command.simulate)
    if len(names) > 1:
        from orchestrator.cli.handlers.fleet.plan import PlaybookRequest  # noqa: PLC0415 - seldom needed

        return show_plan_of_fleet(
            command, every, names, PlaybookRequest(loaded, narrowing, overrides=command.overrides)
        )
    require_no_skip(command.skip)
    settings = every.for_workspace(names[0]) if names else every
    if command.out is not None:
        if command.simulate:
            raise UsageError("--out excludes --simulate", hint="a simulated cloud ends with this command")
        check_place(command.out)
    with open_endpoint(settings, simulate=command.simulate) as where:
        found = anyio.run(_read_and_plan, settings, where, loaded, narrowing, command.overrides)
        written = None
        if command.out is not None and find_refusal(found.plan) is None:
            written = write_plan(command.out, found, loaded, where.base_url)
    return print_result(
        found.plan,
        loaded.playbook.description,
        command.out,
        written,
        details=command.details,
        form=command.form,
        needs_approval=bool(settings.approval.keys) and loaded.playbook.name not in settings.approval.exempt,
    )


def show_plan_of_fleet(command: PlanCommand, every: Settings, names: tuple[str, ...], request: "FleetRequest") -> int:
    """Print the plan of a request in several workspaces."""
    from orchestrator.cli.handlers.fleet.plan import show_fleet_plan  # noqa: PLC0415 - seldom needed

    has_out = command.out is not None
    return show_fleet_plan(
        every, names, request, skip=command.skip, details=command.details, form=command.form, has_out=has_out
    )


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
