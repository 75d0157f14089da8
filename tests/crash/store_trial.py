"""Workers of a team store over a real PostgreSQL, killed, paused and cut off, and the promises that they are held to.

The simulated cloud has its own record of requests, and the database a record of all leases: their comparison finds
every request sent without a lease.
"""

import os
import signal
import subprocess
import time
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from random import Random
from threading import Event
from typing import Any, Literal, NamedTuple

import psycopg

from orchestrator.audit.replay import RunState
from orchestrator.audit.verify import Verdict, read_log
from orchestrator.postgres.migrate import migrate
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.postgres.cluster import PASSWORD, USERS, Cluster
from tests.warm import WarmProcess

DATABASE = "store"
PLAYBOOK = """
name: crash
limits: {requests_per_second: RATE, burst: 4, max_in_flight: 8, per_teepod: 8}
steps:
  - action: stop
    select: {all: true}
"""
LEASE_LOG = """
CREATE TABLE lease_log (
  run_id text, epoch bigint, lease_until timestamptz, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE FUNCTION log_lease() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  INSERT INTO public.lease_log VALUES (NEW.run_id, NEW.epoch, NEW.lease_until);
  RETURN NULL;
END $$;
CREATE TRIGGER log_lease AFTER UPDATE ON orchestrator.runs FOR EACH ROW EXECUTE FUNCTION log_lease();
"""
_SLOWEST_S = 150.0

Kind = Literal["kill", "terminate", "pause", "restart", "down"]


class Fault(NamedTuple):
    """A fault: some seconds after the fault before, of a kind, to a worker."""

    after: float
    kind: Kind
    worker: int = 0


class LeaseChange(NamedTuple):
    """A change of a lease. Times are seconds since the epoch.

    Attributes:
        at: time of the change.
        epoch: the number of takes so far.
        until: end of the lease; None without a lease.
    """

    at: float
    epoch: int
    until: float | None


@dataclass(frozen=True)
class Terms:
    """Sizes of a trial.

    Attributes:
        cvms: CVMs of each workspace.
        workspaces: number of workspaces; each has a run.
        workers: number of worker processes.
        rate: requests per second of each workspace.
        lease: length of a lease in seconds.
        timeout: `cloud.timeout` in seconds.
    """

    cvms: int = 30
    workspaces: int = 2
    workers: int = 2
    rate: int = 12
    lease: float = 2.0
    timeout: float = 0.9

    @property
    def too_long(self) -> float:
        """Seconds of a pause or an outage: longer than a lease."""
        return 1.6 * self.lease

    def plan_faults(self, seed: int, kinds: Sequence[Kind], number: int) -> list[Fault]:
        """Plan seeded faults, each kind in turn."""
        rng = Random(seed)
        return [
            Fault(rng.uniform(0.2, 1.4), kinds[(seed + n) % len(kinds)], rng.randrange(max(1, self.workers)))
            for n in range(number)
        ]


@contextmanager
def open_database(cluster: Cluster) -> Iterator[None]:
    """Provide a migrated database with login roles and a log of all leases; removed at the end."""
    cluster.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(cluster.admin_url(DATABASE), autocommit=True) as connection:
        migrate(connection)
        connection.execute(LEASE_LOG.encode())
        for user in ("wes_worker", "oli_operator"):
            connection.execute(
                f"DO $$ BEGIN CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}' IN ROLE {USERS[user]};"
                " EXCEPTION WHEN duplicate_object THEN END $$".encode()
            )
    yield
    cluster.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@dataclass
