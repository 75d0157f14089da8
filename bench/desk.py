"""Where a measurement sits: a working folder on the disk, playbooks, the installed command, a simulated cloud."""

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

from bench.process import COMMAND, Ended, Server, run
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
class Cloud:
    """A simulated cloud that is being served: where, with which key, and how long its CVMs take to settle.

    Attributes:
        url: the base URL, including `/api/v1`.
        api_key: the workspace's key.
        settle: seconds that each CVM takes, by its hashid.
    """

    url: str
    api_key: str
    settle: Mapping[str, float]

    def requests(self) -> list[dict[str, Any]]:
        """The server's record of every request so far."""
        found: list[dict[str, Any]] = fetch(self.url, "/__simulator__/requests")
        return found


@dataclass(frozen=True, slots=True)
class Desk:
    """A working folder that is on the same disk as the repository, and gone when the measurement is done."""

    folder: Path

    def playbook(self, limits: Mapping[str, object], *, select: str = "{all: true}") -> str:
        """Write a playbook with these limits; returns its path."""
        file = self.folder / "bench.yaml"
        text = "{" + ", ".join(f"{name}: {value}" for name, value in limits.items()) + "}"
        file.write_text(_PLAYBOOK.format(limits=text, select=select), encoding="utf-8")
        return str(file)

    def environment(self, url: str, api_key: str) -> dict[str, str]:
        """The environment of a command that works on that cloud; of the caller's own only where programs are."""
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        return kept | {
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PHALA_CLOUD_API_KEY": api_key,
            "PHALA_CLOUD_API_PREFIX": url,
            "ORCHESTRATOR_STATE_DIR": str(self.folder / "state"),
        }

    def forget(self) -> None:
        """Throw away what earlier runs left in the state folder."""
        shutil.rmtree(self.folder / "state", ignore_errors=True)

    def orchestrate(self, *arguments: str, url: str, api_key: str, seconds: float) -> Ended:
        """Run the installed command."""
        env = self.environment(url, api_key)
        return run([COMMAND, *arguments], folder=self.folder, env=env, seconds=seconds)

    @contextmanager
    def simulate(
        self,
        *,
        cvms: int,
        settle: tuple[float, float],
        requests_per_second: float | None,
        burst: int = 10,
        port: int = 0,
    ) -> Iterator[Cloud]:
        """Serve a simulated cloud, in a process on a core of its own, for as long as the block lasts."""
        document: dict[str, Any] = {
            "fleet": {"cvms": cvms, "seed": 7, "stopped_share": 0, "gpu_share": 0},
            "timing": {"stop_seconds": list(settle)},
        }
        if requests_per_second is not None:
            document["limit"] = {"requests_per_second": requests_per_second, "burst": burst}
        file = self.folder / "simulator.toml"
        file.write_text(_toml(document), encoding="utf-8")
        delays = {cvm.hashid: cvm.delays.stop for cvm in World.generate(settings=parse_settings(document)).cvms}
        arguments = [COMMAND, "simulate", "--port", str(port), "--config", str(file)]
        with Server(arguments, folder=self.folder) as server:
            said = json.loads(server.first_line)
            yield Cloud(said["url"], said["api_key"], delays)


@contextmanager
def desk() -> Iterator[Desk]:
    """A desk for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=ROOT, ignore_cleanup_errors=True) as folder:
        yield Desk(Path(folder))


def fetch(url: str, path: str, *, method: str = "GET") -> Any:  # noqa: ANN401 - any JSON value
    """Ask the server of a base URL for something beside the API."""
    parts = urlsplit(url)
    request = urllib.request.Request(f"http://{parts.netloc}{path}", method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return json.load(answer)


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _toml(document: Mapping[str, Mapping[str, object]]) -> str:
    lines = []
    for section, keys in document.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]
    return "\n".join(lines)
