"""`orchestrator run --submit`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.audit.fleet_store import new_fleet_id
from orchestrator.audit.store import new_run_id, new_run_ids
from orchestrator.cli.handlers.store import require_url
from orchestrator.cli.options import require_no_skip
from orchestrator.errors import ApprovalError, UsageError
from orchestrator.playbook.calendars import CalendarReader
from orchestrator.playbook.load import find_playbook, load_playbook, parse_assignments
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.playbook.timetable import load_freezes
from orchestrator.runs.fleet.plan import require_known
from orchestrator.runs.freeze import carry_calendars
from orchestrator.runs.prepare import Overrides
from orchestrator.runs.stores import find_actor
from orchestrator.runs.submission import Submission, find_budget
from orchestrator.settings.load import Settings, load_settings
from orchestrator.settings.workspaces import match_workspaces
from orchestrator.text import plural
from orchestrator.times import utc_now

if TYPE_CHECKING:
    import psycopg

_OWN_SECTIONS = ("store.", "log.", "audit.")
"""Settings of the submitting command itself; all others are the worker's."""


def submit_playbook(
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
    ignore_running: bool,
    overrides: Overrides,
    as_json: bool,
) -> int:
    """Submit a run, or a fleet run, to the team store; workers plan and carry out."""
    from orchestrator.postgres import submissions  # noqa: PLC0415 - only with a team store
    from orchestrator.postgres.connect import connect  # noqa: PLC0415 - the same

    for each in assignments:
        if not each.startswith(_OWN_SECTIONS):
            hint = "change the settings of the worker, or the playbook"
            raise UsageError(f"--submit excludes --set {each.partition('=')[0]} and --profile", hint=hint)
    loaded = carry_calendars(load_playbook(find_playbook(playbook), parse_assignments(variables)))
    load_freezes(loaded, CalendarReader())
    narrowing = Narrowing.parse_options(only, exclude)
    order = Submission(loaded, expect, narrowing, ignore_running, overrides, skip=skip)
    settings = load_settings(config, assignments)
    if settings.approval.keys and loaded.playbook.name not in settings.approval.exempt:
        hint = "run the approved plan here, with run --plan FILE --key KEY, or list the playbook in approval.exempt"
        raise ApprovalError(
            "the run needs an approved plan (approval.keys), and --submit takes no plan file", hint=hint
        )
    with connect(require_url(settings.store), listen=settings.store.listen) as connection:
        known = tuple(dict.fromkeys([*settings.workspaces, *submissions.list_workspaces(connection)]))
        names = _choose_workspaces(known, workspaces, loaded.playbook.workspaces)
        if len(names) > 1:
            run_id, document = _submit_fleet(connection, settings, names, order)
        else:
            require_no_skip(skip)
            run_id, document = _submit_run(connection, settings, names[0], order)
        unfinished = [run for run in submissions.list_unfinished(connection) if run.run_id in document["runs"]]
        workers = submissions.list_workers(connection)
    waits = {wait: None for run in unfinished if (wait := submissions.explain_wait(run, workers)) is not None}
    if as_json:
        del document["runs"]
        click.echo(json.dumps(document, indent=2))
    else:
        place = f"workspace {names[0]}" if len(names) == 1 else plural(len(names), "workspace")
        click.echo(f"submitted {run_id} for {place}; follow with: orchestrator watch {run_id}")
    for wait in waits:
        click.echo(f"the run waits: {wait}", err=True)
    return 0


def _submit_run(
    connection: "psycopg.Connection", settings: Settings, workspace: str, order: Submission
) -> tuple[str, dict[str, Any]]:
    from orchestrator.postgres import submissions  # noqa: PLC0415 - only with a team store

    run_id = new_run_id(utc_now())
    submissions.submit_run(
        connection,
        run_id,
        workspace,
        order.loaded.playbook.name,
        order.document(),
        version=order.version,
        by=find_actor(),
        budget=find_budget(settings, workspace),
    )
    return run_id, {"run_id": run_id, "state": "planning", "workspace": workspace, "runs": [run_id]}


def _submit_fleet(
    connection: "psycopg.Connection", settings: Settings, names: Sequence[str], order: Submission
) -> tuple[str, dict[str, Any]]:
    from orchestrator.postgres import submissions  # noqa: PLC0415 - only with a team store

    first = order.loaded.playbook.fleet.first
    for name, source in (
        (first, "the playbook's `fleet.first`"),
        *((each, "--skip-unreachable") for each in order.skip),
    ):
        require_known(name, names, source)
    now = utc_now()
    fleet_id, members = new_fleet_id(now), dict(zip(names, new_run_ids(now, len(names)), strict=True))
    submissions.submit_fleet(
        connection,
        fleet_id,
        members,
        order.loaded.playbook.name,
        order.document(),
        version=order.version,
        by=find_actor(),
        budgets={name: find_budget(settings, name) for name in names},
    )
    runs = [{"workspace": name, "run_id": run_id} for name, run_id in members.items()]
    document = {"fleet_id": fleet_id, "state": "planning", "workspaces": runs}
    return fleet_id, {**document, "runs": [fleet_id, *members.values()]}


def _choose_workspaces(known: Sequence[str], options: Sequence[str], playbook: Sequence[str] | None) -> Sequence[str]:
    """Choose the workspaces of a submitted run.

    Args:
        known: the workspaces of the settings and of the store.
        options: the patterns of `--workspace`.
        playbook: the patterns of the playbook.

    Raises:
        UsageError: when no workspace is meant.
    """
    if not known:
        hint = "start a worker with a section [workspaces.NAME], or add the section here"
        raise UsageError("the team store and the settings have no workspace", hint=hint)
    if not options and not playbook:
        raise UsageError("--submit needs a workspace", hint=f"add --workspace NAME; known: {', '.join(known[:5])}")
    source = "--workspace" if options else "the playbook's `workspaces`"
    return match_workspaces(known, options or playbook or (), source)
