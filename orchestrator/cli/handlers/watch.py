"""`orchestrator watch`."""

import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import structlog

from orchestrator.audit.fleet_store import is_fleet_id
from orchestrator.audit.replay import RunState
from orchestrator.audit.verify import RecordCheck
from orchestrator.cli.event_log import configure_log, run_log
from orchestrator.cli.handlers.show import find_exit_code
from orchestrator.cli.handlers.store import require_url
from orchestrator.cli.print_error import print_error
from orchestrator.errors import OrchestratorError, StoreDownError
from orchestrator.outcome import Exit
from orchestrator.settings.load import Settings, load_settings
from orchestrator.text import safe_text

if TYPE_CHECKING:
    import psycopg

    from orchestrator.postgres.submissions import RunRow

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
        self._seq, self._check = 0, RecordCheck()
        self._said: str | None = None

    def follow(self) -> "RunRow":
        """Return the run at its end, or once only a person can continue the run.

        Raises:
            UsageError: when there is no such run.
            SettingsError: when the user may not read.
            AlteredError: when a record does not follow the record before.
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
            if run.finished_at is not None or run.is_left:
                return run
            self._describe(run, explain_wait(run, list_workers(connection)) if run.is_free else None)
            time.sleep(_POLL_S)

    def _apply(self, line: bytes) -> None:
        record = self._check.parse_line(line)
        self._seq = record["seq"]
        self.state.apply_record(record)
        self._log(record)

    def _describe(self, run: "RunRow", wait: str | None) -> None:
        """Log the holder of the run, or the reason for its wait, at each change."""
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
        """Return the error for a run without a plan, or for a run in need of a person."""
        if run.finished_at is not None:
            return None if self.state.has_plan or run.reason is None else OrchestratorError(run.reason)
        message = f"no worker continues the run: {run.reason or 'it was interrupted by a person'}"
        hint = f"`orchestrator resume {run.run_id}`, or `orchestrator abandon {run.run_id}`"
        if run.seq == 0:  # no log to resume
            hint = f"nothing was sent: `orchestrator cancel {run.run_id}`, then submit again"
        return OrchestratorError(message, hint=hint)
