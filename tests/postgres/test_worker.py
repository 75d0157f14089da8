"""`orchestrator worker` as processes: submitted runs, hand-overs, takeovers, cancelling, outages of the database."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.audit.store import new_run_id
from orchestrator.audit.verify import Verdict, check_lines, ignore_record
from orchestrator.playbook.load import load_playbook
from orchestrator.postgres.connect import connect
from orchestrator.postgres.submissions import cancel_run, submit_run
from orchestrator.runs.submission import Submission
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.e2e.site import STILL, until
from tests.postgres.cluster import PASSWORD, Cluster
from tests.postgres.proxy import Proxy
from tests.warm import WarmProcess

PLAYBOOK = """\
name: demo
vars: {rate: {default: "20"}}
limits: {requests_per_second: "${rate}", burst: 1}
steps:
  - {name: stop, action: stop, select: {name: ["web-*"]}}
"""
LAUNCH = (
    "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//x//x//EN\nBEGIN:VEVENT\nUID:1\nDTSTAMP:20261101T000000Z\n"
    f"DTSTART:{datetime.now(UTC):%Y%m%dT000000Z}\nDURATION:P9D\nSUMMARY:Launch\nEND:VEVENT\nEND:VCALENDAR\n"
)
LEASE = 2.0


class Team:
    """A simulated cloud, and processes of a team in a folder."""

    def __init__(self, folder: Path, sim: BackgroundSimulator, cluster: Cluster, database: str) -> None:
        self.folder, self.sim = folder, sim
        self._cluster, self._database = cluster, database
        self.workers: list[WarmProcess] = []
        self._commands: list[WarmProcess] = []
        self.proxy: Proxy | None = None
        self.port = cluster.port
        (folder / "demo.yaml").write_text(PLAYBOOK)
        (folder / "prod.key").write_text(sim.api_key)
        (folder / "prod.key").chmod(0o600)
        (folder / "worker.toml").write_text(
            f'[cloud]\ntimeout = "1s"\nbase_url = "{sim.url}"\n[store]\nlease = "{LEASE:g}s"\n'
            '[settle]\nrecheck_after = "0.1s"\npoll_min = 0.1\npoll_max = 0.5\n'
            f'[workspaces.prod]\napi_key_file = "{folder}/prod.key"\nbase_url = "{sim.url}"\n'
        )

    def url(self, user: str) -> str:
        """URL of the database; of workers and viewers through the proxy, if there is one."""
        url = self._cluster.url(self._database, user).replace(f":{self._cluster.port}/", f":{self.port}/")
        if self.proxy is not None and user != "oli_operator":
            url = url.replace(f":{self.port}/", f":{self.proxy.port}/")
        return url

    def start(self, *words: str, user: str) -> WarmProcess:
        """Start a command as a user of the database."""
        if words[0] == "worker":
            return self.start_logged(words, f"log-{len(self.workers)}", user=user)
        pipe = subprocess.PIPE
        process = self._start(words, user, pipe, pipe)
        self._commands.append(process)
        return process

    def start_logged(self, words: tuple[str, ...], log: str, *, user: str) -> WarmProcess:
        """Start a command as a user of the database, with its output in a file."""
        with (self.folder / log).open("a") as file:
            return self._start(words, user, file, file)

    def _start(self, words: tuple[str, ...], user: str, out: Any, err: Any) -> WarmProcess:  # noqa: ANN401 - as of Popen
        env = {"HOME": str(self.folder), "PGPASSWORD": PASSWORD, "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}
        more = {"ORCHESTRATOR_STORE__URL": self.url(user), "ORCHESTRATOR_STATE_DIR": str(self.folder / user)}
        null = subprocess.DEVNULL
        return WarmProcess(words, cwd=self.folder, env=env | more, stdin=null, stdout=out, stderr=err)

    def call(self, *words: str, user: str = "oli_operator", code: int = 0) -> str:
        """Call a command; return its stdout and its stderr."""
        process = self.start(*words, user=user)
        out, err = process.communicate(timeout=60)
        assert process.wait() == code, (out, err, self.logs())
        return out + ("" if "--json" in words else err)

    def start_worker(self) -> WarmProcess:
        """Start a worker, and wait until it is on the list."""
        worker = self.start("worker", "--config", "worker.toml", user="wes_worker")
        self.workers.append(worker)
        until(lambda: self.query("SELECT 1 FROM orchestrator.workers WHERE holder LIKE %s", [f"%:{worker.pid}"]))
        return worker

    def submit(self, rate: int) -> str:
        """Submit the playbook with a rate in this process; return the id of the run."""
        loaded = load_playbook(self.folder / "demo.yaml", {"rate": str(rate)})
        run_id, spec = new_run_id(datetime.now(UTC)), Submission(loaded).document()
        with connect(self.url("oli_operator")) as connection:
            submit_run(connection, run_id, "prod", "demo", spec, version=1, by="oli@desk", budget=(5.0, 5))
        return run_id

    def wait_for_end(self, run_id: str) -> tuple[str, int]:
        """Wait for the end of a run; return its state and its exit code."""
        statement = "SELECT state, exit_code FROM orchestrator.runs WHERE run_id = %s AND finished_at IS NOT NULL"
        until(lambda: self.query(statement, [run_id]))
        ((state, code),) = self.query(statement, [run_id])
        return state, code

    def cancel(self, run_id: str, *, at_once: bool) -> None:
        """Cancel a run in this process."""
        with connect(self.url("oli_operator")) as connection:
            assert cancel_run(connection, run_id, at_once=at_once, by="oli@desk")

    def query(self, statement: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute a statement as the superuser."""
        with psycopg.connect(self._cluster.admin_url(self._database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), arguments)
            return cursor.fetchall() if cursor.description else []

    def records(self, run_id: str) -> list[dict[str, Any]]:
        """The records of a run, checked as a log."""
        rows = self.query("SELECT line FROM orchestrator.records WHERE run_id = %s ORDER BY seq", [run_id])
        lines = [bytes(line) for (line,) in rows]
        assert check_lines(lines, ignore_record).verdict in {Verdict.WHOLE, Verdict.UNFINISHED}
        return [json.loads(line) for line in lines]

    def events(self, run_id: str) -> list[str]:
        """The names of the records of a run."""
        return [record["event"] for record in self.records(run_id)]

    def is_under_way(self, run_id: str, accepted: int = 1) -> bool:
        """Whether some stops of a run are accepted."""
        return self.events(run_id).count("action.accepted") >= accepted

    def kill(self) -> None:
        """End all processes, and close their pipes."""
        for process in (*self.workers, *self._commands):
            process.kill()
            process.wait(20)
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()

    def logs(self) -> str:
        """What the workers wrote."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("log-*")))

    def stops(self) -> list[int]:
        """Number of stops with an effect, of each CVM."""
        return [cvm.effective_stops for cvm in self.sim.world.visible_cvms(self.sim.now())]


@pytest.fixture
def team(tmp_path: Path, durable: Cluster, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    """A team over a cloud of eight CVMs."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    timing = {"stop_seconds": [0.1, 0.5], "latency": [0.01, 0.02]}
    settings = parse_settings({**STILL, "timing": timing, "api": {"simulated_header": False}})
    with BackgroundSimulator(settings) as sim:
        team = Team(tmp_path, sim, durable, database)
        yield team
        team.kill()
    key = sim.api_key.encode()
    dump = str(team.query("SELECT schema_to_xml('orchestrator', true, false, '')::text"))
    dump += str(team.query("SELECT line FROM orchestrator.records"))
    assert key not in dump.encode()
    assert key.decode() not in team.logs()


