"""The service as it is installed: what it missed, killed in the middle, told to stop, edited, snoozed, asked."""

import json
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from orchestrator.service.folder import PlaybookFolder
from orchestrator.service.journal import FileJournalStore
from orchestrator.times import timestamp
from tests.e2e.conftest import OpenSite
from tests.e2e.site import NAMES, Site, until

DAILY = """\
name: daily
schedule: {{cron: "{cron}", timezone: UTC, on_missed: {on_missed}, on_overlap: queue}}
limits: {{requests_per_second: {rate}, burst: {burst}, max_in_flight: 20, per_teepod: 20}}
steps:
  - name: pull the power
    action: stop
    select: {{all: true}}
    settle: {{timeout: 10s}}
"""


def some_hours(hours: float) -> datetime:
    """So many hours from now, to the minute."""
    return (datetime.now(UTC) + timedelta(hours=hours)).replace(second=0, microsecond=0)


def cron_of(moment: datetime) -> str:
    return f"{moment.minute} {moment.hour} * * *"


def write(site: Site, *, cron: str, on_missed: str = "run_once", rate: int = 200, burst: int = 50) -> Path:
    """A playbook in the site's folder."""
    folder = site.folder / "playbooks"
    folder.mkdir(exist_ok=True)
    file = folder / "daily.yaml"
    file.write_text(DAILY.format(cron=cron, on_missed=on_missed, rate=rate, burst=burst))
    return file


class Served:
    """A service that goes on, and what it says on stderr."""

    def __init__(self, site: Site, *args: str, env: Mapping[str, str | None] | None = None) -> None:
        self.site = site
        self.process = site.start("serve", "--listen", "127.0.0.1:0", *args, env=env)
        self.said: list[dict[str, Any]] = []
        self.err: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: self.events("service.started") or self.process.poll() is not None)
        assert self.process.poll() is None, self.err
        self.url = self.events("service.started")[0]["url"]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.err.append(line)
            if line.startswith("{"):
                self.said.append(json.loads(line))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [each for each in self.said if each["event"] == name]

    def close(self) -> None:
        """Let go of its output."""
        self._reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30)

    @property
    def row(self) -> dict[str, Any]:
        """The playbook in the overview."""
        (row,) = self.get("/api/overview").json()["playbooks"]
        return dict(row)

    def end(self, *numbers: signal.Signals) -> int:
        """Send signals, and wait for the end; returns the exit code."""
        for number in numbers:
            self.process.send_signal(number)
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join(5)
        text = "".join(self.err)
        assert "Traceback" not in text, text
        assert self.site.sim.api_key not in text
        return code


@contextmanager
def serving(site: Site, *args: str, env: Mapping[str, str | None] | None = None) -> Iterator[Served]:
    served = Served(site, *args, env=env)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
            served.process.wait()
        served.close()


def was_watched_since(site: Site, moment: datetime) -> None:
    """Have the service believe that it saw the schedule first at this moment."""
    (watched,) = PlaybookFolder(site.folder / "playbooks", site.folder / "kept").scan({}).watched.values()
    about = {"playbook": watched.name, "file": watched.file, "timezone": "UTC"}

    async def write() -> None:
        with closing(FileJournalStore(site.state, wall=lambda: moment).open_journal()) as journal:
            await journal.write("schedule.enabled", **about, when=watched.when, left_out=watched.left_out)

    anyio.run(write)


