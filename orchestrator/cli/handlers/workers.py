"""`orchestrator workers`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.handlers.store import require_url
from orchestrator.settings.load import load_settings
from orchestrator.text import plural, safe_text
from orchestrator.times import format_duration

if TYPE_CHECKING:
    from orchestrator.postgres.submissions import RunRow, WorkerRow


def list_workers(config: Path | None, assignments: tuple[str, ...], *, as_json: bool) -> int:
    """List the workers, and the runs in the queue."""
    from orchestrator.postgres import submissions  # noqa: PLC0415 - only with a team store
    from orchestrator.postgres.connect import connect  # noqa: PLC0415 - the same

    store = load_settings(config, assignments).store
    with connect(require_url(store), listen=store.listen) as connection:
        workers = submissions.list_workers(connection)
        runs = submissions.list_unfinished(connection)
    waiting = [(run, submissions.explain_wait(run, workers)) for run in runs if run.is_free]
    if as_json:
        click.echo(json.dumps(_workers_document(workers, runs, waiting), indent=2))
        return 0
    for worker in workers:
        click.echo(_describe_worker(worker, sum(run.is_held and run.holder == worker.holder for run in runs)))
    if not workers:
        click.echo("no worker has been seen; start one with: orchestrator worker")
    for run, wait in waiting:
        click.echo(f"waiting: {run.run_id} ({run.workspace or 'fleet run'}): {wait or 'a worker will take the run'}")
    return 0


def _describe_worker(worker: "WorkerRow", held: int) -> str:
    names = ", ".join(worker.workspaces) or "no workspace"
    seen = (
        f"seen {format_duration(round(worker.seen_s, 1))} ago"
        if worker.is_alive
        else (f"GONE, last seen {format_duration(round(worker.seen_s))} ago")
    )
    return safe_text(f"{worker.holder}: {plural(held, 'run')}, {seen}, version {worker.version}, workspaces: {names}")


def _workers_document(
    workers: Sequence["WorkerRow"], runs: Sequence["RunRow"], waiting: Sequence[tuple["RunRow", str | None]]
) -> dict[str, Any]:
    return {
        "workers": [
            {
                "name": worker.holder,
                "alive": worker.is_alive,
                "seen_s": round(worker.seen_s, 1),
                "version": worker.version,
                "workspaces": list(worker.workspaces),
                "runs": [run.run_id for run in runs if run.is_held and run.holder == worker.holder],
            }
            for worker in workers
        ],
        "waiting": [
            {"run_id": run.run_id, "workspace": run.workspace, "playbook": run.playbook, "reason": wait}
            for run, wait in waiting
        ],
    }