@contextmanager
def proxied(team: Team, cluster: Cluster) -> Iterator[Proxy]:
    """Let workers reach the database through a proxy."""
    team.proxy = Proxy(cluster.folder / f".s.PGSQL.{cluster.port}")
    try:
        yield team.proxy
    finally:
        team.kill()
        team.proxy.close()


def test_a_submitted_run_is_carried_out_and_watched_and_its_log_verifies(team: Team) -> None:
    first = team.start_worker()
    submit = ("run", "demo.yaml", "--submit", "--workspace", "prod", "--json")
    (team.folder / "frozen.yaml").write_text(f"{PLAYBOOK}guards: {{not_during: {{timezone: UTC, on: launch.ics}}}}\n")
    (team.folder / "launch.ics").write_text(LAUNCH)
    frozen = json.loads(team.call(*submit[:1], "frozen.yaml", *submit[2:]))["run_id"]
    (team.folder / "launch.ics").unlink()
    assert "Launch (launch.ics), UTC" in json.loads(team.call("watch", frozen, "--json", code=3))["reason"]

    run_id = json.loads(team.call(*submit, "--expect", "8"))["run_id"]
    assert f"Run {run_id}  succeeded: 8 of 8 CVMs stopped (exit 0)" in team.call("watch", run_id)
    started = team.records(run_id)[0]
    assert started["submitted"]["db_user"] == "oli_operator"
    assert started["actor"] == started["submitted"]["by"]
    assert started["workspace_name"] == "prod"
    ends = team.query("SELECT state, exit_code, holder FROM orchestrator.runs ORDER BY exit_code")
    assert ends == [("finished", 0, None), ("void", 3, None)]
    until(lambda: not team.query("SELECT 1 FROM orchestrator.procrastinate_jobs"))
    assert "whole" in team.call("audit", "verify", run_id, user="vic_viewer")
    assert team.stops() == [1] * 8

    refused = json.loads(team.call(*submit, "--expect", "3"))["run_id"]
    assert json.loads(team.call("watch", refused, "--json", code=3))["reason"].startswith(
        "--expect 3, but the plan has"
    )
    first.terminate()
    assert first.wait(10) == 0
    waiting = team.submit(rate=1)
    listed = json.loads(team.call("runs", "--json", user="vic_viewer"))
    assert {(row["run_id"], row["state"], row["exit_code"], row["next"]) for row in listed} == {
        (waiting, "waiting", None, f"orchestrator watch {waiting}"),
        (refused, "refused", 3, None),
        (run_id, "finished", 0, None),
        (frozen, "refused", 3, None),
    }
    assert "refused (3)" in team.call("runs")