def test_what_was_missed_is_made_up_for_once_and_everything_about_it_can_be_asked(open_site: OpenSite) -> None:
    site = open_site(faults={"throttle": {"probability": 1, "operations": ["stop_cvm"], "limit": 2}})
    due = some_hours(-2)
    write(site, cron=cron_of(due))
    was_watched_since(site, due - timedelta(days=3))
    with serving(site) as served:
        until(lambda: served.events("firing.ended"))
        assert [each["missed"] for each in served.events("firing.claimed")] == [3]
        assert site.effective == dict.fromkeys(NAMES, 1)
        started = site.records[0]
        planned = timestamp(due)
        assert started["trigger"] == {"schedule": "daily", "planned": planned, "moment": planned}
        assert started["run_id"] == served.events("firing.claimed")[0]["run_id"]
        assert (served.get("/healthz").status_code, served.get("/readyz").status_code) == (200, 200)
        row = served.row
        assert row["last"] | {"at": None, "run_id": None} == {
            "planned": planned,
            "run_id": None,
            "exit_code": 0,
            "result": "ran",
            "reason": None,
            "at": None,
        }
        assert row["next"]["planned"] == timestamp(due + timedelta(days=1))
        metrics = served.get("/metrics").text
        for line in (
            'orchestrator_firings_total{playbook="daily",result="ran"} 1.0',
            'orchestrator_runs_total{exit_code="0",playbook="daily"} 1.0',
            'orchestrator_targets_total{action="stop",outcome="settled",playbook="daily"} 8.0',
            'orchestrator_settle_seconds_count{action="stop",playbook="daily"} 8.0',
            'orchestrator_rate_limited_total{playbook="daily"} 2.0',
            'orchestrator_last_success_timestamp_seconds{playbook="daily"}',
        ):
            assert line in metrics
        named = 'orchestrator_next_firing_timestamp_seconds{playbook="daily"} '
        (coming,) = [line.removeprefix(named) for line in metrics.splitlines() if line.startswith(named)]
        assert float(coming) == (due + timedelta(days=1)).timestamp()
        second = site.run("serve", "--listen", "none")
        assert (second.code, "another `orchestrator serve`" in second.err) == (3, True)
        assert served.end(signal.SIGTERM) == 0
    with serving(site) as served:  # started anew it does nothing more
        until(lambda: served.events("schedule.watched"))
        assert 'last_success_timestamp_seconds{playbook="daily"}' in served.get("/metrics").text
        assert served.end(signal.SIGINT) == 0
        assert not served.events("firing.claimed")
    assert site.effective == dict.fromkeys(NAMES, 1)


def test_a_run_that_is_killed_is_resumed_at_the_next_start(site: Site) -> None:
    due = some_hours(-1)
    write(site, cron=cron_of(due), rate=16, burst=1)
    was_watched_since(site, due - timedelta(hours=1))
    with serving(site) as served:
        until(lambda: len(site.stops) >= 3)
        served.process.kill()
        served.process.wait()
    assert site.run("runs", "--unfinished", "--json").document[0]["run_id"] == site.log.stem
    with serving(site) as served:
        until(lambda: served.events("firing.ended"))
        assert served.events("firing.ended")[0]["exit_code"] == 0
        assert served.events("run.resumed")
        assert served.end(signal.SIGTERM) == 0
    assert site.effective == dict.fromkeys(NAMES, 1)
    assert site.events()["run.resumed"] == 1
    assert site.run("audit", "verify", site.log.stem).code == 0


