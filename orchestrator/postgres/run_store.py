"""Runs in the team store, each with a mirror of its log in a file of this machine."""

import asyncio
from asyncio import wrap_future
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from errno import EIO
from pathlib import Path
from typing import Any

import anyio.to_thread

from orchestrator.audit.events import Event
from orchestrator.audit.fleet_log import FleetEvent
from orchestrator.audit.log import AuditLog, Batch, Observer
from orchestrator.audit.record import Chain, Record
from orchestrator.audit.store import (
    LAST,
    MIRRORS,
    FileRun,
    FileRunStore,
    LogVersion,
    choose_id,
    is_file,
    is_run_id,
    open_run_file,
)
from orchestrator.audit.verify import Reading, Take, Verdict, check_lines
from orchestrator.errors import AlteredError, OrchestratorError, RunHeldError, SettingsError, UsageError
from orchestrator.outcome import Ending
from orchestrator.postgres.approvals import StoreApprovals
from orchestrator.postgres.check import check_durability, check_server
from orchestrator.postgres.connect import connect
from orchestrator.postgres.lease import FORMAT, Lease, Release
from orchestrator.postgres.migrate import check_version, explain_errors, read_version
from orchestrator.postgres.mirror import LogEnd, MirrorEndError, update_mirror
from orchestrator.postgres.permit import LeasePermit
from orchestrator.postgres.store_thread import NewRun, StoreThread
from orchestrator.times import format_duration

_MOST = 2000
"""Lines of one answer."""
_OUTSIDE = frozenset({Ending.CLOUD_DOWN, Ending.KEY_REFUSED, Ending.LOG_FAILED})
"""Interruptions by the API or the store: a worker continues the run after a while."""
_AGAIN_S = 60.0
_PATIENCE = 3.0
"""Seconds without an answer of the database before a warning."""
_MOVE = "move the mirror away and try again; then check with `orchestrator audit verify`"


