"""A team for measurements: a PostgreSQL server of its own with durable commits, its store, and worker processes."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.process import COMMAND, UnavailableError, pin_process
from bench.work_folder import WorkFolder
from orchestrator.postgres.connect import connect
from orchestrator.postgres.migrate import migrate
from orchestrator.postgres.run_store import StoreRunStore
from orchestrator.postgres.store_thread import StoreTerms, StoreThread

_DATABASE = "bench"
_PAUSE = 0.02
"""Seconds between two looks at the database."""


class Team:
    """A PostgreSQL server on the server's core, and processes that use it.

    Attributes:
        store: the store of runs of this process.
    """

    def __init__(self, folder: WorkFolder, url: str, store: StoreRunStore) -> None:
        self.store = store
        self._folder, self._url = folder, url
        self._workers: list[subprocess.Popen[bytes]] = []

    def environment(self) -> dict[str, str]:
        """The environment variables of a command that uses the store."""
        return {"ORCHESTRATOR_STORE__URL": self._url}

    def query(self, statement: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute a statement, and return its rows."""
        return self.store.thread.query(statement, arguments)

    def describe_server(self) -> str:
        """Name the version of the server."""
        ((version,),) = self.query("SHOW server_version")
        return f"PostgreSQL {version}"

    def wait_for(self, statement: str, arguments: Sequence[object], seconds: float) -> None:
        """Wait until a statement returns rows.

        Raises:
            UnavailableError: no rows within `seconds`.
        """
        last = time.monotonic() + seconds
        while not self.query(statement, arguments):
            if time.monotonic() > last:
                raise UnavailableError(f"nothing within {seconds:g} s: {statement}")
            time.sleep(_PAUSE)

    def start_worker(self, config: Path, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Start a worker on the client's core, and wait until the store lists the worker."""
        number = len(self._workers)
        state = {"ORCHESTRATOR_STATE_DIR": str(self._folder.path / f"state-{number}")}
        with (self._folder.path / f"worker-{number}.log").open("wb") as log:
            worker = subprocess.Popen(
                [COMMAND, "worker", "--config", str(config)],
                cwd=self._folder.path,
                env={**env, **self.environment(), **state},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._workers.append(worker)
        pin_process(worker.pid, "client")
        self.wait_for("SELECT FROM orchestrator.workers WHERE holder LIKE %s", [f"%:{worker.pid}"], 30)
        return worker

    def end_workers(self) -> float:
        """End all workers at once; return the CPU seconds of the workers still alive."""
        cpu_seconds = 0.0
        for worker in self._workers:
            if worker.poll() is None:
                worker.kill()
                _, status, usage = os.wait4(worker.pid, 0)
                worker.returncode = os.waitstatus_to_exitcode(status)
                cpu_seconds += usage.ru_utime + usage.ru_stime
        self._workers.clear()
        return cpu_seconds


@contextmanager
def open_team(folder: WorkFolder) -> Iterator[Team]:
    """Start a server for the length of the block.

    Raises:
        UnavailableError: PostgreSQL is not installed, or does not start.
    """
    try:
        from tests.postgres.cluster import find_binaries, start_cluster  # noqa: PLC0415 - needs psycopg
    except ImportError as error:
        raise UnavailableError(f"no driver: {error}") from error
    binaries = find_binaries()
    if binaries is None:
        raise UnavailableError("PostgreSQL is not installed: set PG_BIN, or install Debian's package `postgresql`")
    with ExitStack() as stack:
        cluster = stack.enter_context(start_cluster(binaries, durable=True))
        pid = int((cluster.folder / "data" / "postmaster.pid").read_text(encoding="ascii").splitlines()[0])
        pin_process(pid, "server")
        cluster.execute(f"CREATE DATABASE {_DATABASE}")
        url = cluster.admin_url(_DATABASE)
        with connect(url) as connection:
            migrate(connection)
        thread = StoreThread(StoreTerms(url, f"bench:{os.getpid()}"))
        stack.callback(thread.close)
        team = Team(folder, url, StoreRunStore(thread, folder.path / "team", "bench", (1000.0, 100), "bench"))
        stack.callback(team.end_workers)
        yield team