def test_a_fleet_run_that_is_killed_is_resumed_and_everything_names_its_workspaces(open_site: OpenSite) -> None:
    site = open_site()
    other = open_site(fleet={"cvms": 4, "seed": 4, "stopped_share": 0}, workspace={"id": "wks_other", "name": "other"})
    env = {
        "PROD_KEY": site.sim.api_key,
        "ORCHESTRATOR_WORKSPACES__PROD__API_KEY_ENV": "PROD_KEY",
        "ORCHESTRATOR_WORKSPACES__SPARE__API_KEY_ENV": "SPARE_KEY",
        "ORCHESTRATOR_WORKSPACES__SPARE__BASE_URL": other.sim.url,
        "SPARE_KEY": other.sim.api_key,
    }
    due = some_hours(-1)
    file = write(site, cron=cron_of(due), rate=16, burst=1)
    file.write_text(file.read_text() + "workspaces: [prod, spare]\n")
    was_watched_since(site, due - timedelta(hours=1))
    with serving(site, env=env) as served:
        until(lambda: len(site.stops) >= 3 and other.stops)
        served.process.kill()
        served.process.wait()
    fleet_id = served.events("firing.claimed")[0]["run_id"]
    assert fleet_id[:6] == "fleet-"
    with serving(site, env=env) as served:
        until(lambda: served.events("firing.ended"))
        ended = served.events("firing.ended")[0]
        assert (ended["run_id"], ended["exit_code"]) == (fleet_id, 0), ended
        assert {(each["workspace"], each["fleet"]) for each in served.events("run.resumed")} == {
            ("prod", fleet_id),
            ("spare", fleet_id),
        }
        metrics = served.get("/metrics").text
        assert 'orchestrator_runs_total{exit_code="0",playbook="daily"} 1.0' in metrics
        assert 'outcome="settled",playbook="daily",workspace="spare"' in metrics
        assert served.get("/readyz").status_code == 200
        overview = served.get("/api/overview").json()
        assert overview["playbooks"][0]["workspaces"] == ["prod", "spare"]
        assert {each["workspace"] for each in overview["fleets"][0]["workspaces"]} == {"prod", "spare"}
        assert served.end(signal.SIGTERM) == 0
    assert site.effective == dict.fromkeys(NAMES, 1)
    assert list(other.effective.values()) == [1] * 4
    assert site.run("audit", "verify", fleet_id).code == 0


def test_without_a_workspace_of_a_playbook_the_service_is_not_ready(site: Site) -> None:
    file = write(site, cron="0 0 1 1 *")
    file.write_text(file.read_text() + "workspaces: [prod, spare]\n")
    env = {
        "ORCHESTRATOR_WORKSPACES__PROD__API_KEY_ENV": "NO_SUCH_KEY",
        "ORCHESTRATOR_WORKSPACES__SPARES__API_KEY_ENV": "PHALA_CLOUD_API_KEY",
    }
    with serving(site, env=env) as served:
        until(lambda: served.events("schedule.watched"))
        until(lambda: "spare" in served.get("/readyz").text)
        assert "playbook daily" in served.get("/readyz").text
        file.write_text(file.read_text().replace(", spare", ""))
        until(lambda: "NO_SUCH_KEY" in served.get("/readyz").text)
        assert served.end(signal.SIGTERM) == 0
    explained, checked = site.run_each(
        ("schedule", "explain", "daily"), ("validate", "daily", "--json"), envs=[env] * 2
    )
    file.write_text(file.read_text().replace("[prod]", "[pord]"))
    wrong, invalid = site.run_each(("schedule", "explain", "daily"), ("validate", "daily", "--json"), envs=[env] * 2)
    assert (explained.code, "warning" in explained.err, checked.document[0]["warnings"]) == (0, False, [])
    assert "warning: the playbook's `workspaces` 'pord' matches no workspace" in wrong.err
    assert [each["code"] for each in invalid.document[0]["warnings"]] == ["workspaces_differ_from_settings"]


def test_told_to_stop_it_sends_nothing_more_and_goes_on_at_the_next_start(site: Site) -> None:
    due = some_hours(-1)
    write(site, cron=cron_of(due), rate=16, burst=1)
    was_watched_since(site, due - timedelta(hours=1))
    with serving(site) as served:
        until(lambda: len(site.stops) >= 3)
        assert served.end(signal.SIGTERM) == 143
        sent = len(site.stops)
        assert served.events("firing.left_for_later")
    assert sent < len(NAMES)
    assert site.events()["run.interrupted"] == 1
    with serving(site) as served:
        until(lambda: served.events("firing.ended"))
        assert served.end(signal.SIGTERM) == 0
    assert site.effective == dict.fromkeys(NAMES, 1)


def test_told_twice_it_leaves_at_once(open_site: OpenSite) -> None:
    site = open_site(timing={"stop_seconds": [60, 60]})
    due = some_hours(-1)
    write(site, cron=cron_of(due))
    was_watched_since(site, due - timedelta(hours=1))
    with serving(site) as served:
        until(lambda: len(site.stops) == len(NAMES))
        served.process.send_signal(signal.SIGINT)
        until(lambda: served.events("interrupting"))
        assert served.get("/readyz").status_code == 503
        assert served.end(signal.SIGINT) == 130
    assert site.records[-1]["event"] == "run.interrupted"


