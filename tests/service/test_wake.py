"""Wakes by the service on virtual time: beside the stops, after failures, and after an end of the playbook."""

import json
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import anyio
import pytest

from orchestrator.times import timestamp
from tests.service.host import Host
from tests.service.test_service import at, planned

pytestmark = pytest.mark.anyio
OpenHost = Callable[..., Host]
WAKE = "office (wake)"


def write(home: Host, wake: str = '{cron: "0 7 * * *"}', **schedule: Any) -> None:  # noqa: ANN401 - keys of a schedule
    """Write a playbook with stops at 19:00 and wakes at 07:00."""
    home.write("office", cron="0 19 * * *", timezone="UTC", more=f"wake: {wake}\n", **schedule)


async def test_stops_and_wakes_are_fired_at_their_moments(host: OpenHost) -> None:
    home = host()
    write(home, '{cron: "0 7 * * *", not_on: "2027-03-03"}')
    async with home.process():
        await home.until(at("4 12:00"))
    assert home.world.carried_out("office") == planned("1 19:00", "2 19:00", "3 19:00")
    assert home.world.carried_out(WAKE) == planned("1 07:00", "2 07:00", "4 07:00")
    assert {each["wakes"] for each in home.events("firing.claimed") if each["playbook"] == WAKE} == {"office"}
    lines = [json.loads(line) for line in (home.state / "service" / "journal.jsonl").read_text().splitlines()]
    assert {line["event"] for line in lines if line["v"] == 2} == {"wake.kept"}, "an earlier version refuses such lines"


async def test_one_wake_makes_up_for_all_missed_wakes(host: OpenHost) -> None:
    home = host()
    write(home)
    async with home.process():
        await home.until(at("1 20:00"))
    await home.until(at("4 12:00"))
    async with home.process():
        await home.until(at("4 12:30"))
    assert home.world.carried_out(WAKE) == planned("1 07:00", "4 07:00")
    assert home.world.carried_out("office") == planned("1 19:00")


async def test_a_missed_stop_is_dropped_once_its_wake_is_due(host: OpenHost) -> None:
    home = host()
    write(home, on_missed="run_once")
    async with home.process():
        await home.until(at("1 12:00"))
    await home.until(at("2 06:30"))  # the wake is not due: the stop is made up for
    async with home.process():
        await home.until(at("2 12:00"))
    await home.until(at("3 07:30"))
    async with home.process():
        await home.until(at("3 12:00"))
    assert home.world.carried_out("office") == planned("1 19:00")
    (left,) = home.events("firing.left_out")
    assert (left["playbook"], left["planned"], left["reason"]) == ("office", planned("2 19:00")[0], "wake_due")


async def test_a_stop_interrupted_until_its_wake_is_left_to_a_person(host: OpenHost) -> None:
    home = host(seconds=600.0)
    write(home, on_missed="run_once")
    async with home.process():
        await home.until(at("1 19:05"))
    await home.until(at("2 08:00"))
    async with home.process():
        await home.until(at("2 12:00"))
    left = [each for each in home.events("firing.ended") if each["result"] == "left"]
    assert [each["playbook"] for each in left] == ["office"]
    assert "the wake after this stop is due" in left[0]["reason"]
    assert home.runner.order[-1] == WAKE


async def test_a_wake_waits_for_the_stop_and_a_stop_for_the_wake(host: OpenHost) -> None:
    home = host(seconds=13 * 3600.0)
    write(home)
    async with home.process():
        await home.until(at("4 00:00"))
    # Each run takes 14.3 hours: a wake begins after the stop before it, and the other way round.
    assert home.runner.order[:4] == [WAKE, "office", WAKE, "office"]
    begun = [run.begun_at for run in home.world.runs.values()]
    assert all(later - run >= timedelta(hours=13) for run, later in pairwise(begun))


async def test_a_snooze_covers_stops_only(host: OpenHost) -> None:
    home = host()
    write(home)
    for name in ("office", WAKE):
        home.snooze(name, at("1 00:00"), at("3 00:00"))
    async with home.process():
        await home.until(at("3 12:00"))
    assert home.world.carried_out("office") == []
    assert home.world.carried_out(WAKE) == planned("1 07:00", "2 07:00", "3 07:00")


@pytest.mark.parametrize("edit", ["file", "wake", "restart"])
async def test_a_wake_runs_once_more_after_its_removal(host: OpenHost, edit: str) -> None:
    home = host()
    write(home)
    async with home.process():
        await home.until(at("1 20:00"))
        if edit == "wake":
            home.write("office", cron="0 19 * * *", timezone="UTC")
        else:
            (home.playbooks / "office.yaml").unlink()
        if edit != "restart":
            await home.until(at("5 00:00"))
    if edit == "restart":
        async with home.process():
            await home.until(at("5 00:00"))
    assert home.world.carried_out(WAKE) == planned("1 07:00", "2 07:00")
    assert [each["playbook"] for each in home.events("schedule.ended")][-1] == WAKE


async def test_a_playbook_that_returns_wakes_as_before(host: OpenHost) -> None:
    home = host()
    write(home)
    async with home.process():
        await home.until(at("1 20:00"))
        (home.playbooks / "office.yaml").unlink()
        await home.until(at("1 23:00"))
        write(home)
        await home.until(at("4 00:00"))
    assert home.world.carried_out(WAKE) == planned("1 07:00", "2 07:00", "3 07:00")
    assert home.world.carried_out("office") == planned("1 19:00", "2 19:00", "3 19:00")


async def test_an_invalid_playbook_still_wakes(host: OpenHost) -> None:
    home = host()
    write(home)
    async with home.process():
        await home.until(at("1 20:00"))
    (home.playbooks / "office.yaml").write_text("name: office\nschedule: {cron: never}\n")
    async with home.process():
        await home.until(at("3 00:00"))
    assert home.world.carried_out(WAKE) == planned("1 07:00", "2 07:00")
    assert home.events("playbook.invalid")


async def test_a_wake_tries_until_the_next_stop_while_the_cloud_is_down(host: OpenHost) -> None:
    home = host()
    write(home)
    home.runner.codes = [5] * 200  # 100 minutes
    async with home.process():
        await home.until(at("1 12:00"))
    (run,) = home.world.runs.values()
    assert (run.playbook, run.planned) == (WAKE, planned("1 07:00")[0])
    assert at("1 08:40") <= run.begun_at <= at("1 08:45")
    home.runner.codes = [5] * 10_000
    async with home.process():
        await home.until(at("2 19:30"))
    ended = [each for each in home.events("firing.ended") if each["result"] == "failed"]
    assert [(each["playbook"], each["exit_code"]) for each in ended] == [("office", 5), (WAKE, 5), ("office", 5)]


async def test_a_clock_set_back_wakes_no_second_time(host: OpenHost) -> None:
    home = host()
    write(home)
    async with home.process():
        await home.until(at("1 08:00"))
        home.wall.skew -= timedelta(hours=3)
        await home.until(at("1 12:00"))
    assert home.world.carried_out(WAKE) == planned("1 07:00")
    assert {each["playbook"] for each in home.events("clock.set_back")} == {WAKE}
    assert timestamp(home.wall.wall()) >= planned("1 12:00")[0]


async def test_the_name_of_a_wake_is_taken(host: OpenHost) -> None:
    home = host()
    write(home)
    home.write(WAKE, file="other.yaml", cron="0 1 * * *", timezone="UTC")
    async with home.process() as service:
        await anyio.sleep(3600)
        (fault,) = service.overview().faults
    assert f"the name {WAKE!r} of its wake is also used in" in fault.message
