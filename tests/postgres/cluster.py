"""A PostgreSQL server of the tests' own: in a temporary folder, on a free port of this machine only."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import psycopg

PASSWORD = "a-password-of-the-tests"
USERS = {
    "ann_owner": "orchestrator_owner",
    "wes_worker": "orchestrator_worker",
    "oli_operator": "orchestrator_operator",
    "vic_viewer": "orchestrator_viewer",
    "sam_stranger": None,
}
"""Login roles, each with the role granted."""


def find_binaries() -> Path | None:
    """Find the folder of `initdb` and `postgres`: `$PG_BIN`, else the newest version of Debian's packages."""
    if "PG_BIN" in os.environ:
        folder = Path(os.environ["PG_BIN"])
        return folder if (folder / "initdb").exists() else None
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


@dataclass(frozen=True)
class Cluster:
    """A running server."""

    binaries: Path
    folder: Path
    port: int
    ctl: tuple[str, ...]

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; `immediate` is a crash of all its processes."""
        self._control(f"--mode={mode}", "stop")

    def start(self) -> None:
        """Start the server again, and wait for the end of its recovery."""
        self._control("start")

    def restart(self, mode: str = "immediate") -> None:
        """Stop and start the server."""
        self._control(f"--mode={mode}", "restart")

    def promote(self) -> None:
        """Make a standby the primary."""
        self._control("promote")

    def _control(self, *arguments: str) -> None:
        subprocess.run([*self.ctl, *arguments], check=True, capture_output=True, cwd=self.folder)

    def admin_url(self, database: str) -> str:
        """URL of a database for the superuser, without a password: through the socket."""
        return f"postgresql://postgres@/{database}?host={self.folder}&port={self.port}"

    def url(self, database: str, user: str) -> str:
        """URL of a database for a user; the password comes from the environment."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Execute a statement as the superuser."""
        with psycopg.connect(self.admin_url(database), autocommit=True) as connection:
            connection.execute(statement.encode())


def as_other_user() -> list[str]:
    """Begin of a command: the server refuses to run as root, so root runs the server as `nobody`."""
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []


def _make_folder() -> Path:
    folder = Path(mkdtemp(prefix="pg-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    return folder


@contextmanager
def _serve(binaries: Path, folder: Path) -> Iterator[Cluster]:
    """Start the server of a folder; end the server, and remove its folder, at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={port}", "-c", f"unix_socket_directories={folder}"]
    options += ["-c", "max_connections=50", "-c", "autovacuum=off", "-c", "shared_buffers=64MB"]
    pg_ctl = [str(binaries / "pg_ctl"), "--pgdata", str(folder / "data"), "--wait", "--log", str(folder / "log")]
    cluster = Cluster(binaries, folder, port, (*as_other_user(), *pg_ctl, "--options", " ".join(options)))
    try:
        cluster.start()
        yield cluster
    finally:
        with suppress(subprocess.CalledProcessError):
            cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def start_cluster(binaries: Path, *, durable: bool = False) -> Iterator[Cluster]:
    """Start a server; end the server, and remove its folder, at the end.

    Args:
        binaries: the folder of `initdb` and `postgres`.
        durable: whether commits reach the disk, as the product demands. Otherwise a database is made in a tenth of the
            time; tests of `store check` turn durability on.
    """
    folder = _make_folder()
    data = folder / "data"
    initdb = [str(binaries / "initdb"), "--pgdata", str(data), "--username=postgres", "--encoding=UTF8"]
    initdb += ["--locale=C", "--no-sync", "--no-instructions"]
    subprocess.run([*as_other_user(), *initdb], check=True, capture_output=True, cwd=folder)
    (data / "pg_hba.conf").write_text(
        "local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
    )
    if not durable:
        (data / "postgresql.auto.conf").write_text("fsync = off\nfull_page_writes = off\n")
    with _serve(binaries, folder) as cluster:
        yield cluster


@contextmanager
def start_standby(primary: Cluster) -> Iterator[Cluster]:
    """Start a synchronous standby of a server; afterwards each commit of the server waits for the standby."""
    folder = _make_folder()
    source = f"postgresql://postgres@/?host={primary.folder}&port={primary.port}&application_name=standby"
    backup = [str(primary.binaries / "pg_basebackup"), "--pgdata", str(folder / "data"), "--write-recovery-conf"]
    backup += ["--checkpoint=fast", "--no-sync", f"--dbname={source}"]
    subprocess.run([*as_other_user(), *backup], check=True, capture_output=True, cwd=folder)
    with _serve(primary.binaries, folder) as standby:
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.execute("SELECT pg_reload_conf()")
        yield standby
