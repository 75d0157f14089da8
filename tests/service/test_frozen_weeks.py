"""Weeks with freezes and exemptions, over changes of clocks, with kills at any moment, against a reckoning by hand.

Runs are real runs, over a cloud on virtual time. A person starts all CVMs every morning; people exempt CVMs, end
exemptions, edit the reviewed file, and break and repair the file.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.audit import log
from orchestrator.cvm import CvmRef
from orchestrator.playbook.keep import KeepEntry
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.reply import Reply, StatusRead
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.keeping import COMMAND, FileKeepStore, KeepReader, KeepReading
from orchestrator.runs.session import RunObserver, Session
from orchestrator.runs.unattended import UnattendedRunner
from orchestrator.service import service
from orchestrator.service.journal import FileJournalStore
from orchestrator.settings.load import Settings
from orchestrator.times import parse_timestamp
from tests.engine.fakes import FakeCloud
from tests.runs.sessions import session_of
from tests.service.host import Host, KilledError, Wall
from tests.service.test_killed import Reaper

pytestmark = pytest.mark.anyio
OpenHost = Callable[..., Host]
DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
HOURS = (4, 12, 20)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NEAR = timedelta(minutes=3)
"""Runs within this time of a change of exemptions or of a freeze are not reckoned: both answers are right."""
WEEKS = {
    "Europe/Berlin": datetime(2027, 3, 25, tzinfo=UTC),
    "America/New_York": datetime(2027, 11, 4, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2027, 4, 1, tzinfo=UTC),
    "Asia/Kolkata": datetime(2027, 3, 25, tzinfo=UTC),
    "UTC": datetime(2027, 3, 25, tzinfo=UTC),
}
"""The begin of each week; the first three have a change of clocks in the week."""


class HomeClock:
    """The clocks of a process at home."""

    def __init__(self, wall: Wall) -> None:
        self.wall = wall.wall

    def now(self) -> float:
        return anyio.current_time()


class DailyCloud(FakeCloud):
    """CVMs started by a person every morning at seven, and stopped by runs."""

    def __init__(self, wall: Wall, zone: ZoneInfo) -> None:
        super().__init__(5)
        self.refs = [replace(ref, name=f"dev-{number}") for number, ref in enumerate(self.refs)]
        self.wall, self.zone = wall, zone
        self.stopped: dict[str, datetime] = {}
        self.stops: list[tuple[str, bool]] = []
        self.dies: Callable[[str], None] = lambda _place: None

    def is_up(self, name: str) -> bool:
        local = self.wall.wall().astimezone(self.zone)
        morning = datetime.combine(local.date() - (DAY if local.hour < 7 else timedelta()), time(7), self.zone)
        return name not in self.stopped or self.stopped[name] < morning.astimezone(UTC)

    def status(self, ref: CvmRef) -> StatusRead:
        if self.is_up(ref.name):
            return StatusRead("running")
        is_down = self.wall.wall() - self.stopped[ref.name] > timedelta(seconds=20)
        return StatusRead("stopped") if is_down else StatusRead("stopping", True)

    async def act(self, action: Action, ref: CvmRef) -> Reply[StatusRead]:
        assert action is Action.STOP
        self.dies("before the stop")
        self.stops.append((ref.name, self.is_up(ref.name)))
        if self.is_up(ref.name):
            self.stopped[ref.name] = self.wall.wall()
        self.dies("after the stop")
        return Reply(value=StatusRead("stopping", True), http_status=200, request_id=f"req-{len(self.stops)}")


class Runner(UnattendedRunner):
    """The service's runner, over the cloud of the test."""

    def __init__(self, home: Host, cloud: DailyCloud, settings: Settings, keeps: KeepReader) -> None:
        super().__init__(settings, lambda _claim, _workspace: RunObserver(), None, keeps)  # type: ignore[arg-type] # no fleet
        self._home, self._cloud = home, cloud

    @asynccontextmanager
    async def _open_session(
        self, claim: FiringClaim, settings: Settings, limits: RunLimits, cloud_url: str | None = None
    ) -> AsyncIterator[Session]:
        del claim, cloud_url
        clock: Any = HomeClock(self._home.wall)
        session = session_of(self._cloud, self._home.state)
        yield replace(session, settings=settings, clock=clock, limits=limits, keeps=self._keeps)


