"""What a released version left unfinished goes on with this one, against a cloud with the same CVMs."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from dirty_equals import IsPartialDict

from orchestrator.simulator.serve import BackgroundSimulator
from tests.released.cloud import cloud_of
from tests.released.reading import cases_of, copy_of
from tests.released.test_reading import every_version
from tests.warm import WarmProcess


class Site:
    """The files of a version in a folder of its own, and the cloud of one of its runs."""

    def __init__(self, version: Path, case: str, folder: Path, cloud: BackgroundSimulator) -> None:
        self.folder, self.cloud = folder, cloud
        self.run_id: str = cases_of(version)[case].get("run_id", "")
        self.log = folder / "state" / "runs" / f"{self.run_id}.jsonl"
        keys = {"PHALA_CLOUD_API_KEY": cloud.api_key, "PHALA_CLOUD_API_PREFIX": cloud.url}
        self.environment = copy_of(version, folder) | keys
        if self.run_id:  # of runs against other clouds none is in the way
            for log in (folder / "state" / "runs").glob("*.jsonl"):
                if log != self.log:
                    log.unlink()

    def start(self, *args: str) -> WarmProcess:
        return WarmProcess(
            args,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *args: str, code: int = 0) -> Any:  # noqa: ANN401 - any JSON value
        """Carry a command out; returns its document."""
        return self.end(self.start(*args, "--json"), code=code)

    def end(self, process: WarmProcess, *, code: int = 0) -> Any:  # noqa: ANN401 - any JSON value
        out, err = process.communicate(timeout=180)
        assert process.returncode == code, (out, err)
        return json.loads(out)

    def records(self) -> list[dict[str, Any]]:
        """The whole lines of the log."""
        return [json.loads(line) for line in self.log.read_bytes().split(b"\n")[:-1]]

    def verify(self) -> None:
        """The log is whole and finished."""
        self.run("audit", "verify", self.run_id)

    def statuses(self) -> dict[str, str]:
        """How the CVMs are, by name."""
        now = self.cloud.now()
        return {cvm.name: cvm.phase_at(now).status for cvm in self.cloud.world.cvms}


def asked(version: Path, case: str) -> set[str]:
    """The CVMs that a run had announced a request to when it ended."""
    log = version / "state" / "runs" / f"{cases_of(version)[case]['run_id']}.jsonl"
    records = [json.loads(line) for line in log.read_bytes().split(b"\n")[:-1]]
    return {record["cvm"]["name"] for record in records if record["event"] == "action.intent"}


@contextmanager
def site_of(version: Path, case: str, folder: Path, *, down: Collection[str] = ()) -> Iterator[Site]:
    """A site at which the CVMs called `down` are stopped, and all others run."""
    fleet = cases_of(version)[case]["fleet"]
    with cloud_of(fleet, down=[each["hashid"] for each in fleet if each["name"] in down]) as cloud:
        yield Site(version, case, folder, cloud)


def until(condition: Callable[[], object], *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.02)


@every_version
@pytest.mark.parametrize("case", ["interrupted", "killed", "killed_in_waves", "torn"])
def test_an_unfinished_run_is_resumed_to_its_end_without_asking_anyone_twice(
    version: Path, case: str, tmp_path: Path
) -> None:
    down = asked(version, case)
    with site_of(version, case, tmp_path, down=down) as site:
        names = set(site.statuses())
        ended = site.run("resume", site.run_id, "--yes")
        assert ended["counts"] == {"settled": len(names)}
        assert set(site.statuses().values()) == {"stopped"}
        assert {cvm.name for cvm in site.cloud.world.cvms if cvm.stop_attempts} == names - down
        site.verify()


@every_version
def test_a_question_that_stood_open_is_asked_anew_and_the_answer_to_the_old_one_does_not_count(
    version: Path, tmp_path: Path
) -> None:
    with site_of(version, "answer_left", tmp_path, down=asked(version, "answer_left")) as site:
        resuming = site.start("resume", site.run_id, "--yes", "--json")
        until(lambda: [each["event"] for each in site.records()].count("approval.requested") == 2)
        assert site.run("approve", site.run_id, "--yes") == IsPartialDict(answer="approved", on_record=True)
        assert site.end(resuming)["counts"] == {"settled": 4}
        answers = [each for each in site.records() if each["event"] == "approval.answered"]
        assert [each["answer"] for each in answers] == ["approved"]
        site.verify()


@every_version
def test_a_finished_run_is_undone(version: Path, tmp_path: Path) -> None:
    with site_of(version, "to_restore", tmp_path, down=asked(version, "to_restore")) as site:
        ended = site.run("restore", site.run_id, "--expect", "4")
        assert (ended["counts"], ended["drifted"]) == ({"settled": 4}, [])
        assert set(site.statuses().values()) == {"running"}


@every_version
def test_a_plan_file_is_carried_out(version: Path, tmp_path: Path) -> None:
    with site_of(version, "plan", tmp_path) as site:
        ended = site.run("run", "--plan", "plans/stop.plan", "--expect", "4")
        assert (ended["counts"], ended["drifted"]) == ({"settled": 4}, [])
        assert set(site.statuses().values()) == {"stopped"}


@every_version
def test_the_service_knows_its_firings_and_snoozes_and_carries_none_out_twice(version: Path, tmp_path: Path) -> None:
    with site_of(version, "plan", tmp_path) as site:
        process = site.start("serve", "--playbooks", "playbooks/scheduled", "--listen", "127.0.0.1:0")
        said: list[dict[str, Any]] = []
        assert process.stderr is not None
        try:
            while not any(each["event"] == "schedule.watched" for each in said):
                said.append(json.loads(process.stderr.readline()))
            url = next(each["url"] for each in said if each["event"] == "service.started")
            (row,) = httpx.get(f"{url}/api/overview", timeout=30).json()["playbooks"]
            metrics = httpx.get(f"{url}/metrics").text
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)
        assert process.returncode == 0
        scheduled = cases_of(version)["scheduled"]["run_id"]
        assert row["last"] == IsPartialDict(run_id=scheduled, result="ran", exit_code=0)
        assert row["snoozed_until"].startswith("2190-01-02T00:00:00")
        assert 'orchestrator_last_success_timestamp_seconds{playbook="yearly"}' in metrics
        assert not any(each["event"] == "firing.claimed" for each in said)
        assert not [record for record in site.cloud.requests if record.method == "POST"]
        assert [each["playbook"] for each in site.run("snooze", "--list")] == ["yearly"]