def test_a_run_is_handed_over_at_sigterm_and_taken_over_after_a_kill(team: Team) -> None:
    first = team.start_worker()
    run_id = team.submit(rate=1)
    until(lambda: team.is_under_way(run_id))
    second = team.start_worker()
    began = time.monotonic()
    first.terminate()
    assert first.wait(10) == 0
    until(lambda: "run.resumed" in team.events(run_id))
    assert time.monotonic() - began < 5
    until(lambda: team.is_under_way(run_id, accepted=4))
    team.start_worker()
    began = time.monotonic()
    second.kill()
    until(lambda: team.events(run_id).count("run.resumed") == 2)
    assert time.monotonic() - began < LEASE + 5
    assert team.wait_for_end(run_id) == ("finished", 0)
    records = team.records(run_id)
    interrupted = next(record for record in records if record["event"] == "run.interrupted")
    resumed = [record for record in records if record["event"] == "run.resumed"]
    assert interrupted["reason"] == "sigterm"
    assert [record["epoch"] for record in resumed] == [2, 3]
    assert [record["holder"].rpartition(":")[2] for record in resumed] == [
        str(worker.pid) for worker in team.workers[1:]
    ]
    assert team.stops() == [1] * 8


def test_a_cancelled_run_ends_for_good_with_its_worker_or_with_the_next(team: Team) -> None:
    first = team.start_worker()
    run_id = team.submit(rate=1)
    until(lambda: team.is_under_way(run_id))
    team.cancel(run_id, at_once=False)
    assert team.wait_for_end(run_id) == ("finished", 8)
    last = team.records(run_id)[-1]
    assert (last["ending"], last["exit_code"], last["cancelled_by"]) == ("cancelled", 8, "oli@desk")
    assert set(last["counts"]) == {"settled", "not_sent"}
    sent = sum(team.stops())

    other = team.submit(rate=1)
    until(lambda: team.is_under_way(other))
    first.terminate()
    assert first.wait(10) == 0
    team.cancel(other, at_once=True)
    team.start_worker()
    assert team.wait_for_end(other) == ("finished", 8)
    last = team.records(other)[-1]
    assert (last["event"], last["ending"]) == ("run.finished", "cancelled")
    asked = [record for record in team.records(other) if record["event"] == "action.accepted"]
    assert sum(team.stops()) == sent + len(asked)