def test_edits_are_picked_up_an_invalid_one_is_not_and_firings_are_snoozed(site: Site) -> None:
    due = some_hours(3)
    file = write(site, cron=cron_of(due))
    valid = file.read_text()
    with serving(site) as served:
        until(lambda: served.events("schedule.watched"))
        file.write_text(valid.replace("action: stop", "action: stoop"))
        until(lambda: served.events("playbook.invalid"))
        said = served.events("playbook.invalid")[0]
        assert (said["keeps"], "playbooks/daily.yaml:" in said["error"]) == ("daily", True)
        assert served.get("/readyz").json()["invalid"][0]["keeps"] == "daily"
        assert served.row["next"]["planned"] == timestamp(due)
        kept = site.run("schedule", "explain", "daily", "--json")
        assert (kept.code, len(kept.document["firings"]), "stoop" in kept.document["invalid"]["error"]) == (0, 30, True)
        file.write_text(valid.replace(cron_of(due), cron_of(due + timedelta(hours=1))))
        until(lambda: served.events("schedule.changed"))
        until(lambda: served.row["next"]["planned"] == timestamp(due + timedelta(hours=1)))
        asleep = site.run("snooze", "daily", "--until", "36h")
        assert (asleep.code, "2 firings skipped" in asleep.out) == (0, True)
        listed, explained = site.run_each(("snooze", "--list"), ("schedule", "explain", "daily"))
        assert "daily: snoozed until" in listed.out
        assert explained.out.count("skipped: snoozed until") == 2
        until(lambda: served.row["snoozed_until"])
        assert served.row["next"]["planned"] == timestamp(due + timedelta(hours=49))
        assert served.end(signal.SIGTERM) == 0
    assert site.run("snooze", "daily", "--clear").out.startswith("daily is no longer snoozed; next firing:")
    assert site.run("snooze", "--list", "--json").document == []
    site.assert_nothing_happened()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("serve", "--playbooks", "nowhere"), "the folder of playbooks 'nowhere' does not exist"),
        (("serve", "--playbooks", ".", "--listen", "8642"), "--listen is not an address and a port"),
        (("snooze", "dayly", "--until", "3d"), "did you mean 'daily'?"),
        (("snooze", "daily", "--until", "2020-01-01"), "is in the past"),
        (("snooze", "daily", "--until", "soon"), "--until: must be a date, a time or a duration"),
        (("snooze", "daily"), "give one of"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_said(site: Site, args: tuple[str, ...], says: str) -> None:
    write(site, cron="0 2 * * *")
    ended = site.run(*args)
    assert ended.code == 2
    assert says in ended.err


def test_without_a_key_it_does_not_start(site: Site) -> None:
    write(site, cron="0 2 * * *")
    ended = site.run("serve", env={"PHALA_CLOUD_API_KEY": None})
    assert (ended.code, "there is no API key" in ended.err) == (2, True)


def test_idle_connections_leave_answers_and_descriptors_to_others(site: Site) -> None:
    """More connections than there are descriptors, half of them with a request that never ends."""
    write(site, cron="0 0 1 1 *")
    with serving(site) as served, ExitStack() as idle:
        until(lambda: served.events("schedule.watched"))
        resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE, (160, 160))
        descriptors = Path(f"/proc/{served.process.pid}/fd")
        before = len(list(descriptors.iterdir()))
        host, port = served.url.removeprefix("http://").split(":")
        for number in range(400):
            connection = idle.enter_context(socket.create_connection((host, int(port)), timeout=20))
            if number % 2:
                with suppress(OSError):  # the oldest are closed again
                    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        assert served.get("/healthz").status_code == 200
        assert len(list(descriptors.iterdir())) <= before + 160 // 8 + 1
        assert served.events("service.error") == []
        assert served.end(signal.SIGTERM) == 0
