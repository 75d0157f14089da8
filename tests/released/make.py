"""Write down what the installed version leaves behind, one run of each kind, for later versions to read.

    python -m tests.released.make 0.2

makes the folder tests/released/0.2. A folder that exists is never touched: files of a released version do not change.
Review its `expected.json` before you commit: it says how this version reads its own files, and later versions are held
to it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.released.cloud import PORT
from tests.released.reading import read_back

COMMAND = str(Path(sys.executable).with_name("orchestrator"))
DESK = Path("/tmp/fleet")  # noqa: S108 - a neutral name for the paths in the files; it must not exist
QUICK = {"stop_seconds": [0.05, 0.2], "shutdown_seconds": [0.05, 0.2], "start_seconds": [0.05, 0.2]}
SLOW = {"stop_seconds": [0.3, 0.6], "shutdown_seconds": [600, 600], "start_seconds": [0.05, 0.2]}
LIMITS = "requests_per_second: 200, burst: 50, max_in_flight: 20, per_teepod: 20"
ALL = "select: {all: true}, settle: {timeout: 10s}"
HOSTNAME = "import socket\nsocket.gethostname = lambda: 'fleet.example'\n"
"""Read by Python at its start: the machine's own name stays out of the files."""


GONE_ON_WITH = ("interrupted", "killed", "torn", "killed_in_waves", "answer_left", "to_restore", "unsettled", "plan")
"""The cases whose cloud a test makes anew."""


def described(cvm: SimulatedCvm) -> dict[str, str]:
    """A CVM as `cloud_of` wants it."""
    return {
        "hashid": cvm.hashid,
        "uuid": cvm.uuid,
        "instance_id": cvm.instance_id,
        "name": cvm.name,
        "app_id": cvm.app.app_id,
        "teepod": str(cvm.teepod.name),
        "instance_type": cvm.instance_type.id,
    }


def playbook(name: str, *steps: str, more: str = "", limits: str = LIMITS) -> str:
    """Write a playbook; returns its path from the working folder."""
    file = Path("playbooks") / f"{name}.yaml"
    text = "".join(f"  - {{{step}}}\n" for step in steps)
    (DESK / file).write_text(f"name: {name}\n{more}limits: {{{limits}}}\nsteps:\n{text}")
    return str(file)