def test_a_run_of_a_person_is_cancelled_by_another_person_and_taken_by_no_worker(team: Team) -> None:
    words = ("run", "demo.yaml", "--workspace", "prod", "--config", "worker.toml", "--var", "rate=1", "--expect", "8")
    process = team.start(*words, user="oli_operator")
    until(lambda: team.query("SELECT 1 FROM orchestrator.runs WHERE seq > 4"))
    ((run_id, adopt),) = team.query("SELECT run_id, adopt FROM orchestrator.runs")
    assert not adopt
    team.cancel(run_id, at_once=True)
    out, err = process.communicate(timeout=30)
    assert (process.wait(), "cancelled" in out) == (8, True), (out, err)
    last = team.records(run_id)[-1]
    assert (last["ending"], last["cancelled_by"]) == ("cancelled", "oli@desk")


ASKING = """\
name: demo
vars: {rate: {default: "20"}}
steps:
  - {name: first, action: stop, select: {name: [web-1]}}
  - {name: look, action: pause, question: "Dashboards green?", timeout: 2m}
  - {name: rest, action: stop, select: {name: ["web-*"]}}
"""


def test_a_question_is_asked_again_after_a_kill_and_an_answer_to_the_dead_worker_counts_for_nothing(
    team: Team,
) -> None:
    (team.folder / "demo.yaml").write_text(ASKING)
    first = team.start_worker()
    run_id = team.submit(rate=20)
    until(lambda: "approval.requested" in team.events(run_id))
    first.kill()
    asked = team.records(run_id)[-1]
    answer = [run_id, asked["hash"], asked["seq"], "look", False, "eve@desk", None]
    team.query("SELECT orchestrator.submit_answer(%s, %s, %s, %s, %s, %s, %s)", answer)
    team.start_worker()
    until(lambda: team.events(run_id).count("approval.requested") == 2)
    team.call("approve", run_id, "--yes", "--comment", "all green")
    assert team.wait_for_end(run_id) == ("finished", 0)
    answers = [record for record in team.records(run_id) if record["event"] == "approval.answered"]
    assert [(each["answer"], each["comment"], each["db_user"]) for each in answers] == [
        ("approved", "all green", "oli_operator")
    ]
    assert team.stops() == [1] * 8


def test_a_worker_waits_while_the_database_is_down_and_its_run_goes_on_afterwards(team: Team, durable: Cluster) -> None:
    with proxied(team, durable) as proxy:
        proxy.break_off()
        team.workers.append(team.start("worker", "--config", "worker.toml", user="wes_worker"))
        until(lambda: "the worker waits for the database" in team.logs())
        proxy.is_down = False
        run_id = team.submit(rate=4)
        watch = team.start("watch", run_id, user="vic_viewer")
        assert watch.stderr is not None
        until(lambda: "watch.held" in watch.stderr.readline())  # type: ignore[union-attr] # checked before
        proxy.break_off()
        until(lambda: team.logs().count("store.down") == 2)
        proxy.is_down = False
        out, err = watch.communicate(timeout=60)
        assert (watch.wait(), "store.down" in err, "8 of 8 CVMs stopped" in out) == (0, True, True)
        assert team.wait_for_end(run_id) == ("finished", 0)
        until(lambda: "store.up" in team.logs())
        assert team.stops() == [1] * 8


