"""A test site: an empty working folder, a simulated cloud, and the command to start."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

from orchestrator.simulator.serve import BackgroundSimulator
from tests.warm import WarmProcess

COMMAND = str(Path(sys.executable).with_name("orchestrator"))
MODULE = (sys.executable, "-m", "orchestrator")
NAMES = [f"web-{number}" for number in range(1, 9)]
STILL = {"fleet": {"cvms": 8, "seed": 3, "names": NAMES, "teepod_names": ["alpha", "beta"], "stopped_share": 0}}
"""A fleet of eight CVMs called web-1 to web-8 that are all up."""
QUICK = {"stop_seconds": [0.05, 0.2], "shutdown_seconds": [0.05, 0.2], "start_seconds": [0.05, 0.2]}
PLAYBOOK = """\
name: everything
description: Stop them all.
guards: {guards}
limits: {{requests_per_second: {rate}, burst: {burst}, max_in_flight: 20, per_teepod: 20{more}}}
steps:
  - name: pull the power
    action: stop
    select: {select}
    settle: {{timeout: {timeout}}}
"""

Process = subprocess.Popen[str] | WarmProcess


def until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    """Wait until a condition holds; a busy machine gets a minute."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.02)


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - any JSON value
        """What is on stdout, which must be one JSON document and nothing else."""
        return json.loads(self.out)

    @property
    def fault(self) -> dict[str, Any]:
        """The error in the document on stdout."""
        assert self.document["exit_code"] == self.code
        error: dict[str, Any] = self.document["error"]
        assert {"code", "message", "hint", "file", "line"} <= set(error)
        return error

    @property
    def logged(self) -> list[dict[str, Any]]:
        """The JSON lines on stderr."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]


class Site:
    """A working folder, a simulated cloud, and the environment that leads to both."""

    def __init__(self, folder: Path, sim: BackgroundSimulator) -> None:
        self.folder = folder
        self.sim = sim
        self.state = folder / "state"
        self.runs = self.state / "runs"
        self.environment = {
            "PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONWARNINGS": "error",
            "PHALA_CLOUD_API_KEY": sim.api_key,
            "PHALA_CLOUD_API_PREFIX": sim.url,
            "ORCHESTRATOR_STATE_DIR": str(self.state),
            "ORCHESTRATOR_SETTLE__POLL_MIN": "0.05",
            "ORCHESTRATOR_SETTLE__POLL_MAX": "0.2",
            "ORCHESTRATOR_SETTLE__RECHECK_AFTER": "0.2",
        }

    def playbook(
        self,
        select: str = "{all: true}",
        *,
        guards: str = "{}",
        rate: float | str = 200,
        burst: int = 50,
        timeout: str = "10s",
        more: str = "",
    ) -> str:
        """Write a playbook; returns its path."""
        file = self.folder / "playbook.yaml"
        file.write_text(
            PLAYBOOK.format(select=select, guards=guards, rate=rate, burst=burst, timeout=timeout, more=more)
        )
        return str(file)

    def start(
        self,
        *args: str,
        command: tuple[str, ...] = (),
        env: Mapping[str, str | None] | None = None,
        stdin: int | IO[str] = subprocess.DEVNULL,
        stdout: int | IO[str] = subprocess.PIPE,
        stderr: int | IO[str] = subprocess.PIPE,
        prepare: Callable[[], object] | None = None,
    ) -> Process:
        """Start the command in a forked process; with `command` or variables of Python, start it anew.

        Args:
            *args: the arguments.
            command: the command to start.
            env: variables beside those of the site; None takes a variable away.
            stdin: as for `subprocess.Popen`.
            stdout: the same.
            stderr: the same.
            prepare: a function to call in the new process, with a name for pickle: sets limits, or becomes a user.
        """
        environment = {key: value for key, value in {**self.environment, **(env or {})}.items() if value is not None}
        of_python = any(name.startswith(("PYTHON", "_ORCHESTRATOR_COMPLETE")) for name in env or {})
        if not (command or of_python):
            return WarmProcess(
                args, cwd=self.folder, env=environment, stdin=stdin, stdout=stdout, stderr=stderr, prepare=prepare
            )
        return subprocess.Popen(
            [*(command or (COMMAND,)), *args],
            cwd=self.folder,
            env=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            preexec_fn=prepare,  # noqa: PLW1509 - only limits of the child are set there
        )

    def end(self, process: Process, *, seconds: float = 90) -> Ended:
        """Wait for the end of a process, and check what holds for every process; a busy machine gets time."""
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        ended = Ended(process.wait(), out or "", err or "")
        assert "Traceback" not in ended.err, ended.err
        assert self.sim.api_key not in ended.out + ended.err
        return ended

    def run(self, *args: str, env: Mapping[str, str | None] | None = None) -> Ended:
        """Start the command and wait for its end."""
        return self.end(self.start(*args, env=env))

    def run_each(self, *commands: tuple[str, ...], envs: Iterable[Mapping[str, str | None] | None] = ()) -> list[Ended]:
        """Run several commands that have nothing to do with each other, a few at a time."""
        with ThreadPoolExecutor(4) as pool:
            ends = [pool.submit(self.run, *args, env=env) for args, env in zip_longest(commands, envs) if args]
            return [end.result() for end in ends]

    @property
    def stops(self) -> list[str]:
        """The CVMs of all POSTs to stop so far, in order."""
        return [each.cvm_hashid or "" for each in list(self.sim.requests) if each.operation == "stop_cvm"]

    @property
    def effective(self) -> dict[str, int]:
        """How many stops had an effect, by the CVM's name."""
        return {cvm.name: cvm.effective_stops for cvm in self.sim.world.cvms}

    @property
    def log(self) -> Path:
        """The one audit log."""
        (log,) = self.runs.glob("*.jsonl")
        return log

    @property
    def records(self) -> list[dict[str, Any]]:
        """Its records so far, without a last line that is being written."""
        return [json.loads(line) for line in self.log.read_bytes().split(b"\n")[:-1]]

    def events(self) -> Counter[str]:
        """How many records of each kind it has."""
        return Counter(record["event"] for record in self.records)

    def assert_nothing_happened(self) -> None:
        """No stop was sent, and no run left a log."""
        assert self.stops == []
        assert list(self.runs.glob("*")) == []
