"""Random kills at any moment, also during a write, and restarts: each firing happens once.

A process lives for minutes or hours and dies; the next process starts minutes or hours later.
"""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import anyio
import pytest

from orchestrator.audit.fleet_store import is_fleet_id
from orchestrator.service.journal import FileJournalStore
from orchestrator.times import parse_timestamp, timestamp
from tests.service.host import MONDAY, FakeRunner, Host, KilledError

pytestmark = pytest.mark.anyio
OpenHost = Callable[..., Host]
GRACE = timedelta(minutes=1)
STEP = timedelta(minutes=20)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


class Reaper:
    """Kills processes at a moment, or at a critical place in the code.

    Attributes:
        written: the records on disk.
    """

    def __init__(self, rng: Random, share: float, written: list[dict[str, Any]]) -> None:
        self.rng, self.share, self.written = rng, share, written
        self.dead = False

    async def sync(self, write: Callable[[], None]) -> None:
        """Write to the journal, or die before, during or after the write."""
        draw = self.rng.random() / self.share
        if self.dead or draw < 1 / 3:
            self.die()
        appended = write if isinstance(write, partial) else None
        if appended is not None and draw < 2 / 3:
            (line,) = appended.args
            appended.func(line[: self.rng.randrange(len(line))])
            self.die()
        write()
        if appended is not None:
            self.written.append(json.loads(appended.args[0]))
        if draw < 1:
            self.die()

    def at(self, _place: str) -> None:
        """Die while a run goes on, or do not."""
        if self.dead or self.rng.random() < self.share:
            self.die()

    def die(self) -> None:
        self.dead = True
        raise KilledError


async def live(
    home: Host, rng: Random, share: float, written: list[dict[str, Any]], days: int
) -> list[tuple[datetime, datetime]]:
    """Run and kill processes for days, then keep the last; returns the lifetime of every process."""
    lives = []
    while home.wall.wall() < MONDAY + days * DAY:
        reaper = Reaper(rng, share, written)
        home.sync, home.runner.dies = reaper.sync, reaper.at
        born = home.wall.wall()
        most = rng.choice([timedelta(minutes=5), timedelta(hours=2), timedelta(hours=12)])
        try:
            async with home.process():
                await home.until(min(born + rng.random() * most, MONDAY + days * DAY))
        except BaseExceptionGroup as group:
            _, others = group.split(KilledError)
            if others is not None:
                raise
        lives.append((born, home.wall.wall()))
        await anyio.sleep(rng.choice([1, 20, 70, 600, 3 * 3600]) * rng.random())
    home.sync, home.runner.dies = Reaper(rng, 1e-9, written).sync, lambda _place: None
    born = home.wall.wall()
    async with home.process():
        await anyio.sleep(1800)
    return [*lives, (born, home.wall.wall())]


def firings(until: datetime) -> list[datetime]:
    """All planned times: at 0, 20 and 40 minutes past the hour."""
    return [MONDAY + STEP * number for number in range(1, (until - MONDAY) // STEP + 1)]


async def hold_to_once(home: Host, seed: int, share: float, days: int) -> None:
    """Days of three playbooks: with `on_missed: run_once`, with `skip`, and a fleet playbook."""
    rng = Random(seed)
    fleet = "workspaces: [eu, us]\n"
    home.write("everywhere", cron="*/20 * * * *", timezone="UTC", on_missed="run_once", on_overlap="queue", more=fleet)
    home.write("makes-up", cron="*/20 * * * *", timezone="UTC", on_missed="run_once", on_overlap="queue")
    home.write("lets-go", cron="*/20 * * * *", timezone="UTC", on_missed="skip", on_overlap="queue")
    home.write(
        "sleeps", cron="*/20 * * * *", timezone="UTC", on_overlap="queue", more="wake: {cron: '10/20 * * * *'}\n"
    )
    home.scan_interval = 600
    written: list[dict[str, Any]] = []
    lives = await live(home, rng, share, written, days)
    end = lives[-1][1] - timedelta(minutes=10)
    woken = [parse_timestamp(each) - STEP / 2 for each in home.world.carried_out("sleeps (wake)")]
    assert len(woken) == len(set(woken)), "a wake was carried out twice"
    late = [each for each in firings(end) if each not in woken and was_there(lives, each + STEP / 2)]
    assert not late, f"no wake 10 minutes after {late}, at which a process lived on"
    for name in ("makes-up", "lets-go", "everywhere"):
        assert home.world.carried_out(name)
        fired = [parse_timestamp(each) for each in home.world.carried_out(name)]
        assert len(fired) == len(set(fired)), "a firing was carried out twice"
        assert set(fired) <= set(firings(lives[-1][1])), "what was carried out is no firing"
        crowded = {parse_timestamp(each["planned"]) for each in written if is_crowded(each, name)}
        open_ones = set(firings(end)) - set(fired) - crowded
        missing = [each for each in sorted(open_ones) if was_there(lives, each)]
        assert not missing, f"{name}: nobody carried out {missing}, at which a process lived on"
    runs = [run for run in home.world.runs.values() if not run.void]
    unfinished = [run for run in runs if not run.finished and parse_timestamp(run.planned) < end]
    left = {each["planned"] for each in written if each.get("result") == "left"}
    assert all(run.playbook in {"lets-go", "sleeps"} for run in unfinished)
    assert {run.planned for run in unfinished} <= left
    assert all(
        home.world.actions[run.playbook, run.planned, number] == 1
        for run in runs
        if run.finished
        for number in range(FakeRunner.actions)
    )
    for name in ("makes-up", "everywhere"):
        made_up_for(home, name, lives, end, written)
    assert all(is_fleet_id(run_id) == (run.playbook == "everywhere") for run_id, run in home.world.runs.items())
    still_open = FileJournalStore(home.state).read_state().claims.values()
    assert [claim for claim in still_open if claim.planned < end] == []


def is_crowded(record: dict[str, Any], name: str) -> bool:
    """Check for a firing skipped because of two earlier unfinished firings."""
    return (record["event"], record.get("playbook"), record.get("reason")) == ("firing.left_out", name, "overlap")


def was_there(lives: list[tuple[datetime, datetime]], moment: datetime) -> bool:
    """Check that a process lived at this moment and long enough to finish the firing."""
    return any(born <= moment and moment + timedelta(minutes=3) < died for born, died in lives)


def made_up_for(
    home: Host, name: str, lives: list[tuple[datetime, datetime]], end: datetime, written: list[dict[str, Any]]
) -> None:
    """After each gap with missed firings, the last missed firing ran, or the next firing was in time."""
    fired = set(home.world.carried_out(name))
    crowded = {
        each["planned"] for each in written if each["event"] == "firing.left_out"
    }  # two others before it are not through yet
    for (_, died), (born, dies) in pairwise(lives):
        missed = [each for each in firings(end) if died < each <= born]
        if not missed or dies - born < timedelta(minutes=3):
            continue
        if timestamp(missed[-1]) in crowded:
            continue
        assert timestamp(missed[-1]) in fired, f"{missed[-1]} was not made up for"
        assert len({timestamp(each) for each in missed} & fired) == 1


@pytest.mark.parametrize("seed", [0])
async def test_each_firing_of_days_happens_once_however_often_the_process_is_killed(host: OpenHost, seed: int) -> None:
    await hold_to_once(host(seconds=30), seed, share=0.02, days=2)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 142))
async def test_each_firing_of_many_weeks_happens_once(host: OpenHost, seed: int) -> None:
    await hold_to_once(host(seconds=Random(seed).choice([3, 30, 120])), seed, share=0.005 + seed % 7 / 50, days=7)
