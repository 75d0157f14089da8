"""The work folder of a measurement: playbooks, the installed command and a simulated cloud."""

import json
import os
import shutil
import socket
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.process import COMMAND, ProcessResult, ServerProcess, run_process
from orchestrator.simulator.settings import parse_settings
from orchestrator.simulator.world import World

ROOT = Path(__file__).resolve().parent.parent

_PLAYBOOK = """\
name: bench
description: Stop them all.
limits: {limits}
steps:
  - name: pull the power
    action: stop
    select: {select}
    settle: {{timeout: 5m}}
"""


@dataclass(frozen=True, slots=True)
class ServedCloud:
    """A simulated cloud in another process: its address, its key, and the settle times of its CVMs.

    Attributes:
        url: the base URL, including `/api/v1`.
        api_key: the workspace's key.
        settle: seconds to settle of each CVM, by its hashid.
    """

    url: str
    api_key: str
    settle: Mapping[str, float]

    def read_requests(self) -> list[dict[str, Any]]:
        """Read the server's record of every request so far."""
        found: list[dict[str, Any]] = fetch_json(self.url, "/__simulator__/requests")
        return found


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """A temporary folder on the same disk as the repository."""

    path: Path

    def write_playbook(self, limits: Mapping[str, object], *, select: str = "{all: true}") -> str:
        """Write a playbook with these limits; return its path."""
        file = self.path / "bench.yaml"
        text = "{" + ", ".join(f"{name}: {value}" for name, value in limits.items()) + "}"
        file.write_text(_PLAYBOOK.format(limits=text, select=select), encoding="utf-8")
        return str(file)

    def make_environment(self, url: str, api_key: str) -> dict[str, str]:
        """Make the environment of a command for a cloud; only program paths come from the caller's own."""
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        return kept | {
            "HOME": str(self.path),
            "LANG": "C.UTF-8",
            "PHALA_CLOUD_API_KEY": api_key,
            "PHALA_CLOUD_API_PREFIX": url,
            "ORCHESTRATOR_STATE_DIR": str(self.path / "state"),
        }

    def clear_state(self) -> None:
        """Delete the state folder of earlier runs."""
        shutil.rmtree(self.path / "state", ignore_errors=True)

    def run_command(
        self, *arguments: str, url: str, api_key: str, seconds: float, more_env: Mapping[str, str] | None = None
    ) -> ProcessResult:
        """Run the installed command; `more_env` has further variables of its environment."""
        env = {**self.make_environment(url, api_key), **(more_env or {})}
        return run_process([COMMAND, *arguments], folder=self.path, env=env, seconds=seconds)

    @contextmanager
    def serve_simulator(
        self,
        *,
        cvms: int,
        settle: tuple[float, float],
        requests_per_second: float | None,
        burst: int = 10,
        port: int = 0,
    ) -> Iterator[ServedCloud]:
        """Serve a simulated cloud in a process on its own core, for the length of the block."""
        document: dict[str, Any] = {
            "fleet": {"cvms": cvms, "seed": 7, "stopped_share": 0, "gpu_share": 0},
            "timing": {"stop_seconds": list(settle)},
        }
        if requests_per_second is not None:
            document["limit"] = {"requests_per_second": requests_per_second, "burst": burst}
        file = self.path / "simulator.toml"
        file.write_text(_toml(document), encoding="utf-8")
        delays = {cvm.hashid: cvm.delays.stop for cvm in World.generate(settings=parse_settings(document)).cvms}
        arguments = [COMMAND, "simulate", "--port", str(port), "--config", str(file)]
        with ServerProcess(arguments, folder=self.path) as server:
            said = json.loads(server.first_line)
            yield ServedCloud(said["url"], said["api_key"], delays)


@contextmanager
def make_work_folder() -> Iterator[WorkFolder]:
    """Make a work folder for the length of the block."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=ROOT, ignore_cleanup_errors=True) as folder:
        yield WorkFolder(Path(folder))


def fetch_json(url: str, path: str, *, method: str = "GET") -> Any:  # noqa: ANN401 - any JSON value
    """Read JSON from a path of the server beside the API."""
    parts = urlsplit(url)
    request = urllib.request.Request(f"http://{parts.netloc}{path}", method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return json.load(answer)


def find_free_port() -> int:
    """Find a port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _toml(document: Mapping[str, Mapping[str, object]]) -> str:
    lines = []
    for section, keys in document.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]
    return "\n".join(lines)