class Maker:
    """Carries out one run of each kind, and keeps what belongs to it."""

    def __init__(self) -> None:
        self.cases: dict[str, dict[str, Any]] = {}
        self.sim: BackgroundSimulator
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(DESK / "hostname"),
            "HOME": str(DESK),
            "LOGNAME": "operator",
            "LANG": "C.UTF-8",
            "COLUMNS": "200",
            "ORCHESTRATOR_STATE_DIR": str(DESK / "state"),
            "ORCHESTRATOR_SETTLE__POLL_MIN": "0.05",
            "ORCHESTRATOR_SETTLE__POLL_MAX": "0.2",
            "ORCHESTRATOR_SETTLE__RECHECK_AFTER": "0.2",
        }

    # The parts of a case ------------------------------------------------------------------------------------------

    @contextmanager
    def cloud(self, case: str, *, cvms: int = 4, stopped: bool = False, **sections: object) -> Iterator[None]:
        """A simulated cloud for one case, with CVMs that no other case has."""
        fleet = {
            "cvms": cvms,
            "seed": len(self.cases) + 1,
            "names": [f"web-{number}" for number in range(1, cvms + 1)],
            "teepod_names": ["alpha", "beta"],
            "stopped_share": 1 if stopped else 0,
            "gpu_share": 0,
        }
        settings = parse_settings({"fleet": fleet, "timing": QUICK, **sections})
        with BackgroundSimulator(settings, port=PORT) as self.sim:
            self.cases[case] = {}
            yield
            if case in GONE_ON_WITH:
                self.cases[case]["fleet"] = [described(cvm) for cvm in self.sim.world.cvms]
        print(case, self.cases[case].get("run_id"))  # noqa: T201 - a script that says how far it is

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start the installed command."""
        keys = {"PHALA_CLOUD_API_KEY": self.sim.api_key, "PHALA_CLOUD_API_PREFIX": self.sim.url}
        return subprocess.Popen(
            [COMMAND, *args],
            cwd=DESK,
            env=self._environment | keys,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, *args: str, code: int = 0) -> str:
        """Carry a command out; returns its output."""
        process = self.start(*args)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, (args, process.returncode, out, err)
        return out

    def run(self, case: str, *args: str, code: int = 0) -> str:
        """Carry out a run to its end; returns its id."""
        document = json.loads(self.command(*args, "--yes", "--json", code=code))
        return self.keep(case, document["run_id"])

    def keep(self, case: str, run_id: str) -> str:
        """Note which run belongs to a case."""
        self.cases.setdefault(case, {})["run_id"] = run_id
        return run_id

    def cut(self, case: str, file: str, number: signal.Signals, when: Callable[[list[dict[str, Any]]], bool]) -> str:
        """Begin a run and send it a signal once its log is so far; returns its id."""
        before = set(self.logs())
        process = self.start("run", file, "--yes", "--json")
        until(lambda: any(when(records(log)) for log in set(self.logs()) - before))
        process.send_signal(number)
        process.communicate(timeout=30)
        (log,) = set(self.logs()) - before
        return self.keep(case, log.stem)

    def logs(self) -> list[Path]:
        """Every audit log so far."""
        return sorted((DESK / "state" / "runs").glob("*.jsonl"))

    # The cases ----------------------------------------------------------------------------------------------------

    def actions(self) -> None:
        """One run of each action, and of each way to send and to choose."""
        for action in ("stop", "shutdown", "restart"):
            with self.cloud(action):
                self.run(action, "run", playbook(action, f"name: all, action: {action}, {ALL}"))
        with self.cloud("start", stopped=True):
            self.run("start", "run", playbook("start", f"name: all, action: start, {ALL}"))
        with self.cloud("batch"):
            file = playbook("batch", f"name: all, action: stop, {ALL}", limits=f"{LIMITS}, dispatch: batch")
            self.run("batch", "run", file)
        with self.cloud("waves"):
            step = f'name: all, action: stop, order_by: name, waves: [1, "50%"], {ALL}'
            self.run("waves", "run", playbook("waves", step, more="deadline: 1m\n"))
        with self.cloud("guarded"):
            guards = "guards: {max_targets: 3, max_percent: 80, protect: {name: web-4}}\n"
            vars_ = 'vars: {names: {description: which, default: "web-*"}}\n'
            step = 'name: some, action: stop, select: {name: "${names}", teepod: [alpha, beta]}, settle: {timeout: 10s}'
            self.run("guarded", "run", playbook("guarded", step, more=vars_ + guards), "--var", "names=web-*")
        with self.cloud("auto"):
            limits = "requests_per_second: auto, burst: 5"
            self.run("auto", "run", playbook("auto", f"name: all, action: stop, {ALL}", limits=limits))
        with self.cloud("simulate"):
            self.run("simulate", "run", playbook("simulate", 'action: stop, select: {name: "dev-*"}'), "--simulate")

    def steps(self) -> None:
        """Several steps: escalation, results, messages, questions."""
        with self.cloud("escalation", timing=SLOW):
            step = "name: down, action: shutdown, select: {all: true}, escalate: {after: 1s, to: stop}"
            self.run("escalation", "run", playbook("escalation", step))
        with self.cloud("results", timing=SLOW):
            file = playbook(
                "results",
                "name: ask, action: shutdown, select: {all: true}, settle: {timeout: 1s}",
                "name: tell, action: notify, message: pulling the power",
                'name: pull, action: stop, select: {result: {step: ask}, name: "web-*"}',
            )
            self.run("results", "run", file)
        first, rest = "name: first, action: stop, select: {name: web-1}", f"name: rest, action: stop, {ALL}"
        ask = "name: look, action: pause, question: Are all dashboards green, timeout: {}"
        for case, options, code in (("approved", (), 0), ("refused_pause", ("--refuse",), 8)):
            with self.cloud(case):
                before = set(self.logs())
                process = self.start("run", playbook(case, first, ask.format("1m"), rest), "--yes", "--json")
                until(lambda seen=before: any(asks(log) for log in set(self.logs()) - seen))  # type: ignore[misc]
                (log,) = set(self.logs()) - before
                self.command("approve", log.stem, "--yes", "--comment", "seen by two", *options)
                process.communicate(timeout=60)
                assert process.returncode == code
                self.keep(case, log.stem)
        with self.cloud("unanswered"):
            self.run("unanswered", "run", playbook("unanswered", first, ask.format("1s"), rest), code=8)
        with self.cloud("answer_left"):
            before = set(self.logs())
            process = self.start("run", playbook("answer_left", first, ask.format("1h"), rest), "--yes", "--json")
            until(lambda: any(asks(log) for log in set(self.logs()) - before))
            (log,) = set(self.logs()) - before
            process.send_signal(signal.SIGSTOP)
            approving = self.start("approve", log.stem, "--yes")
            until(lambda: list((DESK / "state" / "answers").glob("*.json")))
            approving.kill()
            approving.communicate()
            process.kill()
            process.communicate()
            self.keep("answer_left", log.stem)

    def outcomes(self) -> None:
        """Every outcome that is not as wanted."""
        kinds = ("refuses", "errors", "stuck", "returns", "vanishes", "conflict")
        behaviour = [{"kind": kind, "names": [f"web-{number}"]} for number, kind in enumerate(kinds, start=1)]
        faults = {"throttle": {"probability": 1, "operations": ["stop_cvm"], "limit": 1}, "retry_after_seconds": 1}
        with self.cloud("outcomes", cvms=8, behaviour=behaviour, faults=faults):
            step = "name: all, action: stop, select: {all: true}, settle: {timeout: 4s}"
            self.run("outcomes", "run", playbook("outcomes", step), code=6)
        with self.cloud("resurrected", behaviour=[{"kind": "resurrects", "names": ["web-3"], "seconds": 1.5}]):
            waves = "order_by: name, waves: [3], select: {all: true}, settle: {timeout: 10s}"
            step = f"name: all, action: stop, {waves}, limits: {{requests_per_second: 1.5}}"
            self.run("resurrected", "run", playbook("resurrected", step, limits="burst: 3"), code=8)
        with self.cloud("unsettled", behaviour=[{"kind": "stuck", "names": ["web-2"]}]):
            step = "name: all, action: stop, select: {all: true}, settle: {timeout: 1s}"
            self.run("unsettled", "run", playbook("unsettled", step), code=7)
        with self.cloud("canary_failed", behaviour=[{"kind": "refuses", "names": ["web-1"]}]):
            step = f"name: all, action: stop, order_by: name, waves: [1], {ALL}"
            self.run("canary_failed", "run", playbook("canary_failed", step), code=8)
        reset = {"reset_after": {"probability": 1, "operations": ["stop_cvm"], "limit": 2}}
        with self.cloud("unknown_answers", faults=reset):
            self.run("unknown_answers", "run", playbook("unknown_answers", f"name: all, action: stop, {ALL}"))

    def cut_short(self) -> None:
        """Runs that were interrupted, killed, torn and resumed."""
        slowly = "requests_per_second: 2, burst: 1"
        waves = 'order_by: name, waves: [2, "50%"], '

        def three_accepted(lines: list[dict[str, Any]]) -> bool:
            return [line["event"] for line in lines].count("action.accepted") == 3

        for case, number, how in (
            ("interrupted", signal.SIGTERM, ""),
            ("killed", signal.SIGKILL, ""),
            ("killed_in_waves", signal.SIGKILL, waves),
            ("torn", signal.SIGKILL, waves),
            ("resumed", signal.SIGKILL, waves),
        ):
            with self.cloud(case, cvms=8):
                file = playbook(case, f"name: all, action: stop, {how}{ALL}", limits=slowly)
                run_id = self.cut(case, file, number, three_accepted)
                if case == "torn":
                    log = DESK / "state" / "runs" / f"{run_id}.jsonl"
                    log.write_bytes(log.read_bytes()[:-40])
                if case == "resumed":
                    self.command("resume", run_id, "--yes")

    def afterwards(self) -> None:
        """Runs that were undone, reconciled and sealed, and one from a plan file."""
        with self.cloud("restored"):
            run_id = self.run("restored", "run", playbook("restored", f"name: all, action: stop, {ALL}"))
            self.run("restore", "restore", run_id)
        with self.cloud("to_restore"):
            self.run("to_restore", "run", playbook("to_restore", f"name: all, action: stop, {ALL}"))
        with self.cloud("reconciled"):
            run_id = self.run("reconciled", "run", playbook("reconciled", f"name: all, action: stop, {ALL}"))
            time.sleep(1)
            document = json.loads(self.command("reconcile", run_id, "--json"))
            assert {target["state"] for target in document["targets"]} == {"charged"}, document
        with self.cloud("planned"):
            file = playbook("planned", f"name: all, action: stop, {ALL}")
            self.command("plan", file, "--out", "plans/used.plan")
            self.run("planned", "run", "--plan", "plans/used.plan")
        with self.cloud("plan"):
            file = playbook("plan", f"name: all, action: stop, {ALL}", more="guards: {max_targets: 4}\n")
            self.command("plan", file, "--out", "plans/stop.plan")
        with self.cloud("sealed"):
            run_id = self.run("sealed", "run", playbook("sealed", f"name: all, action: stop, {ALL}"))
            self.command("audit", "keygen", "--out", "seal.pem")
            self.command("audit", "seal", run_id, "--key", "seal.pem")

    def service(self) -> None:
        """A firing that `serve` carried out, and a snooze."""
        with self.cloud("scheduled"):
            before = set(self.logs())
            due = datetime.now(UTC) + timedelta(seconds=65)
            cron = f"{due.minute} {due.hour} {due.day} {due.month} *"
            schedule = f'schedule: {{cron: "{cron}", timezone: UTC, on_missed: skip, on_overlap: skip}}\n'
            folder = DESK / "playbooks" / "scheduled"
            folder.mkdir()
            playbook("scheduled/yearly", f"name: all, action: stop, {ALL}", more=schedule)
            for file in folder.iterdir():
                file.write_text(file.read_text().replace("name: scheduled/", "name: "))
            serving = self.start("serve", "--playbooks", "playbooks/scheduled", "--listen", "none")
            until(lambda: any(ended(log) for log in set(self.logs()) - before), seconds=100)
            self.command("snooze", "yearly", "--until", "2190-01-01")
            serving.send_signal(signal.SIGTERM)
            serving.communicate(timeout=30)
            assert serving.returncode == 0
            (log,) = set(self.logs()) - before
            self.keep("scheduled", log.stem)

    def fleets(self) -> None:
        """Fleet runs of two workspaces: one to its end, and one interrupted."""
        workspaces = [{"workspace": {"name": name}} for name in ("eu", "us")]
        for case, limits in (("fleet", LIMITS), ("fleet_interrupted", "requests_per_second: 2, burst: 1")):
            with self.cloud(case, cvms=6, workspaces=workspaces):
                for key, workspace in self.sim.workspaces.by_key.items():
                    name = workspace.world.settings.workspace.name.upper()
                    self._environment |= {
                        f"ORCHESTRATOR_WORKSPACES__{name}__API_KEY_ENV": f"KEY_{name}",
                        f"KEY_{name}": key,
                    }
                before = set(self.logs())
                more = "workspaces: ['*']\nfleet: {max_targets: 100}\n"
                file = playbook(case, f"name: all, action: stop, {ALL}", more=more, limits=limits)
                process = self.start("run", file, "--yes", "--json")
                if case == "fleet_interrupted":
                    until(lambda seen=before: sum(map(accepted, set(self.logs()) - seen)) >= 3)  # type: ignore[misc]
                    process.send_signal(signal.SIGTERM)
                out, err = process.communicate(timeout=60)
                assert process.returncode == (143 if case == "fleet_interrupted" else 0), err
                self.cases[case]["fleet_id"] = json.loads(out)["fleet_id"]


def accepted(log: Path) -> int:
    """The number of accepted requests."""
    return sum(record["event"] == "action.accepted" for record in records(log))


def until(condition: Callable[[], object], *, seconds: float = 30) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.02)


def records(log: Path) -> list[dict[str, Any]]:
    """The whole lines of a log."""
    return [json.loads(line) for line in log.read_bytes().split(b"\n")[:-1]]


def asks(log: Path) -> bool:
    """Whether the run waits at a question."""
    return any(record["event"] == "approval.requested" for record in records(log))


def ended(log: Path) -> bool:
    """Whether the run is over."""
    return any(record["event"] == "run.finished" for record in records(log))


def main() -> None:
    """Make the folder of one version."""
    (version,) = sys.argv[1:]
    folder = Path(__file__).parent / version
    if folder.exists():
        sys.exit(f"{folder} is there already: what a released version wrote does not change")
    DESK.mkdir()
    try:
        for name in ("playbooks", "plans", "hostname"):
            (DESK / name).mkdir()
        (DESK / "hostname" / "sitecustomize.py").write_text(HOSTNAME)
        maker = Maker()
        for part in (
            maker.actions, maker.steps, maker.outcomes, maker.cut_short, maker.afterwards, maker.service, maker.fleets
        ):  # fmt: skip
            part()
        kept = Path(tempfile.mkdtemp(dir=folder.parent))
        for name in ("state", "plans", "playbooks"):
            shutil.copytree(DESK / name, kept / name, ignore=shutil.ignore_patterns("*.lock", "lock", "*.index"))
        shutil.copy(DESK / "seal.pub.pem", kept)
        (kept / "cases.json").write_text(json.dumps(maker.cases, indent=1) + "\n")
        (kept / "expected.json").write_text(json.dumps(read_back(kept), indent=1) + "\n")
        kept.chmod(0o755)
        kept.rename(folder)
    finally:
        shutil.rmtree(DESK)


if __name__ == "__main__":
    main()