class RunEnd:
    """What the records of a log say about the end of the run.

    Attributes:
        exit_code: the exit code in `run.finished` or `fleet.finished`; None for an unfinished run.
        interrupted_by: the reason in the last `run.interrupted`; None before, and after a resume.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self.interrupted_by: object = None

    def observe(self, record: Record) -> None:
        """Note the end of the run, or of the fleet run."""
        event = record.get("event")
        if event in {Event.RUN_FINISHED, FleetEvent.FLEET_FINISHED}:
            code = record.get("exit_code")
            self.exit_code = code if isinstance(code, int) else 1
        elif event in {Event.RUN_INTERRUPTED, Event.RUN_RESUMED}:
            self.interrupted_by = record.get("reason")

    def choose_release(self) -> Release:
        """Return the future of the run at the end of its lease."""
        if self.exit_code is not None:
            return Release("finished", self.exit_code)
        if self.interrupted_by == Ending.TIMED_OUT:
            return Release("left", reason="the run took longer than settle.whole_run")
        if self.interrupted_by in _OUTSIDE:
            return Release("ready", reason=f"interrupted: {self.interrupted_by}", wait=_AGAIN_S)
        return Release("ready")


class StoreBacking:
    """Log of a run in the team store, held under a lease.

    Attributes:
        lease: the lease of the run.
        permit: the permit to send requests, by the lease.
        holder: the number of the take, and the name of this process.
    """

    def __init__(self, store: "StoreRunStore", lease: Lease, end: RunEnd) -> None:
        thread = store.thread
        self.lease, self.location = lease, str(store.path_of(lease.run_id))
        self.holder = {"epoch": lease.epoch, "holder": thread.terms.holder}
        self.permit = LeasePermit(lease, thread.terms.request, thread.terms.outage)
        self._store, self._thread, self._end = store, thread, end
        self._is_closed = False
        self._warn: Callable[..., object] = lambda *_, **__: None

    async def write(self, batch: Batch) -> None:
        """Append the lines in the database, as `Backing.write`."""
        outage = self._thread.terms.outage
        writing = wrap_future(self._thread.start_write(self.lease, batch))
        done, _ = await asyncio.wait({writing}, timeout=min(_PATIENCE, outage / 2))
        if not done:
            rest = f"nothing more is sent; after {format_duration(outage)} the run ends, resumable"
            self._warn("store.down", run_id=self.lease.run_id, note=f"The team store does not answer: {rest}.")
        await writing
        if not done:
            note = "The team store answers again: the run continues."
            self._warn("store.up", run_id=self.lease.run_id, note=note)
        self.observe(batch)

    def report_outages(self, warn: Callable[..., object]) -> None:
        """Report outages of the database, as `Backing.report_outages`."""
        self._warn = warn

    def observe(self, batch: Batch) -> None:
        """Note the end of the run in a durable batch."""
        for record, _ in batch:
            self._end.observe(record)

    def end_wait(self) -> None:
        """Wait no longer for the database, as `Backing.end_wait`."""
        self.lease.is_hurried = True

    def close(self) -> None:
        """Let the run go: finished if its log says so. Without the database the lease runs out by itself."""
        # A lease that ran out needs no end, and the end of many runs must not wait for a database that is down.
        if self._is_closed or not self.lease.lasts(0.0):
            return
        self._is_closed = True
        release = Release(None, self._end.exit_code) if self.lease.state == "finished" else self._end.choose_release()
        if self.lease.has_other_end:
            release = Release("left", self._end.exit_code, "the log in the store has another end than its holder wrote")
        with suppress(OrchestratorError, OSError):
            if self._thread.let_go(self.lease, release):
                self._store.update(self.lease.run_id)  # people find the log where the command says


class StoreRun(FileRun):
    """A run of the team store. Its path is the mirror."""

    def __init__(self, store: "StoreRunStore", run_id: str) -> None:
        super().__init__(store.path_of(run_id))
        self._store = store

    def read_lines(self) -> Iterator[bytes]:
        """Bring the mirror up to date, then read its lines, as `StoredRun.read_lines`."""
        self._store.update(self.run_id)
        yield from super().read_lines()

    def read_version(self) -> LogVersion:
        """Bring the mirror up to date, and read its version."""
        self._store.update(self.run_id)
        return super().read_version()

    def is_locked(self) -> bool:
        """Return True if a process holds the run under a lease, as `StoredRun.is_locked`."""
        row = self._store.read_row(self.run_id)
        return (row["lease_left"] or 0) > 0

    def is_continued(self) -> bool:
        """Return True if a worker continues the run, as `StoredRun.is_continued`."""
        statement = "SELECT adopt AND state IN ('planning', 'ready') FROM orchestrator.runs WHERE run_id = %s"
        return self._store.thread.query(statement, [self.run_id]) == [(True,)]

    def open_log(self, take: Take) -> tuple[AuditLog, Reading]:
        """Take the run, then read its log, as `StoredRun.open_log`."""
        thread = self._store.thread
        lease = thread.find_lease(self.run_id) or self._take()
        end = RunEnd()

        def observe(record: Record) -> None:
            """Note the end, and pass the record on."""
            end.observe(record)
            take(record)

        backing = StoreBacking(self._store, lease, end)
        try:
            reading = check_lines(self.read_lines(), observe)
            self._refuse_other_end(reading, lease)
        except OSError as error:
            backing.close()
            raise SettingsError(f"the audit log can't be read: {error.strerror or error}", file=self.path) from error
        except BaseException:
            backing.close()
            raise
        return AuditLog(backing, reading.chain, wall=thread.wall), reading

    def open_approvals(self) -> StoreApprovals:
        """Store of the answers in the database."""
        return StoreApprovals(self.run_id, self._store.thread.start_query)

    def _refuse_other_end(self, reading: Reading, lease: Lease) -> None:
        if reading.verdict is not Verdict.ALTERED and reading.chain.seq != lease.seq:
            raise SettingsError("the mirror differs from the log in the store", file=self.path, hint=_MOVE)

    def _take(self) -> Lease:
        thread = self._store.thread
        lease = thread.take(self.run_id, "person") or thread.take(self.run_id, "finished")
        if lease is not None:
            return lease
        try:
            row = self._store.read_row(self.run_id)
        except FileNotFoundError as error:
            raise SettingsError(f"the audit log can't be continued: {error.strerror}", file=self.path) from error
        if row["format"] > FORMAT:
            message = f"the run has format {row['format']}; this orchestrator knows {FORMAT}"
            raise SettingsError(message, file=self.path, hint="install a newer orchestrator")
        left = format_duration(max(row["lease_left"] or 0.0, 1.0))
        raise RunHeldError(
            f"another process executes this run: {row['holder'] or 'ended just now'}",
            file=self.location,
            hint=f"wait for its end, or stop it first; after a crash its lease ends in {left}",
        )


class _StoredLog:
    """The log of a run in the store, for its mirror."""

    def __init__(self, store: "StoreRunStore", run_id: str) -> None:
        self._store, self._run_id = store, run_id

    def read_end(self) -> LogEnd:
        """Read the number and the hash of the last record."""
        row = self._store.read_row(self._run_id)
        return LogEnd(row["seq"], row["head"])

    def read_lines(self, after: int) -> list[tuple[int, bytes]]:
        """Read lines after a record."""
        statement = "SELECT seq, line FROM orchestrator.read_records(%s, %s, %s)"
        return [(seq, bytes(line)) for seq, line in self._store.thread.read(statement, [self._run_id, after, _MOST])]

    def hash_lines(self, last: int) -> str:
        """Hash the lines up to a record."""
        return str(self._store.thread.read("SELECT orchestrator.hash_records(%s, %s)", [self._run_id, last])[0][0])


class ListedRun(FileRun):
    """A run of a list: its mirror is up to date, and the lock is as at the time of the list."""

    def __init__(self, store: "StoreRunStore", run_id: str, *, is_held: bool) -> None:
        super().__init__(store.path_of(run_id))
        self._store, self._is_held = store, is_held

    def is_locked(self) -> bool:
        """Return True if a process held the run at the time of the list."""
        return self._is_held

    def open_log(self, take: Take) -> tuple[AuditLog, Reading]:
        """Take the run, then read its log, as `StoredRun.open_log`."""
        return self._store.get_run(self.run_id).open_log(take)

    def open_approvals(self) -> StoreApprovals:
        """Store of the answers in the database."""
        return self._store.get_run(self.run_id).open_approvals()


class UnreadableRun(ListedRun):
    """A run of a list: its mirror ends otherwise than the log in the store."""

    def __init__(self, store: "StoreRunStore", run_id: str, reason: str, *, is_held: bool) -> None:
        super().__init__(store, run_id, is_held=is_held)
        self._reason = reason

    def read_lines(self) -> Iterator[bytes]:
        """Raise OSError with the reason."""
        raise OSError(EIO, self._reason)

    def read_version(self) -> LogVersion:
        """Raise OSError with the reason."""
        raise OSError(EIO, self._reason)


class StoreRunStore(FileRunStore):
    """The runs of the team store, as `RunStore`. The files are mirrors of the logs.

    Attributes:
        thread: the connection of this process.
    """

    def __init__(
        self,
        thread: StoreThread,
        state_dir: Path,
        workspace: str | None,
        budget: tuple[float, int],
        by: str,
        *,
        compare: bool = False,
    ) -> None:
        """Set up, without a connection yet.

        Args:
            thread: the connection of this process.
            state_dir: the state folder.
            workspace: the workspace of new runs; None for fleet runs.
            budget: rate and burst of the workspace, for a workspace without a budget in the store.
            by: user@host.
            compare: whether to compare every byte of the mirrors with the store.
        """
        super().__init__(state_dir)
        self.folder = self.folder.with_name(MIRRORS)
        self.thread = thread
        self._workspace, self._budget, self._by, self._compare = workspace, budget, by, compare

    def prepare(self) -> None:
        """Check the database, as `RunStore.prepare`.

        Raises:
            SettingsError: when the database is unusable, or could lose commits.
            StoreDownError: when the database can't be reached.
        """
        super().prepare()
        terms = self.thread.terms
        with connect(terms.url, listen=terms.listen) as connection, explain_errors():
            check_server(connection)
            check_durability(connection)
            check_version(read_version(connection))

    def create_log(
        self, run_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: Iterable[Observer] = ()
    ) -> AuditLog:
        """Create the log of a new run, as `RunStore.create_log`."""
        log, batch = self._write_first(run_id, list(first))
        log.observers += observers
        log.settle(batch)
        return log

    async def begin_log(
        self, run_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: Iterable[Observer] = ()
    ) -> AuditLog:
        """Create the log of a new run in a thread, as `RunStore.begin_log`."""
        log, batch = await anyio.to_thread.run_sync(self._write_first, run_id, list(first))
        log.observers += observers
        log.settle(batch)
        return log

    def _write_first(self, run_id: str, records: list[tuple[str, dict[str, object]]]) -> tuple[AuditLog, Batch]:
        """Create a log, and make its first records durable."""
        submitted = self.thread.find_lease(run_id)
        lease = submitted or self._begin(run_id, records)
        log = AuditLog(StoreBacking(self, lease, RunEnd()), Chain(run_id), wall=self.thread.wall)
        batch = log.take_first(records)
        try:
            self.thread.start_write(lease, batch).result()
        except BaseException:
            if submitted is None:  # a submitted run waits for the end of the outage
                with suppress(OrchestratorError):
                    self.thread.let_go(lease, Release("void", reason="the log was never begun"))
            raise
        return log, batch

    def _begin(self, run_id: str, records: list[tuple[str, dict[str, object]]]) -> Lease:
        playbook = records[0][1].get("playbook")
        name = str(playbook["name"]) if isinstance(playbook, dict) and "name" in playbook else "adhoc"
        lease = self.thread.begin(NewRun(run_id, self._workspace, name, self._by, self._budget))
        if lease is None:
            raise SettingsError(f"the store has a run {run_id} already", hint="nothing was sent; start a new run")
        return lease

    def read_row(self, run_id: str) -> dict[str, Any]:
        """Read the facts of a run.

        Raises:
            FileNotFoundError: when there is no such run, or the run has no log yet.
            StoreDownError: when the database can't be reached.
        """
        rows = self._read_rows(run_id)
        if not rows or rows[0]["seq"] == 0:
            raise FileNotFoundError(2, "the team store has no log of this run", run_id)
        return rows[0]

    def _read_rows(self, run_id: str | None = None) -> list[dict[str, Any]]:
        columns = ("run_id", "seq", "head", "state", "format", "holder", "lease_left")
        rows = self.thread.query(f"SELECT {', '.join(columns)} FROM orchestrator.read_runs(%s)", [run_id])  # noqa: S608 - constants
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def update(self, run_id: str) -> None:
        """Bring the mirror of a run up to date.

        Raises:
            FileNotFoundError: when there is no log of the run.
            SettingsError: when the mirror can't be written, or differs from the store.
            AlteredError: the same, for a comparison of every byte.
            StoreDownError: when the database can't be reached.
        """
        self._update(self.read_row(run_id))

    def _update(self, row: dict[str, Any]) -> None:
        run_id, end = row["run_id"], LogEnd(row["seq"], row["head"])
        update_mirror(self.path_of(run_id), end, _StoredLog(self, run_id), compare=self._compare)

    def get_run(self, run_id: str) -> StoreRun:
        """Return a run by its id."""
        return StoreRun(self, run_id)

    def find_run(self, name: str) -> FileRun:
        """Find a run, as `RunStore.find_run`."""
        path = self.find_log(name)
        return self.get_run(path.stem) if self._has_mirror(path) else open_run_file(path)

    def find_log(self, name: str) -> Path:
        """Find a log, as `FileRunStore.find_log`, and bring its mirror up to date."""
        path = Path(name)
        if name != LAST and is_file(path):
            if self._has_mirror(path):
                self.update(path.stem)
            return path
        if is_run_id(name):
            with suppress(FileNotFoundError):
                self.update(name)
                return self.path_of(name)
        ids = list(filter(is_run_id, self.list_ids()))
        if name == LAST:
            run_id = next(iter(ids), None)
            if run_id is None:
                raise UsageError("there is no last run", hint="there are no runs in the team store")
        else:
            run_id = choose_id(name, ids, self, self.folder, "run")
        self.update(run_id)
        return self.path_of(run_id)

    def _has_mirror(self, path: Path) -> bool:
        return path.resolve().parent == self.folder.resolve()

    def list_ids(self) -> list[str]:
        """List the ids of all logs, newest first; fleet runs too."""
        return [row["run_id"] for row in self._read_rows() if row["seq"]]

    def list_runs(self) -> Iterator[FileRun]:
        """List the runs, newest first, with their mirrors up to date."""
        return self.list_logs(is_run_id)

    def list_logs(self, includes: Callable[[str], bool]) -> Iterator[FileRun]:
        """List logs, newest first, with their mirrors up to date; a bad mirror is an unreadable run of the list.

        Args:
            includes: returns True for the ids of the list.

        Raises:
            SettingsError: at a bad mirror, for a comparison of every byte.
        """
        for row in self._list_rows(includes):
            run_id, is_held = row["run_id"], (row["lease_left"] or 0) > 0
            try:
                self._update(row)
            except MirrorEndError as error:
                if self._compare:
                    raise
                yield UnreadableRun(self, run_id, error.message, is_held=is_held)
            else:
                yield ListedRun(self, run_id, is_held=is_held)

    def list_paths(self, report: Callable[[OrchestratorError], object]) -> Iterator[Path]:
        """Iterate over the mirrors, those of fleet runs too, as `FileRunStore.list_paths`."""
        for row in self._list_rows(lambda _: True):
            try:
                self._update(row)
            except (MirrorEndError, AlteredError) as error:
                report(error)
            yield self.path_of(row["run_id"])

    def _list_rows(self, includes: Callable[[str], bool]) -> Iterator[dict[str, Any]]:
        return (row for row in self._read_rows() if row["seq"] and includes(row["run_id"]))

    def __iter__(self) -> Iterator[Path]:
        """Iterate over the mirrors, newest first, each up to date; a bad mirror raises as in `update`."""
        for row in self._list_rows(is_run_id):
            self._update(row)
            yield self.path_of(row["run_id"])
