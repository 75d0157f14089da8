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

import httpx
import psycopg

from orchestrator.audit.replay import RunState
from orchestrator.audit.verify import Verdict, read_log
from orchestrator.postgres.migrate import migrate
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.postgres.cluster import PASSWORD, USERS, Cluster
from tests.warm import WarmProcess

DATABASE = "store"
BURST = 4
PLAYBOOK = """
name: crash
limits: {requests_per_second: RATE, burst: BURST, max_in_flight: 8, per_teepod: 8, dispatch: DISPATCH}
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
_BATCH = "several CVMs"
_ACTIONS = frozenset({"stop_cvm", "shutdown_cvm"})

Kind = Literal["kill", "terminate", "pause", "pause_and_restart", "restart", "down", "failover"]


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
        runs: most runs of a worker at once; None for a share of all runs.
    """

    cvms: int = 30
    workspaces: int = 2
    workers: int = 2
    rate: int = 12
    lease: float = 2.0
    timeout: float = 0.9
    runs: int | None = None

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
        connection.execute(b"CHECKPOINT")  # otherwise each restart takes seconds
    try:
        yield
    finally:
        with suppress(psycopg.OperationalError):  # after a failover the server stays down
            cluster.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@dataclass
class Trial:
    """A store with workers, and a simulated cloud.

    Attributes:
        cluster: the server of the store; after a failover the former standby.
        folder: a folder for everything.
        terms: the sizes.
        seed: the seed of the cloud.
        standby: a synchronous standby of the server; None without a standby.
        simulator: the cloud.
        workers: the worker processes.
    """

    cluster: Cluster
    folder: Path
    terms: Terms
    seed: int
    standby: Cluster | None = None
    simulator: BackgroundSimulator = field(init=False)
    workers: list[WarmProcess | None] = field(init=False)

    def __post_init__(self) -> None:
        self.workers = [None] * self.terms.workers

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve the cloud and start the workers for the length of the block."""
        terms = self.terms
        names = [f"{'ab'[number % 2]}-{number}" for number in range(terms.cvms)]
        settings = {
            "fleet": {"cvms": terms.cvms, "seed": self.seed, "names": names, "stopped_share": 0, "gpu_share": 0},
            "timing": {
                "stop_seconds": [0.05, 0.4],
                "shutdown_seconds": [0.1, 2],
                "latency": [0.0, 0.05],
                "read_lag": 0.1,
            },
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
    def dispatch(self) -> str:
        """Dispatch of requests: one CVM in a request, or several."""
        return "batch" if self.seed % 2 else "single"

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
            "ORCHESTRATOR_STORE__URL": self.store_url(user),
            "ORCHESTRATOR_STORE__LEASE": f"{self.terms.lease}s",
            "ORCHESTRATOR_STORE__OUTAGE": "2m",
            # Every worker has a run, so that every fault meets a run.
            "ORCHESTRATOR_WORKER__RUNS": str(
                self.terms.runs or ceil(self.terms.workspaces / max(1, self.terms.workers))
            ),
            "ORCHESTRATOR_RATE__REQUESTS_PER_SECOND": str(self.terms.rate),
            "ORCHESTRATOR_RATE__BURST": str(BURST),
            "ORCHESTRATOR_SETTLE__RECHECK_AFTER": "0.3",
            "ORCHESTRATOR_SETTLE__POLL_MIN": "0.05",
            "ORCHESTRATOR_SETTLE__POLL_MAX": "0.5",
        }

    def store_url(self, user: str) -> str:
        """URL of the database; with a standby, of both servers."""
        if self.standby is None:
            return self.cluster.url(DATABASE, user)
        hosts = f"127.0.0.1:{self.cluster.port},127.0.0.1:{self.standby.port}"
        return f"postgresql://{user}@{hosts}/{DATABASE}?target_session_attrs=read-write"

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

    def write_playbook(self, text: str = PLAYBOOK) -> str:
        """Write a playbook; return its path."""
        playbook = self.folder / f"crash-{len(list(self.folder.glob('*.yaml')))}.yaml"
        values = {"RATE": str(self.terms.rate), "BURST": str(BURST), "DISPATCH": self.dispatch}
        for name, value in values.items():
            text = text.replace(name, value)
        playbook.write_text(text)
        return str(playbook)

    def submit(self, workspace: str | None, text: str = PLAYBOOK) -> str:
        """Submit a run, or a fleet run in the workspaces of the playbook; return its id."""
        chosen = () if workspace is None else ("--workspace", workspace)
        self.command("run", self.write_playbook(text), "--submit", *chosen)
        ((run_id,),) = self.query("SELECT run_id FROM orchestrator.runs ORDER BY submitted_at DESC LIMIT 1")
        return str(run_id)

    def command(self, *args: str) -> None:
        """Carry a command of a person out, again and again until its success."""
        deadline = time.monotonic() + _SLOWEST_S
        while code := self.start(*args, user="oli_operator", place="person").wait(60):
            assert code != 2, self.output("person")
            assert time.monotonic() < deadline, self.output("person")
            _pass(0.2)

    def submit_all(self) -> list[str]:
        """Submit a run in every workspace; return the ids."""
        return [self.submit(name) for name in self.names]

    def wait_for_event(self, run_id: str, event: str) -> None:
        """Wait until a log has a record of an event."""
        deadline = time.monotonic() + _SLOWEST_S
        while not self.query("SELECT FROM orchestrator.records WHERE run_id = %s AND event = %s", run_id, event):
            assert time.monotonic() < deadline, f"no {event}\n{self.output()}"
            _pass(0.05)

    def inflict(self, faults: Sequence[Fault]) -> None:
        """Let the faults happen, one after another; a worker that has ended is replaced at once."""
        for fault in faults:
            _pass(fault.after)
            worker = self.workers[fault.worker]
            assert worker is not None
            self.strike(fault.kind, worker)
            if fault.kind in {"kill", "terminate"}:
                self.start_worker(fault.worker)
            self.check_workers()

    def strike(self, kind: Kind, process: WarmProcess) -> None:
        """Let a fault happen to a process or to the database; return after its end."""
        if kind == "restart":
            self.cluster.restart()
        elif kind == "down":
            self.cluster.stop()
            _pass(self.terms.too_long)
            self.cluster.start()
        elif kind == "failover":
            assert self.standby is not None
            self.cluster.stop()
            self.standby.promote()
            self.cluster = self.standby
        elif kind in {"pause", "pause_and_restart"}:
            ends = time.monotonic() + self.terms.too_long
            process.send_signal(signal.SIGSTOP)
            if kind == "pause_and_restart":
                self.cluster.restart()
            _pass(max(0.0, ends - time.monotonic()))
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
        self.check_workers()

    def check_workers(self) -> None:
        """Check that no worker has ended by itself: a worker waits for a database that is down."""
        assert all(each is None or each.poll() is None for each in self.workers), self.output()

    def query(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Execute a query as the superuser."""
        with psycopg.connect(self.cluster.admin_url(DATABASE), autocommit=True) as connection:
            return connection.execute(statement.encode(), arguments).fetchall()

    def output(self, place: str = "worker-*") -> str:
        """Read what processes have printed, for a failed test."""
        return "\n".join(f"--- {file.stem}\n{file.read_text()[-3000:]}" for file in self.folder.glob(f"{place}.txt"))

    # Promises ---------------------------------------------------------------------------------------------------------

    def check_promises(self) -> None:
        """Check that every CVM of every workspace was stopped once, and check all runs."""
        for name in self.names:
            cloud = self.simulator.workspaces.by_name[name]
            cvms, now = cloud.world.cvms, cloud.now()
            assert {cvm.phase_at(now).status for cvm in cvms} == {"stopped"}, self.output()
            assert Counter(cvm.effective_stops for cvm in cvms) == {1: len(cvms)}
            for cvm in cvms:
                assert max(Counter(operation.type for operation in cvm.operations).values()) == 1
        counts: Counter[str] = Counter()
        for state in self.check_runs(0):
            counts.update(state.counts)
        assert counts == {"settled": self.terms.cvms * len(self.names)}

    def check_runs(self, exit_code: int | None) -> list[RunState]:
        """Check that every log is whole, and that every stop request had a lease; return what the logs add up to.

        Args:
            exit_code: the exit code of every run; None for any exit code.
        """
        states = []
        for run_id, name, code in self.query(
            "SELECT run_id, workspace, exit_code FROM orchestrator.runs ORDER BY submitted_at"
        ):
            assert exit_code in {None, code}, self.output()
            if name is None:
                continue  # a fleet run sends nothing itself
            states.append(state := self.replay(run_id))
            assert self.find_late(run_id, name, state) == []
        return states

    def check_record_of_leases(self) -> None:
        """Check that a request without a lease is found."""
        ((run_id, name),) = self.query("SELECT run_id, workspace FROM orchestrator.runs LIMIT 1")
        with suppress(httpx.HTTPError):  # of a simulated fault, before or after the record
            self.send_late(name)
        assert self.find_late(run_id, name, self.replay(run_id))

    def count_records(self, run_id: str, event: str) -> int:
        """Count the records of an event."""
        statement = "SELECT count(*) FROM orchestrator.records WHERE run_id = %s AND event = %s"
        ((number,),) = self.query(statement, run_id, event)
        return int(number)

    @property
    def slowest_take(self) -> float:
        """Most seconds from the last change of one holder to the take of the next."""
        rows = self.query(
            "SELECT max(extract(epoch FROM at - before)) FROM (SELECT epoch, at, lag(at) OVER w AS before,"
            " lag(epoch) OVER w AS earlier FROM lease_log WINDOW w AS (PARTITION BY run_id ORDER BY at)) AS changes"
            " WHERE epoch > earlier"
        )
        return float(rows[0][0] or 0)

    def send_late(self, workspace: str) -> None:
        """Send a stop request without a lease."""
        cloud = self.simulator.workspaces.by_name[workspace]
        path = f"/cvms/{cloud.world.cvms[0].hashid}/stop"
        httpx.post(self.simulator.url + path, headers={"X-API-Key": cloud.world.api_key}, trust_env=False)

    def replay(self, run_id: str) -> RunState:
        """Verify the exported bytes of a log, and return what the log adds up to; a void run has no log."""
        file = self.folder / f"{run_id}.jsonl"
        rows = self.query("SELECT line FROM orchestrator.records WHERE run_id = %s ORDER BY seq", run_id)
        file.write_bytes(b"".join(bytes(line) for (line,) in rows))
        state = RunState()
        if not rows:
            return state
        assert read_log(file, state.apply_record).verdict is Verdict.WHOLE
        return state

    def find_late(self, run_id: str, workspace: str, state: RunState) -> list[str]:
        """Find the stop requests without a lease at their arrival, or of an earlier holder after another take.

        A request of an earlier holder shows as one more request for the CVM than the present holder has announced.
        Requests for several CVMs are counted together; only one run of the workspace may send such requests.
        """
        cloud = self.simulator.workspaces.by_name[workspace]
        mine = {target.ref.id for target in state.targets.values()}
        began = time.time() - cloud.now()
        stops = [
            (began + each.at, each.cvm_hashid or _BATCH)
            for each in cloud.requests
            if (each.operation in _ACTIONS and each.cvm_hashid in mine) or each.operation == "batch_stop"
        ]
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
                "SELECT epoch, CASE WHEN line ? 'batch' THEN %s ELSE line -> 'cvm' ->> 'id' END FROM ("
                " SELECT DISTINCT ON (epoch, coalesce(line ->> 'batch', seq || 'th')) epoch, line FROM ("
                " SELECT epoch, seq, convert_from(line, 'UTF8')::jsonb AS line FROM orchestrator.records"
                " WHERE run_id = %s AND event = 'action.intent') AS intents) AS requests",
                _BATCH,
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


def carry_out(cluster: Cluster, folder: Path, seed: int, terms: Terms, faults: Sequence[Fault]) -> float:
    """Carry out a trial, and check its promises; return the most seconds between two holders of a run."""
    trial = Trial(cluster, folder, terms, seed)
    with trial.running():
        trial.submit_all()
        trial.inflict(faults)
        trial.wait_for_the_end()
        trial.check_promises()
        trial.check_record_of_leases()
        return trial.slowest_take