@dataclass
class People:
    """People with exemptions, by command and in the file; the reckoning of every change."""

    home: Host
    file: Path
    rng: Random
    commands: dict[str, datetime] = field(default_factory=dict)
    reviewed: dict[str, datetime] = field(default_factory=dict)
    history: list[tuple[datetime, dict[str, list[datetime]], bool]] = field(default_factory=list)
    is_broken: bool = False

    def note(self) -> None:
        """Note the exemptions from now on: by name, the ends; and whether the file is broken."""
        ends: dict[str, list[datetime]] = {}
        for name, until in (*self.commands.items(), *self.reviewed.items()):
            ends.setdefault(name, []).append(until)
        self.history.append((self.home.wall.wall(), ends, self.is_broken))

    async def live(self) -> None:
        """Change an exemption every few hours, ten minutes before the full hour."""
        while True:
            now = self.home.wall.wall()
            minutes = (50 - now.minute) % 60 or 60
            await anyio.sleep((now.replace(second=0, microsecond=0) + minutes * MINUTE - now).total_seconds())
            if self.rng.random() < 0.4:
                self.change(self.home.wall.wall())

    def change(self, now: datetime) -> None:
        """Exempt a CVM, end an exemption, or edit, break or repair the file."""
        name, until = f"dev-{self.rng.randrange(5)}", now + self.rng.choice([3, 14, 30]) * HOUR - 17 * MINUTE
        store, choice = FileKeepStore(self.home.state), self.rng.random()
        if choice < 0.4:
            store.add_entries([KeepEntry("name", name, until, "ann", "demo", COMMAND)], now)
            self.commands[name] = until
        elif choice < 0.6:
            store.remove_entries([name], now)
            self.commands.pop(name, None)
        elif choice < 0.75:
            self.file.write_text("keep: [")
            self.is_broken = True
        else:
            self.reviewed = {name: until}
            entry = f"{{name: {name}, until: {until:%Y-%m-%dT%H:%M:%SZ}, owner: bob, reason: review}}"
            self.file.write_text(f"keep:\n- {entry}\n")
            self.is_broken = False
        self.note()

    def clear_file(self) -> None:
        """Write a valid file without an exemption."""
        self.file.write_text("keep: []")
        self.reviewed, self.is_broken = {}, False
        self.note()

    def kept(self, at: datetime) -> set[str]:
        """Reckon the exempted CVMs; a broken file counts with its last valid version."""
        _, ends, _ = next(each for each in reversed(self.history) if each[0] <= at)
        return {name for name, moments in ends.items() if max(moments) > at}

    def edges(self) -> set[datetime]:
        """All moments with a change: edits and ends."""
        return {moment for moment, _, _ in self.history} | {
            until for _, ends, _ in self.history for moments in ends.values() for until in moments
        }


def is_frozen(windows: list[str], at: datetime, zone: ZoneInfo) -> bool:
    """Reckon by hand: minutes of the week on the wall clock, modulo a day or a week."""

    def minutes(text: str) -> int:
        *day, clock = text.split()
        hour, minute = map(int, clock.split(":"))
        return (DAYS.index(day[0]) * 1440 if day else 0) + hour * 60 + minute

    local = at.astimezone(zone)
    now = local.weekday() * 1440 + local.hour * 60 + local.minute
    for window in windows:
        start, end = map(minutes, window.split(".."))
        period = 10080 if window[0].isalpha() else 1440
        if (now - start) % period < (end - start) % period:
            return True
    return False


def choose_windows(rng: Random) -> list[str]:
    """Choose a window of the week, often over the weekend of the change, and a window of some hours of the day."""
    first, last = rng.choice([("FRI", "MON"), ("SAT", "SUN"), ("SUN", "WED"), ("TUE", "TUE")])
    start, length = rng.randrange(24), rng.randrange(1, 7)
    end = (start + length) % 24
    early, late = sorted(rng.sample(range(24), 2))
    return [f"{first} {early:02}:40..{last} {late:02}:40", f"{start:02}:40..{end:02}:40"]


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "sync_file", lambda _fd: None)
    monkeypatch.setattr(log, "sync_folder", lambda _folder: None)
    monkeypatch.setattr(service, "KEEP_INTERVAL", 900.0)


