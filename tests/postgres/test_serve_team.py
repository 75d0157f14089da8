"""`orchestrator serve` on two machines with a team store: as processes, with a simulated cloud."""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.cli.handlers.playbooks import read_folder
from orchestrator.cli.handlers.serve_team import check_store
from orchestrator.errors import SettingsError
from orchestrator.postgres.connect import connect
from orchestrator.postgres.playbooks import StoredSnooze, push_playbooks, set_snooze
from orchestrator.service.folder import PlaybookFolder
from orchestrator.settings.load import load_settings
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from orchestrator.times import timestamp
from tests.e2e.site import STILL, until
from tests.postgres.cluster import PASSWORD, Cluster
from tests.postgres.conftest import set_fsync
from tests.postgres.test_worker import Team
from tests.warm import WarmProcess

DAILY = """\
name: daily
schedule: {{cron: "{cron}", timezone: UTC, on_missed: run_once}}
workspaces: [prod]
limits: {{requests_per_second: {rate}, burst: 1}}
steps:
  - {{name: stop, action: stop, select: {{name: ["web-*"]}}}}
"""


class ServingTeam(Team):
    """A team with services."""

    def push(self, *, cron: str, rate: int, wake: str = "") -> None:
        """Push a folder with the playbook."""
        folder = self.folder / "playbooks"
        folder.mkdir(exist_ok=True)
        (folder / "daily.yaml").write_text(DAILY.format(cron=cron, rate=rate) + wake)
        with connect(self.url("oli_operator")) as connection:
            push_playbooks(connection, read_folder(folder), prune=True, by="oli@desk")

    def enable(self, moment: datetime) -> None:
        """Have the journal say that the schedule, and its wake, are known since this moment."""
        found = PlaybookFolder(self.folder / "playbooks", self.folder / "kept").scan({}).watched
        for seq, (name, watched) in enumerate(sorted(found.items()), start=1):
            about = {"playbook": name, "file": watched.file, "timezone": "UTC"}
            about |= {"when": watched.when, "left_out": watched.left_out}
            line = json.dumps({"v": 1, "ts": timestamp(moment), "event": "schedule.enabled", **about})
            self.query("INSERT INTO orchestrator.journal (seq, epoch, line) VALUES (%s, 0, %s)", [seq, line])

    def serve(self, name: str, config: str = "worker.toml") -> WarmProcess:
        """Start a service with a state folder of its own; its log has the name."""
        words = ("serve", "--listen", "127.0.0.1:0", "--config", config)
        settings = ("--set", f"audit.state_dir={name}", "--set", "log.format=json")
        process = self.start_logged((*words, *settings), f"log-{name}", user="wes_worker")
        self.workers.append(process)
        return process

    def said(self, name: str, *events: str) -> list[dict[str, Any]]:
        """The events in the log of a service."""
        lines = (self.folder / f"log-{name}").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [each for each in found if each["event"] in events]

    def journal(self, event: str) -> list[dict[str, Any]]:
        """The lines of an event in the journal."""
        statement = "SELECT line FROM orchestrator.journal WHERE line->>'event' = %s ORDER BY seq"
        return [line for (line,) in self.query(statement, [event])]


