"""`orchestrator cancel`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.handlers.store import require_url
from orchestrator.cli.terminal_input import open_terminal
from orchestrator.errors import UsageError
from orchestrator.runs.stores import find_actor
from orchestrator.settings.load import load_settings
from orchestrator.text import safe_text

if TYPE_CHECKING:
    from orchestrator.postgres.submissions import RunRow


def cancel_run(run_id: str, config: Path | None, assignments: tuple[str, ...], *, at_once: bool, as_json: bool) -> int:
    """Cancel a run: its holder, or the next worker, ends the run for good."""
    from orchestrator.postgres import submissions  # noqa: PLC0415 - only with a team store
    from orchestrator.postgres.connect import connect  # noqa: PLC0415 - the same

    store = load_settings(config, assignments).store
    with connect(require_url(store), listen=store.listen) as connection:
        run = submissions.find_run(connection, run_id)
        if run_id == "last":
            _name_run(run)
        is_new = submissions.cancel_run(connection, run.run_id, at_once=at_once, by=find_actor())
        run = submissions.find_run(connection, run.run_id)
        wait = submissions.explain_wait(run, submissions.list_workers(connection))
    if as_json:
        document = {"run_id": run.run_id, "state": run.state, "stop": run.stop_wanted, "exit_code": run.exit_code}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(_describe_cancelling(run, wait, is_new=is_new))
    return 0


def _name_run(run: "RunRow") -> None:
    """Name the last run on the terminal.

    Raises:
        UsageError: without a terminal.
    """
    keys = open_terminal()
    if keys is None:
        hint = "give the run id; `orchestrator runs` lists the runs"
        raise UsageError("`last` needs a terminal here: stdin is not a terminal", hint=hint)
    playbook, by = safe_text(run.playbook, 100), safe_text(run.submitted_by)
    keys.screen.write(f"The last run is {run.run_id}: {playbook}, submitted by {by}.\n")
    keys.screen.flush()


def _describe_cancelling(run: "RunRow", wait: str | None, *, is_new: bool) -> str:
    if not is_new:
        return f"{run.run_id} has ended already (exit {run.exit_code}); nothing was changed"
    if run.finished_at is not None:
        return f"{run.run_id} is cancelled; nothing was sent"
    if run.is_held:
        return f"{run.run_id}: {safe_text(run.holder)} ends the run; follow with: orchestrator watch {run.run_id}"
    if run.is_left:
        hint = f"end it with: orchestrator abandon {run.run_id} --reason TEXT"
        return f"{run.run_id} is marked as cancelled, but no worker may take the run; {hint}"
    return f"{run.run_id} is cancelled; the next worker ends the run" + (f" ({wait})" if wait else "")
