"""Runs of the team store seen from outside: submit, read, cancel; and the list of workers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.postgres.migrate import explain_errors
from orchestrator.text import plural

if TYPE_CHECKING:
    import psycopg

_OPERATOR = "use a user with the role orchestrator_operator"
_VIEWER = "use a user with the role orchestrator_viewer or orchestrator_operator"

_PAGE = 200
WORKER_SEEN_S = 15.0
"""Seconds since the last sign of a worker; afterwards the worker counts as gone."""

_RUN = """
SELECT run_id, workspace, playbook, state, holder,
    lease_until IS NOT NULL AND lease_until >= clock_timestamp(),
    adopt, epoch, seq, format, stop_wanted, stop_by, exit_code, reason, submitted_by, db_user::text, submitted_at,
    finished_at, fleet_id
  FROM orchestrator.runs
"""
_WORKSPACES = "SELECT name FROM orchestrator.workspaces WHERE name NOT LIKE '%:%' ORDER BY name"
_WORKERS = """
SELECT holder, version, format, workspaces, db_user::text, extract(epoch FROM clock_timestamp() - seen_at)::float8
  FROM orchestrator.workers ORDER BY holder
"""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in the team store.

    Attributes:
        run_id: the run.
        workspace: the name of the workspace; None for a fleet run.
        playbook: the name of the playbook.
        state: `planning`, `planned`, `ready`, `finished`, `left` or `void`.
        holder: the process of the last take; None without a process.
        is_held: whether the lease of the holder lasts.
        adopt: whether any worker may continue the run.
        epoch: the number of takes.
        seq: the number of records.
        format: the version of the order; older workers leave the run alone.
        stop_wanted: `gracefully` or `at_once` for a cancelled run; None otherwise.
        stop_by: user@host of the person that cancelled the run.
        exit_code: the exit code of a finished run.
        reason: the reason of a refusal, or of an early end.
        submitted_by: user@host of the person that submitted the run.
        db_user: the same, attested by the database.
        submitted_at: the time of the submission.
        finished_at: the time of the end; None for an unfinished run.
        fleet_id: the fleet run of the run; None for a run of its own.
    """

    run_id: str
    workspace: str | None
    playbook: str
    state: str
    holder: str | None
    is_held: bool
    adopt: bool
    epoch: int
    seq: int
    format: int
    stop_wanted: str | None
    stop_by: str | None
    exit_code: int | None
    reason: str | None
    submitted_by: str
    db_user: str
    submitted_at: datetime
    finished_at: datetime | None
    fleet_id: str | None = None

    @property
    def is_free(self) -> bool:
        """Whether the run waits for a worker."""
        return self.state in {"planning", "ready"} and not self.is_held and (self.adopt or self.epoch == 0)

    @property
    def is_left(self) -> bool:
        """Whether only a person can continue the run."""
        return not self.is_held and not self.is_free and self.finished_at is None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker of the team store.

    Attributes:
        holder: the name of the process.
        version: the version of the program.
        format: the newest format of runs that the worker can carry out.
        workspaces: the workspaces of its keys.
        db_user: its user of the database.
        seen_s: seconds since its last sign.
    """

    holder: str
    version: str
    format: int
    workspaces: Sequence[str]
    db_user: str
    seen_s: float

    @property
    def is_alive(self) -> bool:
        """Whether the worker gave a sign a short time ago."""
        return self.seen_s < WORKER_SEEN_S

    def may_take(self, run: RunRow) -> bool:
        """Whether the worker lives, and has the key and the version for a run."""
        return self.has_key(run) and run.format <= self.format

    def has_key(self, run: RunRow) -> bool:
        """Whether the worker lives, and has the key for a run; a fleet run needs no key."""
        return self.is_alive and (run.workspace is None or run.workspace in self.workspaces)


@dataclass(frozen=True, slots=True)
class MemberRow:
    """The run of one workspace in a fleet run.

    Attributes:
        workspace: the name of the workspace.
        run_id: the run.
        state: as in `RunRow`.
        targets: the number of targets; None before its plan.
        verdict: the verdict of the coordinator; None before the verdict.
        exit_code: the exit code of an ended run.
        reason: the reason of a refusal, or of an early end.
    """

    workspace: str
    run_id: str
    state: str
    targets: int | None
    verdict: str | None
    exit_code: int | None
    reason: str | None

    def describe(self) -> str:
        """Describe the state for people."""
        if self.state == "finished":
            return f"finished (exit {self.exit_code})"
        if self.state in {"void", "left"}:
            return self.reason or "nothing was sent"
        if self.targets is None:
            return "waits for its plan"
        targets = plural(self.targets, "target")
        return f"{targets}: {'waits for the others' if self.verdict is None else 'is carried out'}"


def list_workspaces(connection: "psycopg.Connection") -> tuple[str, ...]:
    """List the workspaces of the store with a name in the settings of a machine: no worker has a default key.

    Raises:
        SettingsError: when the user may not read.
        StoreDownError: when the connection breaks.
    """
    with explain_errors(_VIEWER):
        rows = connection.execute(
            "SELECT name FROM orchestrator.workspaces WHERE name NOT LIKE '%:%' ORDER BY name"
        ).fetchall()
    return tuple(name for (name,) in rows)


def submit_run(
    connection: "psycopg.Connection",
    run_id: str,
    workspace: str,
    playbook: str,
    spec: Mapping[str, Any],
    *,
    version: int,
    by: str,
    budget: tuple[float, int],
) -> None:
    """Submit a run and its job, in one transaction.

    Args:
        connection: the connection.
        run_id: a new id.
        workspace: the name of the workspace.
        playbook: the name of the playbook.
        spec: the order, as JSON.
        version: the format of the order.
        by: user@host of the person.
        budget: rate and burst of the workspace, for a workspace without a budget so far.

    Raises:
        SettingsError: when the user may not submit.
        StoreDownError: when the connection breaks.
    """
    with explain_errors(_OPERATOR), connection.transaction():
        _set_budget(connection, workspace, budget, by)
        connection.execute(
            "SELECT orchestrator.submit_run(%s, %s, %s, NULL, %s, %s, 0, 'planning', true, %s)",
            [run_id, workspace, playbook, json.dumps(spec), version, by],
        )
        connection.execute("SELECT orchestrator.queue_run(%s)", [run_id])


def submit_fleet(
    connection: "psycopg.Connection",
    fleet_id: str,
    members: Mapping[str, str],
    playbook: str,
    spec: Mapping[str, Any],
    *,
    version: int,
    by: str,
    budgets: Mapping[str, tuple[float, int]],
) -> None:
    """Submit a fleet run, a run for each workspace, and their jobs, in one transaction.

    Args:
        connection: the connection.
        fleet_id: a new id.
        members: a new run id for each workspace.
        playbook: the name of the playbook.
        spec: the order, as JSON.
        version: the format of the order.
        by: user@host of the person.
        budgets: rate and burst of each workspace, for a workspace without a budget so far.

    Raises:
        SettingsError: when the user may not submit.
        StoreDownError: when the connection breaks.
    """
    with explain_errors(_OPERATOR), connection.transaction():
        for workspace, budget in budgets.items():
            _set_budget(connection, workspace, budget, by)
        connection.execute(
            "SELECT orchestrator.submit_fleet(%s, %s, NULL, %s, %s, 0, %s, %s::text[], %s::text[])",
            [fleet_id, playbook, json.dumps(spec), version, by, list(members.values()), list(members)],
        )
        for run_id in (fleet_id, *members.values()):
            connection.execute("SELECT orchestrator.queue_run(%s)", [run_id])


def _set_budget(connection: "psycopg.Connection", workspace: str, budget: tuple[float, int], by: str) -> None:
    """Give a workspace rate and burst, unless the workspace has both."""
    connection.execute("SELECT FROM orchestrator.set_budget(%s, %s, %s, false, %s)", [workspace, *budget, by])


def list_members(connection: "psycopg.Connection", fleet_id: str) -> list[MemberRow]:
    """List the runs of a fleet run, by name of the workspace.

    Raises:
        SettingsError: when the user may not read.
        StoreDownError: when the connection breaks.
    """
    with explain_errors(_VIEWER):
        rows = connection.execute(
            "SELECT workspace, run_id, state, (plan ->> 'targets')::int, verdict, exit_code, reason"
            " FROM orchestrator.runs WHERE fleet_id = %s ORDER BY workspace",
            [fleet_id],
        ).fetchall()
    return [MemberRow(*row) for row in rows]


def find_run(connection: "psycopg.Connection", name: str) -> RunRow:
    """Find a run by its id, by a unique prefix of its id, or by `last` for the newest run.

    Raises:
        UsageError: when there is no such run, or when several ids begin with the prefix.
        SettingsError: when the user may not read.
        StoreDownError: when the connection breaks.
    """
    last = b" WHERE fleet_id IS NULL ORDER BY submitted_at DESC LIMIT 1"
    begun = b" WHERE starts_with(run_id, %s) ORDER BY run_id DESC LIMIT 6"
    with explain_errors(_VIEWER):
        if name == "last":
            rows = connection.execute(_RUN.encode() + last).fetchall()
        else:
            rows = connection.execute(_RUN.encode() + b" WHERE run_id = %s", [name]).fetchall()
            rows = rows or connection.execute(_RUN.encode() + begun, [name]).fetchall()
    found = [RunRow(*row) for row in rows if name]
    if len(found) > 1:
        hint = f"give more of the id: {', '.join(run.run_id for run in found[:5])}"
        raise UsageError(f"several run ids begin with {name!r}", hint=hint)
    if not found:
        raise UsageError(f"there is no run {name!r} in the team store", hint="`orchestrator runs` lists the runs")
    return found[0]


def cancel_run(connection: "psycopg.Connection", run_id: str, *, at_once: bool, by: str) -> bool:
    """Ask the holder of a run to end the run for good; False for a finished run.

    Raises:
        SettingsError: when the user may not cancel.
        StoreDownError: when the connection breaks.
    """
    with explain_errors(_OPERATOR):
        row = connection.execute("SELECT orchestrator.cancel_run(%s, %s, %s)", [run_id, at_once, by]).fetchone()
    return row == (True,)


def list_workers(connection: "psycopg.Connection") -> list[WorkerRow]:
    """List the workers of the last day.

    Raises:
        SettingsError: when the user may not read.
        StoreDownError: when the connection breaks.
    """
    with explain_errors(_VIEWER):
        rows = connection.execute(_WORKERS.encode()).fetchall()
    return [WorkerRow(*row) for row in rows]


def list_unfinished(connection: "psycopg.Connection") -> list[RunRow]:
    """List the unfinished runs, oldest first.

    Raises:
        SettingsError: when the user may not read.
        StoreDownError: when the connection breaks.
    """
    with explain_errors(_VIEWER):
        rows = connection.execute(_RUN.encode() + b" WHERE finished_at IS NULL ORDER BY run_id").fetchall()
    return [RunRow(*row) for row in rows]


def list_without_log(connection: "psycopg.Connection") -> Iterator[RunRow]:
    """List the runs without a log, newest first: refused runs, and runs not begun. Fleet runs are left out.

    Raises:
        SettingsError: when the user may not read.
        StoreDownError: when the connection breaks.
    """
    below = "~"  # after all ids
    while True:
        where = b" WHERE seq = 0 AND workspace IS NOT NULL AND run_id < %s ORDER BY run_id DESC LIMIT %s"
        with explain_errors(_VIEWER):
            rows = connection.execute(_RUN.encode() + where, [below, _PAGE]).fetchall()
        yield from (RunRow(*row) for row in rows)
        if len(rows) < _PAGE:
            return
        below = rows[-1][0]


def read_lines(connection: "psycopg.Connection", run_id: str, after: int) -> list[bytes]:
    """Read the lines of a run's log after a record, with their newlines.

    Raises:
        SettingsError: when the user may not read.
        StoreDownError: when the connection breaks.
    """
    with explain_errors(_VIEWER):
        rows = connection.execute(
            "SELECT line FROM orchestrator.records WHERE run_id = %s AND seq > %s ORDER BY seq", [run_id, after]
        ).fetchall()
    return [bytes(line) for (line,) in rows]


def explain_wait(run: RunRow, workers: Sequence[WorkerRow]) -> str | None:
    """Explain why a run waits for a worker; None for a run that a worker will take, or has."""
    if not run.is_free:
        return None
    alive = [worker for worker in workers if worker.is_alive]
    if not alive:
        return "no worker is running: start `orchestrator worker`"
    with_key = [worker for worker in alive if worker.has_key(run)]
    if not with_key:
        return f"no running worker has a key for workspace {run.workspace!r}"
    if not any(worker.may_take(run) for worker in with_key):
        return f"the run needs a newer worker: format {run.format}"
    return None