def test_a_question_survives_its_worker_and_is_answered_once(team: Team) -> None:
    steps = "  - {name: look, action: pause, question: 'Go on?', timeout: 10m}\n"
    steps += "  - {name: rest, action: stop, select: {name: [web-2]}}\n"
    (team.folder / "demo.yaml").write_text(PLAYBOOK.replace("web-*", "web-1") + steps)
    with (team.folder / "worker.toml").open("a") as file:
        file.write("[worker]\nruns = 1\n")
    first = team.start_worker()
    run_id = team.submit(rate=20)
    until(lambda: "approval.requested" in team.events(run_id))
    (team.folder / "demo.yaml").write_text(PLAYBOOK.replace("web-*", "web-3"))
    assert team.wait_for_end(team.submit(rate=20)) == ("finished", 0)  # in the only place, beside the question
    team.start_worker()
    first.kill()
    until(lambda: team.events(run_id).count("approval.requested") == 2)
    team.call("approve", run_id, "--yes", "--comment", "seen")
    assert team.wait_for_end(run_id) == ("finished", 0)
    (answered,) = [record for record in team.records(run_id) if record["event"] == "approval.answered"]
    assert (answered["answer"], answered["comment"]) == ("approved", "seen")


def test_a_worker_without_a_key_or_rights_does_not_start(team: Team) -> None:
    (team.folder / "prod.key").unlink()
    process = team.start("worker", "--config", "worker.toml", user="vic_viewer")
    assert (process.wait(20), "the worker has no key" in team.logs()) == (2, True)
    (team.folder / "prod.key").write_text(team.sim.api_key)
    (team.folder / "prod.key").chmod(0o600)
    process = team.start("worker", "--config", "worker.toml", user="vic_viewer")
    assert (process.wait(20), "no rights" in team.logs()) == (2, True)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_a_run_ends_with_each_stop_sent_once_whatever_happens_to_its_workers(
    tmp_path: Path, durable: Cluster, database: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    rng = random.Random(seed)
    names = [f"web-{number}" for number in range(120)]
    settings = parse_settings(
        {
            "fleet": {"cvms": 120, "seed": seed, "names": names, "stopped_share": 0},
            "timing": {"stop_seconds": [0.5, 2.0], "latency": [0.02, 0.2]},
            "faults": {"error_before": 0.03, "error_after": 0.03, "reset_before": 0.02, "reset_after": 0.03},
            "api": {"simulated_header": False},
        }
    )
    with BackgroundSimulator(settings) as sim:
        team = Team(tmp_path, sim, durable, database)
        try:
            for _ in range(3):
                team.start_worker()
            run_id = team.submit(rate=8)
            while "run.finished" not in team.events(run_id):
                threading.Event().wait(rng.uniform(0.5, 2.5))
                _disturb(team, rng)
            assert team.wait_for_end(run_id) == ("finished", 0)
            assert team.stops() == [1] * 120
        finally:
            team.kill()


def _disturb(team: Team, rng: random.Random) -> None:
    """Kill, end or pause the worker of the run, and start another worker."""
    rows = team.query("SELECT holder FROM orchestrator.runs WHERE lease_until > clock_timestamp()")
    if not rows:
        return
    pid = rows[0][0].rpartition(":")[2]
    worker = next(worker for worker in team.workers if str(worker.pid) == pid)
    how = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
    worker.send_signal(how)
    if how is signal.SIGSTOP:
        threading.Event().wait(LEASE + 1.5)
        worker.send_signal(signal.SIGCONT)
    else:
        worker.wait(15)
        team.start_worker()