@dataclass
class Week:
    """A week of a service, and its reckoning."""

    home: Host
    zone: str
    seed: int
    lives: list[tuple[datetime, datetime]] = field(default_factory=list)
    written: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = self.rng = Random(self.seed)
        home, self.tz = self.home, ZoneInfo(self.zone)
        windows, self.windows = choose_windows(rng), []
        self.windows = windows
        self.cloud = DailyCloud(home.wall, self.tz)
        self.people = People(home, home.playbooks.parent / "keep.yaml", rng)
        self.people.clear_file()
        of_playbook, of_settings = ({"timezone": self.zone, "on": [each]} for each in windows)
        home.write(
            "down",
            cron=f"10 {','.join(map(str, HOURS))} * * *",
            timezone=self.zone,
            on_missed="run_once",
            more=f"guards: {{not_during: {json.dumps(of_playbook)}}}\n",
        )
        settings = {"audit": {"state_dir": home.state}, "keep": {"file": self.people.file}}
        self.settings = Settings.model_validate({**settings, "guards": {"not_during": [of_settings]}})
        home.guards = self.settings.guards

    async def pass_by(self, monkeypatch: pytest.MonkeyPatch, share: float, days: int) -> None:
        """Let the days pass: processes live and die."""
        home, rng = self.home, self.rng
        end = home.wall.wall() + days * DAY
        reaper = Reaper(rng, share, self.written)
        original = log.FileBacking.__init__, log.AuditLog.__init__

        async def write(write: Callable[[], None]) -> None:
            self.reaper.at("before a write of the log")
            write()
            self.reaper.at("after a write of the log")

        def back(backing: Any, path: Path, fd: int, sync: object) -> None:  # noqa: ANN401 - as the class
            del sync
            original[0](backing, path, fd, write)

        def open_log(each: Any, backing: Any, chain: Any, *, wall: object) -> None:  # noqa: ANN401 - as the class
            del wall
            original[1](each, backing, chain, wall=home.wall.wall)

        monkeypatch.setattr(log.FileBacking, "__init__", back)
        monkeypatch.setattr(log.AuditLog, "__init__", open_log)
        async with anyio.create_task_group() as group:
            group.start_soon(self.people.live)
            while home.wall.wall() < end:
                self.reaper = reaper = Reaper(rng, share, self.written)
                await self._live_and_die(reaper, min(home.wall.wall() + rng.choice([1, 9, 40]) * HOUR, end))
                await anyio.sleep(rng.choice([20, 600, 3 * 3600]) * rng.random())
            group.cancel_scope.cancel()
        self.reaper = Reaper(rng, 1e-9, self.written)
        self.people.clear_file()  # the last process finishes all runs
        await self._live_and_die(self.reaper, home.wall.wall() + 2 * HOUR)

    async def _live_and_die(self, reaper: Reaper, until: datetime) -> None:
        home, keeps = self.home, KeepReader(keeps_last=True)

        async def read_keeps() -> KeepReading:
            return keeps._read_again(self.settings)

        home.sync, self.cloud.dies, home.keeps = reaper.sync, reaper.at, read_keeps
        home.runner = Runner(home, self.cloud, self.settings, keeps)  # type: ignore[assignment] # another runner
        born = home.wall.wall()
        try:
            async with home.process():
                await home.until(until)
        except BaseExceptionGroup as found:
            _, others = found.split(KilledError)
            if others is not None:
                raise
        self.lives.append((born, home.wall.wall()))

    # The reckoning ---------------------------------------------------------------------------------------------------

    def logs(self) -> list[list[dict[str, Any]]]:
        """The records of all runs; a last line cut off by a kill is left out."""
        found = []
        for path in sorted((self.home.state / "runs").glob("*.jsonl")):
            records = []
            for line in path.read_text().splitlines():
                with suppress(ValueError):
                    records.append(json.loads(line))
            found.append(records)
        return found

    def firings(self) -> list[datetime]:
        """All planned times, by the wall clock."""
        first, last = self.lives[0][0], self.lives[-1][1]
        days = range((last - first).days + 3)
        local = (
            datetime.combine((first - DAY).date() + day * DAY, time(hour, 10), self.tz)
            for day in days
            for hour in HOURS
        )
        return [moment for each in local if first < (moment := each.astimezone(UTC)) < last]

    def check(self) -> int:
        """Compare all runs, firings and stops with the reckoning; return the number of stops."""
        logs = self.logs()
        ran = [parse_timestamp(records[0]["trigger"]["planned"]) for records in logs]
        assert len(ran) == len(set(ran)), "a firing ran twice"
        for moment in ran:
            assert not is_frozen(self.windows, moment, self.tz), f"{moment} was frozen"
        left = {parse_timestamp(each["planned"]) for each in self.written if each.get("reason") == "frozen"}
        for moment in self.firings():
            lived = any(born <= moment and moment + NEAR < died for born, died in self.lives)
            if lived and is_frozen(self.windows, moment, self.tz):
                assert moment in left, f"nobody left {moment} out"
        stops = sum(self.check_run(records) for records in logs)
        assert all(was_up for _, was_up in self.cloud.stops), "a stop was sent twice"
        assert len(self.cloud.stops) <= stops, "a stop without an intent"
        return len(self.cloud.stops)

    def check_run(self, records: list[dict[str, Any]]) -> int:
        """Check the stops of a run: none of an exempted CVM, none in a freeze; return the number of CVMs to stop."""
        started, planned = records[0], records[1]
        checked = parse_timestamp(planned["read_at"])
        if not self.is_near_edge(checked):
            kept = {each["cvm"]["name"] for each in planned["skipped"] if each["code"] == "kept"}
            down = {each["cvm"]["name"] for each in planned["skipped"] if each["code"] == "already_down"}
            assert kept == self.people.kept(checked) - down, (started["run_id"], kept, self.people.kept(checked))
        announced: set[str] = set()
        for record in records:
            if record["event"] == "run.resumed":
                checked = parse_timestamp(record["ts"])
            elif record["event"] == "action.intent":
                assert not is_frozen(self.windows, checked, self.tz) or self.is_near_edge(checked), record
                if not self.is_near_edge(checked):
                    assert record["cvm"]["name"] not in self.people.kept(checked), record
                announced.add(record["cvm"]["name"])
        return len(announced)

    def is_near_edge(self, at: datetime) -> bool:
        """Check for a change of exemptions or of a freeze close to a moment."""
        sides = {is_frozen(self.windows, at + shift * MINUTE, self.tz) for shift in (-3, 0, 3)}
        return len(sides) > 1 or any(abs(edge - at) < NEAR for edge in self.people.edges())


@pytest.mark.parametrize(("zone", "seed"), [("Europe/Berlin", 1), ("Asia/Kolkata", 2)])
async def test_a_week_with_freezes_exemptions_and_kills_agrees_with_the_reckoning(
    host: OpenHost, monkeypatch: pytest.MonkeyPatch, zone: str, seed: int
) -> None:
    week = Week(host(epoch=WEEKS[zone], scan_interval=900), zone, seed)
    await week.pass_by(monkeypatch, share=0.01, days=6)
    assert week.check() > 5
    assert len(week.lives) > 3
    assert not FileJournalStore(week.home.state).read_state().claims


@pytest.mark.soak
@pytest.mark.parametrize("zone", WEEKS)
@pytest.mark.parametrize("seed", range(10, 30))
async def test_many_weeks_in_every_zone_agree_with_the_reckoning(
    host: OpenHost, monkeypatch: pytest.MonkeyPatch, zone: str, seed: int
) -> None:
    week = Week(host(epoch=WEEKS[zone], scan_interval=900), zone, seed)
    await week.pass_by(monkeypatch, share=0.002 + seed % 3 / 100, days=14)
    week.check()
