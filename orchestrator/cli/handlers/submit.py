"""`orchestrator run --submit`."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from orchestrator.audit.store import new_run_id
from orchestrator.cli.handlers.store import require_url
from orchestrator.errors import UsageError
from orchestrator.playbook.load import find_playbook, load_playbook, parse_assignments
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.playbook.value_types import AUTO
from orchestrator.runs.start import find_actor
from orchestrator.runs.submission import FORMAT, Submission
from orchestrator.settings.load import Settings, load_settings
from orchestrator.settings.workspaces import match_workspaces
from orchestrator.text import plural
from orchestrator.times import utc_now

_OWN_SECTIONS = ("store.", "log.", "audit.")
"""Settings of the submitting command itself; all others are the worker's."""
_USUAL_RATE = 5.0


def submit_playbook(
    playbook: str,
    variables: tuple[str, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    expect: int | None,
    *,
    workspaces: tuple[str, ...],
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    ignore_running: bool,
    break_freeze: str | None,
    as_json: bool,
) -> int:
    """Submit a run to the team store; a worker plans the run and carries the run out."""
    from orchestrator.postgres import submissions  # noqa: PLC0415 - only with a team store
    from orchestrator.postgres.connect import connect  # noqa: PLC0415 - the same

    for each in assignments:
        if not each.startswith(_OWN_SECTIONS):
            hint = "change the settings of the worker, or the playbook"
            raise UsageError(f"--submit excludes --set {each.partition('=')[0]} and --profile", hint=hint)
    loaded = load_playbook(find_playbook(playbook), parse_assignments(variables))
    order = Submission(loaded, expect, Narrowing.parse_options(only, exclude), ignore_running, break_freeze)
    settings = load_settings(config, assignments)
    with connect(require_url(settings.store), listen=settings.store.listen) as connection:
        known = tuple(dict.fromkeys([*settings.workspaces, *submissions.list_workspaces(connection)]))
        workspace = _choose_workspace(known, workspaces, loaded.playbook.workspaces)
        run_id = new_run_id(utc_now())
        submissions.submit_run(
            connection,
            run_id,
            workspace,
            loaded.playbook.name,
            order.document(),
            version=FORMAT,
            by=find_actor(),
            budget=_budget_of(settings, workspace),
        )
        run = submissions.find_run(connection, run_id)
        wait = submissions.explain_wait(run, submissions.list_workers(connection))
    if as_json:
        click.echo(json.dumps({"run_id": run_id, "state": run.state, "workspace": workspace}, indent=2))
    else:
        click.echo(f"submitted {run_id} for workspace {workspace}; follow with: orchestrator watch {run_id}")
    if wait is not None:
        click.echo(f"the run waits: {wait}", err=True)
    return 0


def _choose_workspace(known: Sequence[str], options: Sequence[str], playbook: Sequence[str] | None) -> str:
    """Choose the workspace of a submitted run.

    Args:
        known: the workspaces of the settings and of the store.
        options: the patterns of `--workspace`.
        playbook: the patterns of the playbook.

    Raises:
        UsageError: when no workspace, or more than one workspace, is meant.
    """
    if not known:
        hint = "start a worker with a section [workspaces.NAME], or add the section here"
        raise UsageError("the team store and the settings have no workspace", hint=hint)
    if not options and not playbook:
        raise UsageError("--submit needs a workspace", hint=f"add --workspace NAME; known: {', '.join(known[:5])}")
    source = "--workspace" if options else "the playbook's `workspaces`"
    names = match_workspaces(known, options or playbook or (), source)
    if len(names) > 1:
        hint = f"name one workspace, such as --workspace {names[0]}"
        raise UsageError(f"{plural(len(names), 'workspace')} match, but --submit takes one", hint=hint)
    return names[0]


def _budget_of(settings: Settings, workspace: str) -> tuple[float, int]:
    """Return rate and burst for a workspace without a budget in the store; a worker's own settings replace both."""
    rate = (settings.for_workspace(workspace) if workspace in settings.workspaces else settings).rate
    requests = rate.requests_per_second
    return (_USUAL_RATE if requests == AUTO else requests), rate.burst
