"""`orchestrator watch`, `orchestrator cancel` and `orchestrator workers`: runs of the team store seen from outside."""

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import structlog

from orchestrator.audit.fleet_store import is_fleet_id
from orchestrator.audit.replay import RunState
from orchestrator.cli.event_log import configure_log, run_log
from orchestrator.cli.handlers.show import find_exit_code
from orchestrator.cli.handlers.store import require_url
from orchestrator.cli.print_error import print_error
from orchestrator.cli.terminal_input import open_terminal
from orchestrator.errors import OrchestratorError, StoreDownError, UsageError
from orchestrator.outcome import Exit
from orchestrator.runs.start import find_actor
from orchestrator.settings.load import Settings, load_settings
from orchestrator.text import plural, safe_text
from orchestrator.times import format_duration

if TYPE_CHECKING:
    import psycopg

    from orchestrator.postgres.submissions import RunRow, WorkerRow

_POLL_S = 0.5


def watch_run(run_id: str, config: Path | None, assignments: tuple[str, ...], *, as_json: bool) -> int:
    """Follow a run to its end, and print its summary; returns the exit code of the run."""
    settings = load_settings(config, assignments)
    require_url(settings.store)
    configure_log(settings.log)
    if is_fleet_id(run_id):
        from orchestrator.cli.handlers.fleet.watch import watch_fleet  # noqa: PLC0415 - seldom needed

        return watch_fleet(settings, run_id, as_json=as_json)
    watch = _Watch(settings, run_id)
    run = watch.follow()
    code = watch.find_exit_code(run)
    if watch.state.has_plan:
        _print_run(watch.state, code, watch.location, as_json=as_json)
    elif as_json:
        document = {"run_id": run.run_id, "exit_code": code, "state": run.state, "reason": run.reason}
        click.echo(json.dumps({**document, "counts": {}, "targets": []}, indent=2))
    error = watch.explain_end(run)
    if error is not None:
        print_error(error, as_json=False)
    return code


def _print_run(state: RunState, code: int, location: str, *, as_json: bool) -> None:
    from orchestrator.cli.consoles import stdout_console  # noqa: PLC0415 - takes long to import
    from orchestrator.report.run.text import print_run  # noqa: PLC0415 - the same
    from orchestrator.runs.documents import run_document, write_document  # noqa: PLC0415 - the same

    if as_json:
        write_document(run_document(state, code, location), partial(click.echo, nl=False))
    else:
        print_run(stdout_console(), state, code, location, unfinished=state.finished is None)


class _Watch:
    """Reads a run from the store again and again, and logs every change.

    Attributes:
        state: the replayed state of the log so far.
        location: the place of the log, for people.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self.state = RunState()
        self.location = "the team store"
        self._settings, self._name = settings.store, name
        self._log = run_log(settings.log, self.state)
        self._seq = 0
        self._said: str | None = None

    def follow(self) -> "RunRow":
        """Return the run once the run has ended, or once nobody but a person can continue the run.

        Raises:
            UsageError: when there is no such run.
            SettingsError: when the user may not read.
            StoreDownError: when the database can't be reached at the start, or for longer than `store.outage`.
        """
        down_since: float | None = None
        is_first = True
        while True:
            try:
                with self._connect() as connection:
                    is_first, down_since = False, None
                    return self._follow(connection)
            except StoreDownError as error:
                if is_first:
                    raise
                now = time.monotonic()
                down_since = now if down_since is None else down_since
                if now - down_since > self._settings.outage:
                    raise
                self._say("store.down", note=f"{error.message}; trying again")
            time.sleep(_POLL_S)

    def _connect(self) -> "psycopg.Connection":
        from orchestrator.postgres.connect import connect  # noqa: PLC0415 - only with a team store

        return connect(require_url(self._settings), listen=self._settings.listen)

    def _follow(self, connection: "psycopg.Connection") -> "RunRow":
        from orchestrator.postgres.submissions import explain_wait, find_run, list_workers, read_lines  # noqa: PLC0415

        while True:
            run = find_run(connection, self._name)
            self._name = run.run_id  # `last` is another run later
            self.location = f"run {run.run_id} in database {connection.info.dbname}"
            for line in read_lines(connection, run.run_id, self._seq):
                self._apply(line)
            if run.finished_at is not None or _is_left(run):
                return run
            self._describe(run, explain_wait(run, list_workers(connection)) if run.is_free else None)
            time.sleep(_POLL_S)

    def _apply(self, line: bytes) -> None:
        record = json.loads(line)
        self._seq = record["seq"]
        self.state.apply_record(record)
        self._log(record)

    def _describe(self, run: "RunRow", wait: str | None) -> None:
        """Log who has the run, or why the run waits; each change once."""
        if run.is_held:
            doing = "plans" if run.seq == 0 else "has"
            self._say("watch.held", note=f"{run.holder} {doing} the run")
        else:
            self._say("watch.waiting", note=wait or run.reason or "a worker will take the run")

    def _say(self, event: str, *, note: str) -> None:
        if self._said != note:
            self._said = note
            structlog.get_logger().info(event, run_id=self._name, note=safe_text(note))

    def find_exit_code(self, run: "RunRow") -> int:
        """Return the exit code of the run."""
        if run.exit_code is not None and run.finished_at is not None:
            return run.exit_code
        if run.state == "left" or not self.state.has_plan:
            return int(Exit.ENDED_EARLY)
        return find_exit_code(self.state)

    def explain_end(self, run: "RunRow") -> OrchestratorError | None:
        """Return the error for a run that ended before its plan, or that waits for a person."""
        if run.finished_at is not None:
            return None if self.state.has_plan or run.reason is None else OrchestratorError(run.reason)
        message = f"no worker continues the run: {run.reason or 'it was interrupted by a person'}"
        hint = f"`orchestrator resume {run.run_id}`, or `orchestrator abandon {run.run_id}`"
        return OrchestratorError(message, hint=hint)


def _is_left(run: "RunRow") -> bool:
    """Return True for an unfinished run that only a person can continue."""
    return not run.is_held and (run.state in {"left", "planned"} or not run.is_free)


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
    if _is_left(run):
        hint = f"end it with: orchestrator abandon {run.run_id} --reason TEXT"
        return f"{run.run_id} is marked as cancelled, but no worker may take the run; {hint}"
    return f"{run.run_id} is cancelled; the next worker ends the run" + (f" ({wait})" if wait else "")


def list_workers(config: Path | None, assignments: tuple[str, ...], *, as_json: bool) -> int:
    """List the workers, and the runs that wait for a worker."""
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
