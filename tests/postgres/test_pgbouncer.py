"""The team store behind PgBouncer in transaction mode, with `store.listen = false`."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.site import until
from tests.postgres.cluster import PASSWORD, USERS, Cluster, as_other_user
from tests.postgres.test_worker import Team, team

__all__ = ["team"]


@contextmanager
def start_pgbouncer(folder: Path, cluster: Cluster) -> Iterator[int]:
    """Start PgBouncer over the server of the tests; yield its port. In CI a missing PgBouncer is a failure."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        message = "PgBouncer is not installed: install Debian's package `pgbouncer`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    (folder / "users").write_text("".join(f'"{user}" "{PASSWORD}"\n' for user in USERS))
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={cluster.port}\n[pgbouncer]\npool_mode = transaction\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = plain\n"
        f"auth_file = {folder}/users\nlogfile = {folder}/log\npidfile = {folder}/pid\ndefault_pool_size = 4\n"
    )
    if os.geteuid() == 0:
        for path in (folder, folder / "users", folder / "pgbouncer.ini"):
            shutil.chown(path, "nobody")
    process = subprocess.Popen(
        [*as_other_user(), program, str(folder / "pgbouncer.ini")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: _answers(port))
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_runs_work_behind_pgbouncer_in_transaction_mode(team: Team, durable: Cluster) -> None:
    folder = durable.folder / "pgbouncer"
    folder.mkdir()
    settings = team.folder / "worker.toml"
    settings.write_text(settings.read_text().replace("[store]\n", "[store]\nlisten = false\n"))
    with start_pgbouncer(folder, durable) as port:
        team.port = port
        first = team.start_worker()
        run_id = team.submit(2)
        until(lambda: team.is_under_way(run_id))
        first.kill()
        first.wait(10)
        team.start_worker()
        out = team.call("watch", run_id, "--set", "store.listen=false")
        assert "succeeded: 8 of 8 CVMs stopped (exit 0)" in out
        assert team.stops() == [1] * 8
        assert "whole" in team.call("audit", "verify", run_id, "--set", "store.listen=false", user="vic_viewer")
        team.kill()