class Trial:
    """A store with workers and one run in each workspace."""

    cluster: Cluster
    folder: Path
    terms: Terms
    seed: int
    simulator: BackgroundSimulator = field(init=False)
    workers: list[WarmProcess | None] = field(init=False)

    def __post_init__(self) -> None:
        self.workers = [None] * self.terms.workers

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve the cloud and start the workers for the length of the block."""
        terms = self.terms
        settings = {
            "fleet": {"cvms": terms.cvms, "seed": self.seed, "stopped_share": 0, "gpu_share": 0},
            "timing": {"stop_seconds": [0.05, 0.4], "latency": [0.0, 0.05], "read_lag": 0.1},
            "faults": {"error_before": 0.02, "error_after": 0.02, "reset_before": 0.02, "reset_after": 0.02},
            "workspaces": [{"workspace": {"name": name, "id": f"wks_{name}"}} for name in self.names],
        }
        with open_database(self.cluster), BackgroundSimulator(parse_settings(settings)) as self.simulator:
            try:
                for number in range(terms.workers):
                    self.start_worker(number)
                yield
            finally:
                for worker in self.workers:
                    if worker is not None:
                        worker.send_signal(signal.SIGCONT)
                        worker.kill()
                        worker.wait(10)

    @property
    def names(self) -> list[str]:
        """Names of the workspaces."""
        return [f"w{number}" for number in range(self.terms.workspaces)]

    def environment(self, user: str, place: str) -> dict[str, str]:
        """Variables of a process with a state folder of its own."""
        by_name = {each.world.settings.workspace.name: key for key, each in self.simulator.workspaces.by_key.items()}
        keys = {f"KEY_{name.upper()}": by_name[name] for name in self.names}
        names = {f"ORCHESTRATOR_WORKSPACES__{name.upper()}__API_KEY_ENV": f"KEY_{name.upper()}" for name in self.names}
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PGPASSWORD": PASSWORD,
            **keys,
            **names,
            "PHALA_CLOUD_API_PREFIX": self.simulator.url,
            "ORCHESTRATOR_CLOUD__TIMEOUT": f"{self.terms.timeout}s",
            "ORCHESTRATOR_STATE_DIR": str(self.folder / place),
            "ORCHESTRATOR_STORE__URL": self.cluster.url(DATABASE, user),
            "ORCHESTRATOR_STORE__LEASE": f"{self.terms.lease}s",
            "ORCHESTRATOR_STORE__OUTAGE": "2m",
            # Every worker has a run, so that every fault meets a run.
            "ORCHESTRATOR_WORKER__RUNS": str(ceil(self.terms.workspaces / max(1, self.terms.workers))),
            "ORCHESTRATOR_RATE__REQUESTS_PER_SECOND": str(self.terms.rate),
            "ORCHESTRATOR_SETTLE__RECHECK_AFTER": "0.3",
            "ORCHESTRATOR_SETTLE__POLL_MIN": "0.05",
            "ORCHESTRATOR_SETTLE__POLL_MAX": "0.5",
        }

    def start(self, *args: str, user: str, place: str) -> WarmProcess:
        """Start a command; its output goes into a file of the folder."""
        with (self.folder / f"{place}.txt").open("a", encoding="utf-8") as output:
            return WarmProcess(
                args,
                cwd=self.folder,
                env=self.environment(user, place),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def start_worker(self, number: int) -> None:
        """Start a worker in the place of a dead worker."""
        self.workers[number] = self.start("worker", user="wes_worker", place=f"worker-{number}")

    def write_playbook(self) -> str:
        """Write the playbook; return its path."""
        playbook = self.folder / "crash.yaml"
        playbook.write_text(PLAYBOOK.replace("RATE", str(self.terms.rate)))
        return str(playbook)

    def submit_all(self) -> None:
        """Submit a run in every workspace."""
        playbook = self.write_playbook()
        for name in self.names:
            order = ("run", playbook, "--submit", "--workspace", name)
            assert self.start(*order, user="oli_operator", place="person").wait(30) == 0, self.output("person")

    def inflict(self, faults: Sequence[Fault]) -> None:
        """Let the faults happen, one after another; a worker that has ended is replaced at once."""
        for fault in faults:
            _pass(fault.after)
            worker = self.workers[fault.worker]
            assert worker is not None
            self.strike(fault.kind, worker)
            if worker.poll() is not None:
                self.start_worker(fault.worker)

    def strike(self, kind: Kind, process: WarmProcess) -> None:
        """Let a fault happen to a process or to the database; return after its end."""
        if kind == "restart":
            self.cluster.restart()
        elif kind == "down":
            self.cluster.stop()
            _pass(self.terms.too_long)
            self.cluster.start()
        elif kind == "pause":
            process.send_signal(signal.SIGSTOP)
            _pass(self.terms.too_long)
            process.send_signal(signal.SIGCONT)
        else:
            process.send_signal(signal.SIGKILL if kind == "kill" else signal.SIGTERM)
            process.wait(20)

    def insist(self, faults: Sequence[Fault]) -> None:
        """Carry a run out in a command under faults, and resume the run after each death, until its end."""
        (name,) = self.names
        command: tuple[str, ...] = ("run", self.write_playbook(), "--yes", "--workspace", name)
        ahead = deque(faults)
        deadline = time.monotonic() + _SLOWEST_S
        code: int | None = None
        while code != 0:
            assert time.monotonic() < deadline, f"the last exit code was {code}\n{self.output('person')}"
            process = self.start(*command, user="oli_operator", place="person")
            code = None
            while code is None:
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(ahead[0].after if ahead else _SLOWEST_S)
                if code is None:
                    self.strike(ahead.popleft().kind, process)
                    code = process.poll()
            rows = self.query("SELECT run_id FROM orchestrator.runs WHERE seq > 1")
            if rows:  # a start without a plan in the log sent nothing
                command = ("resume", str(rows[0][0]), "--yes")
            _pass(0.1)

    def wait_for_the_end(self) -> None:
        """Wait until all runs have ended."""
        deadline = time.monotonic() + _SLOWEST_S
        while rows := self.query("SELECT run_id, state, epoch, seq FROM orchestrator.runs WHERE finished_at IS NULL"):
            assert time.monotonic() < deadline, f"not finished: {rows}\n{self.output()}"
            _pass(0.1)

    def query(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Execute a query as the superuser."""
        with psycopg.connect(self.cluster.admin_url(DATABASE), autocommit=True) as connection:
            return connection.execute(statement.encode(), arguments).fetchall()

    def output(self, place: str = "worker-*") -> str:
        """Read what processes have printed, for a failed test."""
        return "\n".join(f"--- {file.stem}\n{file.read_text()[-3000:]}" for file in self.folder.glob(f"{place}.txt"))

    # Promises ---------------------------------------------------------------------------------------------------------

    def check_promises(self) -> None:
        """Check all runs: nothing lost, nothing stopped twice, no late request, every log whole."""
        runs = self.query("SELECT run_id, workspace, exit_code FROM orchestrator.runs ORDER BY run_id")
        assert [(workspace, code) for _, workspace, code in runs] == [(name, 0) for name in self.names], self.output()
        by_name = self.simulator.workspaces.by_name
        for run_id, name, _ in runs:
            cloud = by_name[str(name)]
            cvms, now = cloud.world.cvms, cloud.now()
            assert {cvm.phase_at(now).status for cvm in cvms} == {"stopped"}
            assert Counter(cvm.effective_stops for cvm in cvms) == {1: len(cvms)}
            assert Counter(len(cvm.operations) for cvm in cvms) == {1: len(cvms)}
            state = self.replay(str(run_id))
            assert state.counts == {"settled": len(cvms)}
            began = time.time() - cloud.now()
            stops = [(began + each.at, str(each.cvm_hashid)) for each in cloud.requests if each.operation == "stop_cvm"]
            assert self.find_late(str(run_id), stops) == []

    def replay(self, run_id: str) -> RunState:
        """Verify the exported bytes of a log, and return what the log adds up to."""
        file = self.folder / f"{run_id}.jsonl"
        rows = self.query("SELECT line FROM orchestrator.records WHERE run_id = %s ORDER BY seq", run_id)
        file.write_bytes(b"".join(bytes(line) for (line,) in rows))
        state = RunState()
        assert read_log(file, state.apply_record).verdict is Verdict.WHOLE
        return state

    def find_late(self, run_id: str, stops: Sequence[tuple[float, str]]) -> list[str]:
        """Find the stop requests without a lease at their arrival, or of an earlier holder after another take.

        A request of an earlier holder shows as one more request for the CVM than the present holder has announced.
        """
        changes = [
            LeaseChange(*row)
            for row in self.query(
                "SELECT extract(epoch FROM at)::float8, epoch, extract(epoch FROM lease_until)::float8"
                " FROM lease_log WHERE run_id = %s ORDER BY at",
                run_id,
            )
        ]
        announced = Counter(
            (epoch, hashid)
            for epoch, hashid in self.query(
                "SELECT epoch, convert_from(line, 'UTF8')::jsonb -> 'cvm' ->> 'id' FROM orchestrator.records"
                " WHERE run_id = %s AND event = 'action.intent'",
                run_id,
            )
        )
        late: list[str] = []
        times: dict[tuple[int, str], list[float]] = defaultdict(list)
        for at, hashid in stops:
            change = changes[bisect_right(changes, at, key=lambda each: each.at) - 1]
            times[change.epoch, hashid].append(at)
            if change.until is None or at > change.until:
                late.append(f"{hashid} at {at:.3f} after the end of the lease of epoch {change.epoch}: {change.until}")
        late += [
            f"{hashid} in epoch {epoch}: requests at {moments}, {announced[epoch, hashid]} announced"
            for (epoch, hashid), moments in times.items()
            if len(moments) > announced[epoch, hashid]
        ]
        return late


def _pass(seconds: float) -> None:
    """Let time pass."""
    Event().wait(seconds)


def carry_out_by_a_person(cluster: Cluster, folder: Path, seed: int, terms: Terms, faults: Sequence[Fault]) -> None:
    """Carry out a trial without workers, and check its promises."""
    trial = Trial(cluster, folder, replace(terms, workers=0, workspaces=1), seed)
    with trial.running():
        trial.insist(faults)
        trial.check_promises()


def carry_out(cluster: Cluster, folder: Path, seed: int, terms: Terms, faults: Sequence[Fault]) -> Trial:
    """Carry out a trial, and check its promises."""
    trial = Trial(cluster, folder, terms, seed)
    with trial.running():
        trial.submit_all()
        trial.inflict(faults)
        trial.wait_for_the_end()
        trial.check_promises()
    return trial