@pytest.fixture
def team(tmp_path: Path, durable: Cluster, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServingTeam]:
    """A team over a cloud of eight CVMs."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    timing = {"stop_seconds": [0.1, 0.5], "latency": [0.01, 0.02]}
    settings = parse_settings({**STILL, "timing": timing, "api": {"simulated_header": False}})
    with BackgroundSimulator(settings) as sim:
        team = ServingTeam(tmp_path, sim, durable, database)
        yield team
        team.kill()


def test_after_a_kill_of_the_leader_the_other_machine_continues_the_run_and_the_schedules(team: ServingTeam) -> None:
    due = (datetime.now(UTC) - timedelta(hours=2)).replace(second=0, microsecond=0)
    team.push(cron=f"{due.minute} {due.hour} * * *", rate=4)
    team.enable(due - timedelta(hours=1))
    one = team.serve("one")
    until(lambda: team.said("one", "service.leading"))
    two = team.serve("two")
    until(lambda: team.said("two", "service.standby"))
    (standby,) = team.said("two", "service.started")
    document = httpx.get(standby["url"] + "/api/overview", timeout=30).json()
    assert (document["standby"], document["leader"].endswith(f":{one.pid}"), document["playbooks"]) == (True, True, [])
    assert httpx.get(standby["url"] + "/readyz").status_code == 200
    runs = "SELECT run_id FROM orchestrator.runs"
    until(lambda: team.query(runs))
    ((run_id,),) = team.query(runs)
    until(lambda: team.is_under_way(run_id, 2))
    one.kill()
    killed = time.monotonic()
    until(lambda: team.said("two", "service.leading"))
    assert time.monotonic() - killed < 2 + 5
    assert team.wait_for_end(run_id) == ("finished", 0)
    until(lambda: team.journal("firing.ended"))
    two.terminate()
    assert two.wait(10) == 0
    assert team.stops() == [1] * 8
    (claimed,), (ended,) = team.journal("firing.claimed"), team.journal("firing.ended")
    assert (claimed["run_id"], claimed["planned"], claimed["missed"]) == (run_id, timestamp(due), 1)
    assert (ended["result"], ended["exit_code"]) == ("ran", 0)
    started = team.records(run_id)[0]
    assert started["trigger"] == {"schedule": "daily", "planned": timestamp(due), "moment": timestamp(due)}
    assert started["playbook"]["path"] == "daily.yaml"
    assert team.query("SELECT lease_until FROM orchestrator.leases") == [(None,)], "the duty was given away"


def test_a_wake_starts_what_a_submitted_run_stopped(team: ServingTeam) -> None:
    due = (datetime.now(UTC) - timedelta(hours=1)).replace(second=0, microsecond=0)
    later = due + timedelta(hours=4)
    wake = f"wake: {{cron: '{due.minute} {due.hour} * * *'}}\n"
    team.push(cron=f"{later.minute} {later.hour} * * *", rate=50, wake=wake)
    team.enable(due - timedelta(hours=1))
    worker = team.start_worker()
    stopped = json.loads(team.call("run", "playbooks/daily.yaml", "--submit", "--workspace", "prod", "--json"))[
        "run_id"
    ]
    assert team.wait_for_end(stopped) == ("finished", 0)
    worker.terminate()
    assert worker.wait(10) == 0
    one = team.serve("one")
    until(lambda: team.journal("firing.ended"))
    (claimed,), (ended,) = team.journal("firing.claimed"), team.journal("firing.ended")
    assert (claimed["playbook"], claimed["wakes"], ended["exit_code"]) == ("daily (wake)", "daily", 0)
    started = team.records(claimed["run_id"])[0]
    assert started["wakes"] == {"playbook": "daily", "runs": [stopped]}
    assert team.query("SELECT format FROM orchestrator.runs ORDER BY submitted_at") == [(1,), (2,)]
    now = team.sim.now()
    assert {cvm.phase_at(now).status for cvm in team.sim.world.visible_cvms(now)} == {"running"}
    one.terminate()
    assert one.wait(10) == 0


def test_a_service_without_a_key_schedules_only_and_follows_pushes_and_snoozes(team: ServingTeam) -> None:
    (team.folder / "none.toml").write_text('[cloud]\ntimeout = "1s"\n[store]\nlease = "2s"\n')
    process = team.serve("one", "none.toml")
    until(lambda: team.said("one", "service.leading"))
    until(lambda: team.said("one", "service.no_playbooks"))
    assert len(team.said("one", "service.no_worker")) == 1
    team.push(cron="0 1 1 1 *", rate=4)
    until(lambda: team.said("one", "schedule.watched"))
    (started,) = team.said("one", "service.started")
    with connect(team.url("oli_operator")) as connection:
        now = datetime.now(UTC)
        set_snooze(connection, StoredSnooze("daily", now, now + timedelta(days=1), "oli@desk"))
    until(lambda: httpx.get(started["url"] + "/api/overview", timeout=30).json()["playbooks"][0]["snoozed_until"])
    second = team.serve("two", "none.toml")
    until(lambda: team.said("two", "service.standby"))
    process.terminate()
    stopped = time.monotonic()
    assert process.wait(10) == 0
    until(lambda: team.said("two", "service.leading"))
    assert time.monotonic() - stopped < 5
    second.terminate()
    assert second.wait(10) == 0


@pytest.mark.parametrize(
    ("user", "fault", "remedy"),
    [
        ("vic_viewer", "may not run schedules", "orchestrator_worker"),
        ("sam_stranger", "no rights", "orchestrator_worker"),
        ("nobody_known", "wrong user or password", "PGPASSWORD"),
    ],
)
def test_a_user_without_the_rights_of_a_worker_is_refused_at_the_start(
    team: ServingTeam, user: str, fault: str, remedy: str
) -> None:
    with pytest.raises(SettingsError, match=fault) as refused:
        check_store(load_settings(None, (f"store.url={team.url(user)}",)))
    assert remedy in str(refused.value.hint)


def test_a_database_without_a_schema_or_without_durability_is_refused_at_the_start(
    durable: Cluster, empty_database: str
) -> None:
    settings = load_settings(None, (f"store.url={durable.admin_url(empty_database)}",))
    with pytest.raises(SettingsError, match="no schema") as refused:
        check_store(settings)
    assert "store migrate" in str(refused.value.hint)
    set_fsync(durable, "off")
    try:
        with pytest.raises(SettingsError, match="fsync is off"):
            check_store(settings)
    finally:
        set_fsync(durable, "on")


def test_an_unreachable_database_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_store(load_settings(None, (f"store.url=postgresql://x@/x?host={tmp_path}",)))
    assert "store.down" in capsys.readouterr().out


def test_bad_input_of_serve_with_a_team_store(team: ServingTeam) -> None:
    out = team.call("serve", "--playbooks", "playbooks", "--config", "worker.toml", user="wes_worker", code=2)
    assert "`serve` reads the playbooks from the store" in out
    assert "playbooks push DIR" in out


def test_an_operator_keeps_and_snoozes_on_the_page(team: ServingTeam) -> None:
    tokens = team.folder / "tokens"
    tokens.write_text(f"anna operator {'a' * 64}\n")
    tokens.chmod(0o600)
    worker = (team.folder / "worker.toml").read_text()
    (team.folder / "page.toml").write_text(f'{worker}\n[service]\ntoken_file = "{tokens}"\n')
    team.push(cron="0 3 1 1 *", rate=4)
    team.query("GRANT orchestrator_operator TO wes_worker")
    try:
        team.serve("one", "page.toml")
        until(lambda: team.said("one", "schedule.watched"))
        (started,) = team.said("one", "service.started")
        with httpx.Client(base_url=started["url"], headers={"origin": started["url"]}, timeout=30) as client:
            assert client.post("/login", data={"token": "a" * 64}).status_code == 303
            (key,) = {*re.findall(r'name="form_key" value="([^"]*)"', client.get("/keep").text)}
            kept = {"form_key": key, "cvm": "web-1", "until": "1d", "reason": "load test"}
            assert client.post("/keep", data=kept).status_code == 303
            snoozed = client.post("/snooze", data={"form_key": key, "playbook": "daily", "until": "8h"})
            assert snoozed.status_code == 303, snoozed.text
    finally:
        team.query("REVOKE orchestrator_operator FROM wes_worker")
    (entry,) = json.loads(team.call("keep", "--list", "--json"))
    assert (entry["cvm"], entry["owner"], entry["reason"]) == ("web-1", "anna (page)", "load test")
    assert team.query("SELECT snoozed_by FROM orchestrator.snoozes WHERE playbook = 'daily'") == [("anna (page)",)]
