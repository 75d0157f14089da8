"""The service on virtual time: schedules, edits, missed firings, overlaps, snoozes and signals."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import pytest

from orchestrator.audit.fleet_store import is_fleet_id
from orchestrator.errors import RunHeldError
from orchestrator.runs.keeping import KeepReader, KeepReading
from orchestrator.runs.status import RunStatus, State
from orchestrator.service.journal import FileJournalStore
from orchestrator.settings.load import Settings
from orchestrator.times import parse_timestamp, timestamp
from tests.service.host import MONDAY, Host, KilledError, RunOnDisk

pytestmark = pytest.mark.anyio
OpenHost = Callable[..., Host]
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
RUN_ID_BYTES = 2


def at(text: str) -> datetime:
    """A moment of the first days: `1 02:30` is the 1st of March."""
    day, time = text.split()
    return datetime.fromisoformat(f"2027-03-{int(day):02}T{time}+00:00")


def planned(*texts: str) -> list[str]:
    return [timestamp(at(text)) for text in texts]


async def test_a_firing_is_carried_out_at_its_moment(host: OpenHost) -> None:
    home = host()
    home.write("nightly", cron="30 2 * * *", timezone="UTC")
    async with home.process():
        await home.until(at("3 00:00"))
    runs = list(home.world.runs.values())
    assert [run.planned for run in runs] == planned("1 02:30", "2 02:30")
    assert all(run.begun_at - parse_timestamp(run.planned) < timedelta(seconds=1) for run in runs)
    assert [each["result"] for each in home.events("firing.ended")] == ["ran", "ran"]


async def test_two_firings_of_one_second_never_share_an_id(host: OpenHost, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["2d20", "2d20", "2d20", "54f9", "54f9", "e79f"])
    monkeypatch.setattr("secrets.token_hex", lambda size: next(drawn) if size == RUN_ID_BYTES else "draft")
    home = host()
    for name in ("one", "three", "two"):
        home.write(name, cron="30 2 1 * *", timezone="UTC")
    async with home.process():
        await home.until(at("2 00:00"))
    assert sorted(run_id[-4:] for run_id in home.world.runs) == ["2d20", "54f9", "e79f"]
    assert sorted(run.playbook for run in home.world.runs.values()) == ["one", "three", "two"]


async def test_a_firing_never_takes_the_id_of_a_run_that_there_is(
    host: OpenHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter(["2d20", "54f9"])
    monkeypatch.setattr("secrets.token_hex", lambda size: next(drawn) if size == RUN_ID_BYTES else "draft")
    home = host()
    theirs = RunOnDisk("by hand", "", MONDAY, MONDAY, finished=True)
    home.world.runs["20270301T023000Z-2d20"] = theirs
    home.write("one", cron="30 2 1 * *", timezone="UTC")
    async with home.process():
        await home.until(at("2 00:00"))
    assert [run_id[-4:] for run_id in home.world.runs] == ["2d20", "54f9"]
    assert home.world.carried_out("one") == planned("1 02:30")


async def test_jitter_moves_the_start_and_not_the_identity(host: OpenHost) -> None:
    home = host()
    home.write("nightly", cron="30 2 * * *", timezone="UTC", jitter="30m")
    async with home.process():
        await home.until(at("2 00:00"))
    (claim,), (run,) = home.events("firing.claimed"), home.world.runs.values()
    assert claim["planned"] == planned("1 02:30")[0] < claim["moment"]
    assert timedelta(0) <= run.begun_at - parse_timestamp(claim["moment"]) < timedelta(seconds=1)


async def test_enabling_a_schedule_never_fires_it_at_once(host: OpenHost) -> None:
    home = host()
    async with home.process():
        await home.until(at("1 02:30") + timedelta(seconds=20))
        home.write("late", cron="30 2 * * *", timezone="UTC", jitter="20m", on_missed="run_once")
        await home.until(at("2 02:00"))
        assert not home.world.runs
        await home.until(at("2 03:00"))
    assert home.world.carried_out("late") == planned("2 02:30")


async def test_a_changed_schedule_never_fires_at_once(host: OpenHost) -> None:
    home = host()
    home.write("moved", cron="0 12 * * *", timezone="UTC", on_missed="run_once")
    async with home.process():
        await home.until(at("1 03:00"))
        home.write("moved", cron="30 2 * * *", timezone="UTC", on_missed="run_once")
        await home.until(at("2 02:00"))
        assert not home.world.runs
    # Nor where it was changed while the process was down.
    home.write("moved", cron="0 1 * * *", timezone="UTC", on_missed="run_once")
    async with home.process():
        await home.until(at("3 00:59"))
        assert not home.world.runs
        await home.until(at("3 01:01"))
    assert home.world.carried_out("moved") == planned("3 01:00")


async def test_a_firing_in_a_freeze_is_left_out_with_its_reason_and_not_made_up_for(host: OpenHost) -> None:
    home = host()
    freeze = "guards:\n  not_during: {timezone: UTC, on: ['2027-03-01..2027-03-02']}\n"
    home.write("frozen", cron="0 2 * * *", timezone="UTC", on_missed="run_once", more=freeze)
    async with home.process():
        await home.until(at("3 03:00"))
    assert home.world.carried_out("frozen") == planned("3 02:00")
    left = [(each["planned"], each["reason"], each["detail"]) for each in home.events("firing.left_out")]
    entry = "frozen by `not_during`: 2027-03-01..2027-03-02, UTC"
    assert left == [(moment, "frozen", entry) for moment in planned("1 02:00", "2 02:00")]


async def test_a_day_off_that_is_taken_out_of_the_playbook_is_not_made_up_for(host: OpenHost) -> None:
    home = host()
    home.write("off", cron="0 2 * * *", timezone="UTC", on_missed="run_once", not_on="2027-03-01..2027-03-03")
    async with home.process():
        await home.until(at("3 12:00"))
        home.write("off", cron="0 2 * * *", timezone="UTC", on_missed="run_once")
        await home.until(at("4 01:00"))
        assert not home.world.runs
        await home.until(at("4 03:00"))
    assert home.world.carried_out("off") == planned("4 02:00")


async def test_a_new_day_off_counts_up_to_the_moment_of_the_firing(host: OpenHost) -> None:
    home = host()
    file = home.write("off", cron="0 2 * * *", timezone="UTC")
    async with home.process():
        await home.until(at("1 01:59"))
        home.write("off", cron="0 2 * * *", timezone="UTC", not_on="2027-03-01")
        await home.until(at("2 03:00"))
    assert file.exists()
    assert home.world.carried_out("off") == planned("2 02:00")


@pytest.mark.parametrize("on_missed", ["run_once", "skip"])
async def test_what_was_missed_while_the_process_was_down_is_handled_once(host: OpenHost, on_missed: str) -> None:
    home = host()
    home.write("hourly", cron="0 * * * *", timezone="UTC", on_missed=on_missed)
    async with home.process():
        await home.until(at("1 02:30"))
    await home.until(at("1 07:20"))
    for end in ("1 07:30", "1 07:40", "1 08:30"):  # nor once more when it is started again
        async with home.process():
            await home.until(at(end))
    made_up = planned("1 07:00") if on_missed == "run_once" else []
    assert home.world.carried_out("hourly") == [*planned("1 01:00", "1 02:00"), *made_up, *planned("1 08:00")]
    if made_up:
        assert [each["missed"] for each in home.events("firing.claimed")] == [0, 0, 5, 0]
    else:
        (missed,) = home.events("firing.missed")
        assert (missed["count"], [missed["first"], missed["planned"]]) == (5, planned("1 03:00", "1 07:00"))


async def test_a_machine_that_slept_sees_what_it_missed_within_seconds(host: OpenHost) -> None:
    home = host(epoch=at("1 00:25"), scan_interval=5)
    home.write("hourly", cron="0 * * * *", timezone="UTC", on_missed="run_once")
    async with home.process():
        await home.until(at("1 00:30"))
        home.wall.skew += 5 * HOUR  # its own clock stood still meanwhile
        woke = home.wall.wall()
        await home.until(at("1 05:35"))
    (run,) = home.world.runs.values()
    assert run.planned == planned("1 05:00")[0]
    assert run.begun_at - woke < timedelta(seconds=6)


async def test_a_firing_in_time_stands_for_those_that_were_missed_before_it(host: OpenHost) -> None:
    home = host()
    home.write("hourly", cron="0 * * * *", timezone="UTC", on_missed="run_once")
    async with home.process():
        await home.until(at("1 00:30"))
    await home.until(at("1 05:00") + timedelta(seconds=40))
    async with home.process():
        await home.until(at("1 05:30"))
    assert home.world.carried_out("hourly") == planned("1 05:00")
    assert [each["missed"] for each in home.events("firing.claimed")] == [4]


async def test_a_firing_that_is_seen_within_the_grace_is_in_time(host: OpenHost) -> None:
    home = host()
    home.write("hourly", cron="0 * * * *", timezone="UTC")
    async with home.process():
        await home.until(at("1 00:30"))
    await home.until(at("1 01:00") + timedelta(seconds=59))
    async with home.process():
        await home.until(at("1 01:30"))
    assert home.world.carried_out("hourly") == planned("1 01:00")
    assert not home.events("firing.missed")


async def test_a_clock_that_is_set_back_fires_nothing_twice(host: OpenHost) -> None:
    home = host()
    home.write("hourly", cron="0 * * * *", timezone="UTC")
    async with home.process():
        await home.until(at("1 03:30"))
        home.wall.skew -= 2 * HOUR  # 01:30 again
        await home.until(at("1 04:30"))
    assert home.world.carried_out("hourly") == planned("1 01:00", "1 02:00", "1 03:00", "1 04:00")
    assert len(home.events("clock.set_back")) == 1


async def test_a_clock_that_was_far_ahead_does_not_silence_a_schedule_once_it_is_right(host: OpenHost) -> None:
    home = host()
    home.write("hourly", cron="0 * * * *", timezone="UTC", on_missed="run_once")
    async with home.process():
        await home.until(at("1 00:30"))
        home.wall.skew += timedelta(days=200)
        await anyio.sleep(60)
        home.wall.skew -= timedelta(days=200)
        await home.until(at("1 03:30"))
    early, *rest = home.world.carried_out("hourly")
    assert parse_timestamp(early).year == 2027
    assert rest == planned("1 01:00", "1 02:00", "1 03:00")


async def test_after_a_clock_was_set_back_beyond_what_is_remembered_nothing_fires_twice(
    host: OpenHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.service.service_state.REMEMBERED", 30)
    home = host(seconds=0.3)
    home.write("often", cron="* * * * *", timezone="UTC")
    async with home.process():
        await anyio.sleep(150 * 60)
        home.wall.skew -= 4 * HOUR
        await anyio.sleep(7 * 3600)
    fired = home.world.carried_out("often")
    assert len(fired) == len(set(fired)) > 300


async def test_a_firing_while_the_run_before_it_goes_on_is_left_out(host: OpenHost) -> None:
    home = host(seconds=90 * 60)
    home.write("slow", cron="0 * * * *", timezone="UTC")
    async with home.process():
        await home.until(at("1 05:30"))
    assert home.world.carried_out("slow") == planned("1 01:00", "1 03:00", "1 05:00")
    left_out = home.events("firing.left_out")
    assert [(each["planned"], each["reason"]) for each in left_out] == [
        (each, "overlap") for each in planned("1 02:00", "1 04:00")
    ]


async def test_one_firing_and_no_more_waits_for_the_run_before_it(host: OpenHost) -> None:
    home = host(seconds=150 * 60)
    home.write("slow", cron="0 * * * *", timezone="UTC", on_overlap="queue")
    async with home.process():
        await home.until(at("1 04:30"))
        assert home.world.carried_out("slow") == planned("1 01:00", "1 02:00")
        assert [each["planned"] for each in home.events("firing.left_out")] == planned("1 03:00")
        (row,) = home.service.overview().rows
        assert (row.running is not None, row.waiting) == (True, 1)  # the one of 04:00


async def test_what_waits_begins_after_a_kill_as_well(host: OpenHost) -> None:
    home = host(seconds=90 * 60)
    home.write("slow", cron="0 * * * *", timezone="UTC", on_overlap="queue")
    async with home.process():
        await home.until(at("1 02:10"))
    await home.until(at("1 02:15"))
    async with home.process():
        await home.until(at("1 02:59"))
    assert home.world.carried_out("slow") == planned("1 01:00", "1 02:00")
    assert [run.finished for run in home.world.runs.values()] == [True, False]


@pytest.mark.parametrize(("starts_again", "results"), [("1 02:39:50", []), ("1 02:45", ["missed"])])
async def test_a_waiting_firing_is_late_from_the_end_of_the_run_before_it(
    host: OpenHost, starts_again: str, results: list[str]
) -> None:
    home = host(seconds=90 * 60)
    home.write("slow", cron="0 * * * *", timezone="UTC", on_overlap="queue")
    async with home.process():
        await home.until(at("1 02:39:20"))  # the first run has just ended, and the next has no log
    assert [run.finished for run in home.world.runs.values()] == [True]
    await home.until(at(starts_again))
    async with home.process():
        await home.until(at("1 02:59"))
    assert [each["result"] for each in home.events("firing.ended")[1:]] == results
    assert home.world.carried_out("slow") == planned("1 01:00", *([] if results else ["1 02:00"]))


async def test_a_run_that_ended_before_the_start_is_no_overlap(host: OpenHost) -> None:
    home = host(seconds=30 * 60)
    home.write("hourly", cron="0 * * * *", timezone="UTC")

    def die(place: str) -> None:
        if place == "after the end":
            raise KilledError

    home.runner.dies = die
    with pytest.raises(BaseExceptionGroup) as died:
        async with home.process():
            await home.until(at("1 01:59"))
    assert died.group_contains(KilledError)
    home.runner.dies = lambda _place: None
    await home.until(at("1 02:00:05"))
    async with home.process():
        await home.until(at("1 02:59"))
    assert home.world.carried_out("hourly") == planned("1 01:00", "1 02:00")
    assert [each["result"] for each in home.events("firing.ended")] == ["ran", "ran"]


async def test_different_playbooks_run_side_by_side(host: OpenHost) -> None:
    home = host(seconds=1800)
    for name in ("one", "two"):
        home.write(name, cron="0 1 * * *", timezone="UTC")
    async with home.process():
        await home.until(at("1 01:10"))
        assert [row.running is not None for row in home.service.overview().rows] == [True, True]


async def test_an_edit_is_picked_up_and_a_run_under_way_goes_on(host: OpenHost) -> None:
    home = host(seconds=600)
    home.write("edited", cron="0 1 * * *", timezone="UTC")
    async with home.process():
        await home.until(at("1 01:05"))
        home.write("edited", cron="30 1 * * *", timezone="UTC")
        await home.until(at("1 02:00"))
    assert home.world.carried_out("edited") == planned("1 01:00", "1 01:30")
    assert all(run.finished for run in home.world.runs.values())


async def test_an_invalid_edit_keeps_the_last_valid_version_and_says_so(host: OpenHost) -> None:
    home = host()
    file = home.write("edited", cron="0 * * * *", timezone="UTC")
    valid = file.read_text()
    async with home.process():
        await home.until(at("1 01:30"))
        file.write_text(valid.replace("stop", "stoop"))
        await home.until(at("1 02:30"))
        (said,) = home.events("playbook.invalid")
        assert (said["keeps"], "stoop" in said["error"]) == ("edited", True)
        assert [each.keeps for each in home.service.overview().faults] == ["edited"]
    # Also when the process is started anew.
    async with home.process():
        await home.until(at("1 03:30"))
        file.write_text(valid)
        await home.until(at("1 04:30"))
    assert home.world.carried_out("edited") == planned("1 01:00", "1 02:00", "1 03:00", "1 04:00")
    assert len(home.events("playbook.mended")) == 1
    assert len(home.events("schedule.enabled")) == 1


async def test_a_file_that_is_removed_ends_its_schedule(host: OpenHost) -> None:
    home = host()
    file = home.write("gone", cron="0 * * * *", timezone="UTC", on_missed="run_once")
    text = file.read_text()
    async with home.process():
        await home.until(at("1 01:30"))
        file.unlink()
        await home.until(at("1 03:30"))
        assert home.service.overview().rows == ()
        file.write_text(text)
        await home.until(at("1 04:30"))
    assert home.world.carried_out("gone") == planned("1 01:00", "1 04:00")


async def test_a_removed_invalid_file_is_not_called_mended(host: OpenHost) -> None:
    home = host()
    file = home.write("gone", cron="0 * * * *", timezone="UTC")
    file.write_text(file.read_text().replace("stop", "stoop"))
    async with home.process():
        await home.until(at("1 01:30"))
        file.unlink()
        await home.until(at("1 02:30"))
    assert home.events("playbook.mended") == []
    assert [event["file"] for event in home.events("playbook.removed")] == [str(file)]


async def test_a_playbook_whose_file_is_renamed_goes_on(host: OpenHost) -> None:
    home = host()
    file = home.write("same", cron="0 * * * *", timezone="UTC")
    async with home.process():
        await home.until(at("1 01:30"))
        file.rename(file.with_name("other.yml"))
        await home.until(at("1 02:30"))
    assert home.world.carried_out("same") == planned("1 01:00", "1 02:00")
    assert (len(home.events("schedule.enabled")), home.events("schedule.ended")) == (1, [])


async def test_a_second_playbook_of_a_name_is_refused_and_the_first_goes_on(host: OpenHost) -> None:
    home = host()
    home.write("same", cron="0 * * * *", timezone="UTC")
    async with home.process():
        await home.until(at("1 00:30"))
        home.write("same", file="a-copy.yaml", cron="30 * * * *", timezone="UTC")
        await home.until(at("1 02:45"))
    async with home.process():
        await home.until(at("1 03:45"))
    assert home.world.carried_out("same") == planned("1 01:00", "1 02:00", "1 03:00")
    assert {each["file"].rpartition("/")[2] for each in home.events("playbook.invalid")} == {"a-copy.yaml"}


async def test_a_folder_that_is_gone_for_a_while_ends_no_schedule(host: OpenHost) -> None:
    home = host()
    home.write("kept", cron="0 * * * *", timezone="UTC")
    away = home.playbooks.with_name("away")
    async with home.process():
        await home.until(at("1 00:30"))
        home.playbooks.rename(away)
        await home.until(at("1 01:30"))
        assert len(home.service.overview().troubles) == 1
        away.rename(home.playbooks)
        await home.until(at("1 02:30"))
        assert home.service.overview().troubles == ()
    assert home.world.carried_out("kept") == planned("1 01:00", "1 02:00")


async def test_firings_within_a_snooze_are_left_out_also_over_a_restart(host: OpenHost) -> None:
    home = host()
    home.write("asleep", cron="0 * * * *", timezone="UTC", on_missed="run_once")
    async with home.process():
        await home.until(at("1 01:30"))
        home.snooze("asleep", home.wall.wall(), at("1 05:00"))
        await home.until(at("1 02:30"))
        (row,) = home.service.overview().rows
        assert (row.snoozed_until, row.next and row.next.planned) == (at("1 05:00"), at("1 05:00"))
    await home.until(at("1 04:30"))  # 03:00 and 04:00 come while nobody is there
    async with home.process():
        await home.until(at("1 05:30"))
    assert home.world.carried_out("asleep") == planned("1 01:00", "1 05:00")
    assert [(each["reason"], each["count"]) for each in home.events("firing.left_out")] == [
        ("snoozed", 1),
        ("snoozed", 2),
    ]


async def test_a_snooze_that_is_cleared_lets_the_next_firing_pass(host: OpenHost) -> None:
    home = host()
    home.write("asleep", cron="0 * * * *", timezone="UTC")
    async with home.process():
        await home.until(at("1 00:30"))
        home.snooze("asleep", home.wall.wall(), at("3 00:00"))
        await home.until(at("1 01:30"))
        from orchestrator.service.snoozes import FileSnoozeStore  # noqa: PLC0415

        assert FileSnoozeStore(home.state).clear_snooze("asleep", home.wall.wall())
        await home.until(at("1 02:30"))
    assert home.world.carried_out("asleep") == planned("1 02:00")


async def test_a_broken_file_of_snoozes_leaves_what_was_snoozed_and_says_so(host: OpenHost) -> None:
    home = host()
    home.write("asleep", cron="0 * * * *", timezone="UTC")
    async with home.process():
        home.snooze("asleep", home.wall.wall(), at("1 01:30"))
        await home.until(at("1 00:30"))
        (home.state / "service" / "snoozes.json").write_text("{")
        await home.until(at("1 01:10"))
        assert "snoozes" in home.service.overview().troubles[0]
        assert not home.world.runs


async def test_the_overview_has_the_exemptions_and_a_broken_file_leaves_the_last_valid_version(
    host: OpenHost, tmp_path: Path
) -> None:
    home, file = host(), tmp_path / "keep.yaml"
    settings = Settings.model_validate({"keep": {"file": file}, "audit": {"state_dir": home.state}})
    reader = KeepReader(keeps_last=True)

    async def read() -> KeepReading:
        return reader._read_again(settings)

    home.keeps = read
    until = {"web-1": "2027-03-01T02:00Z", "web-2": "2027-03-05"}
    entries = [f"{{name: {name}, until: '{end}', owner: ann, reason: demo}}" for name, end in until.items()]
    async with home.process():
        await home.until(at("1 00:01"))
        (trouble,) = home.service.overview().troubles
        assert "the exemptions can't be read: " in trouble, "no valid version so far"
        file.write_text(f"keep: [{', '.join(entries)}]")
        await home.until(at("1 00:02"))
        assert home.service.overview().troubles == ()
        file.write_text("keep:")
        await home.until(at("1 03:00"))
        document = home.service.overview().document()
    assert [(each["cvm"], each["expired"]) for each in document["kept"]] == [("web-2", False), ("web-1", True)]
    assert document["kept"][0] == {
        "cvm": "web-2",
        "until": "2027-03-06T00:00:00.000000Z",
        "owner": "ann",
        "reason": "demo",
        "source": f"{file}:1",
        "expired": False,
    }
    assert [(each["file"], each["keeps"]) for each in document["invalid"]] == [(str(file), "keep.file")]
    assert document["troubles"] == []
    (broken,) = home.events("keep.broken")
    assert (broken["file"], broken["note"]) == (str(file), "the last valid version holds")


async def test_a_run_that_was_killed_is_resumed_at_the_next_start(host: OpenHost) -> None:
    home = host(seconds=600)
    home.write("cut", cron="0 1 * * *", timezone="UTC")
    async with home.process():
        await home.until(at("1 01:05"))
    (run,) = home.world.runs.values()
    assert (run.sent, run.finished) == (1, False)
    await home.until(at("1 01:30"))
    async with home.process():
        await home.until(at("1 01:45"))
    assert (run.sent, run.finished, len(home.world.runs)) == (3, True, 1)


@pytest.mark.parametrize("on_missed", ["run_once", "skip"])
async def test_an_old_run_is_resumed_only_where_late_is_better_than_never(host: OpenHost, on_missed: str) -> None:
    home = host(seconds=600)
    home.write("cut", cron="0 1 * * *", timezone="UTC", on_missed=on_missed)
    async with home.process():
        await home.until(at("1 01:05"))
    await home.until(at("1 02:30"))
    async with home.process():
        await home.until(at("1 03:00"))
    (run,), (ended,) = home.world.runs.values(), home.events("firing.ended")
    assert (run.finished, ended["result"]) == ((True, "ran") if on_missed == "run_once" else (False, "left"))


async def test_a_graceful_stop_leaves_what_runs_to_the_next_start(host: OpenHost) -> None:
    home = host(seconds=600)
    home.write("cut", cron="0 1 * * *", timezone="UTC")
    async with home.process():
        await home.until(at("1 01:05"))
        await home.stop()
        assert home.left == 1
    async with home.process():
        await home.until(at("1 01:30"))
        await home.stop()
        assert home.left == 0
    assert [run.finished for run in home.world.runs.values()] == [True]


async def test_a_run_that_could_not_reach_the_cloud_is_tried_again_for_some_minutes(host: OpenHost) -> None:
    home = host()
    home.write("flaky", cron="0 1 * * *", timezone="UTC")
    home.runner.codes = [5, 5]
    async with home.process():
        await home.until(at("1 02:00"))
        assert home.world.carried_out("flaky") == planned("1 01:00")
        home.runner.codes = [5] * 1000
        await home.until(at("2 02:00"))
    assert [each["exit_code"] for each in home.events("firing.ended")] == [0, 5]
    assert len(home.events("firing.tried_again")) == 2 + 20


async def test_a_refused_plan_is_a_firing_that_failed_and_the_next_one_comes(host: OpenHost) -> None:
    home = host()
    home.write("wide", cron="0 * * * *", timezone="UTC")
    home.runner.codes = [3]
    async with home.process():
        await home.until(at("1 02:30"))
    ended = [(each["exit_code"], each["result"]) for each in home.events("firing.ended")]
    assert ended == [(3, "failed"), (0, "ran")]


async def test_a_bug_in_one_run_ends_neither_the_service_nor_the_other_runs(
    host: OpenHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = host()
    home.write("buggy", cron="0 * * * *", timezone="UTC")

    def die(_place: str) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr(home.runner, "dies", die)
    async with home.process():
        await home.until(at("1 02:30"))
    assert [each["exit_code"] for each in home.events("firing.ended")] == [1, 0]


async def test_while_the_journal_cannot_be_written_nothing_begins(host: OpenHost) -> None:
    home = host()
    home.write("full", cron="0 * * * *", timezone="UTC", on_missed="run_once")
    full = False

    async def sync(write: Callable[[], None]) -> None:
        if full:
            raise OSError(28, "No space left on device")
        write()

    home.sync = sync
    async with home.process():
        await home.until(at("1 00:30"))
        full = True
        await home.until(at("1 01:30"))
        assert not home.world.runs
        assert "No space left" in home.service.overview().troubles[0]
        full = False
        await home.until(at("1 01:40"))
    assert home.world.carried_out("full") == planned("1 01:00")


async def test_playbooks_without_a_schedule_are_left_alone_whatever_is_wrong_with_them(host: OpenHost) -> None:
    home = host()
    home.write("plain")
    (home.playbooks / "odd.yaml").write_text("name: odd\nsteps: nothing\n")
    (home.playbooks / ".hidden.yaml").write_text("schedule: [")
    async with home.process():
        await home.until(at("1 01:00"))
        overview = home.service.overview()
    assert (overview.rows, overview.faults) == ((), ())


async def test_a_schedule_that_needs_a_value_is_refused(host: OpenHost) -> None:
    home = host()
    home.write("asks", cron="0 * * * *", timezone="UTC", more="vars: {teepod: {required: true}}\n")
    async with home.process():
        await home.until(at("1 01:30"))
    (said,) = home.events("playbook.invalid")
    assert "teepod" in said["error"]
    assert "default" in said["hint"]
    assert not home.world.runs


async def test_a_state_folder_has_one_service(host: OpenHost) -> None:
    home = host()
    async with home.process():
        await home.until(at("1 00:10"))
        with pytest.raises(RunHeldError, match="another `orchestrator serve`"):
            FileJournalStore(home.state).open_journal()


async def test_the_overview_is_a_json_document(host: OpenHost) -> None:
    home = host()
    home.write("nightly", cron="30 2 * * *", timezone="Europe/Berlin")
    async with home.process():
        await home.until(MONDAY + 30 * HOUR)
        document = json.loads(json.dumps(home.service.overview().document()))
    (row,) = document["playbooks"]
    assert row["next"] == {
        "planned": "2027-03-03T01:30:00.000000Z",
        "starts": "2027-03-03T01:30:00.000000Z",
        "local": "2027-03-03T02:30:00+01:00",
    }
    assert (row["last"]["exit_code"], row["running"]) == (0, None)


@pytest.mark.parametrize(
    ("state", "code", "says"),
    [
        (State.FINISHED, 6, None),
        (State.HELD, 3, "another process"),
        (State.ALTERED, 2, "audit verify"),
        (State.UNREADABLE, 2, "can't be read"),
    ],
)
async def test_a_claimed_run_that_needs_nothing_more_or_must_not_be_touched_is_left_alone(
    host: OpenHost, monkeypatch: pytest.MonkeyPatch, state: State, code: int, says: str | None
) -> None:
    home = host(seconds=600)
    home.write("cut", cron="0 1 * * *", timezone="UTC")
    async with home.process():
        await home.until(at("1 01:05"))
    sent = dict(home.world.actions)

    async def read_status(_run_id: str) -> RunStatus:
        return RunStatus(state, None, 6)

    monkeypatch.setattr(home.runner, "read_status", read_status)
    async with home.process():
        await home.until(at("1 01:45"))
    (ended,) = home.events("firing.ended")
    assert (ended["exit_code"], says is None or says in ended["reason"]) == (code, True)
    assert home.world.actions == sent


async def test_a_claim_whose_playbook_is_gone_is_over_and_says_so(host: OpenHost) -> None:
    home = host(seconds=600)
    file = home.write("gone", cron="0 1 * * *", timezone="UTC", on_missed="run_once")
    async with home.process():
        await home.until(at("1 01:00") + timedelta(seconds=30))  # still planning
    file.write_text("name: gone\nsteps: [{action: stop, select: {all: true}}]\n")
    for copy in (home.state / "service" / "kept").rglob("*.kept"):
        copy.unlink()
    async with home.process():
        await home.until(at("1 01:45"))
    (ended,) = home.events("firing.ended")
    assert (ended["exit_code"], "no valid playbook" in ended["reason"]) == (2, True)
    assert not home.world.runs


@pytest.mark.parametrize("broken", ["sschedule", "half", "gone", "link"])
async def test_an_edit_that_makes_no_playbook_loses_no_firing(host: OpenHost, broken: str) -> None:
    home = host()
    file = home.write("edited", cron="0 * * * *", timezone="UTC", on_missed="run_once")
    valid = file.read_text()
    async with home.process():
        await home.until(at("1 00:59:59"))
        if broken == "link":
            file.unlink()
            file.symlink_to(home.playbooks / "nowhere")
        elif broken == "gone":
            file.unlink()
        else:
            file.write_text(valid.replace("schedule", "sschedule") if broken == "sschedule" else valid[:20])
        await home.until(at("1 01:00:03"))
        file.unlink(missing_ok=True)
        file.write_text(valid)
        await home.until(at("1 02:30"))
    assert home.world.carried_out("edited") == planned("1 01:00", "1 02:00")
    assert home.events("schedule.ended") == []


EVENING = at("1 18:50")
JITTERED = {"cron": "54 18 * * *", "timezone": "UTC", "jitter": "10m"}


@pytest.mark.parametrize(
    "edit",
    [
        {"until": "2027-03-01T18:54"},
        {"until": "2027-03-01T18:00"},
        {"cron": "0 3 * * *"},
        {"from": "2027-03-02"},
        {"jitter": "1s"},
        {"jitter": "3h"},
        {"timezone": "Asia/Kolkata"},
        {"on_missed": "run_once"},
    ],
)
@pytest.mark.parametrize("restarted", [False, True])
async def test_an_edit_between_the_planned_time_and_the_start_moves_nothing(
    host: OpenHost, edit: dict[str, str], *, restarted: bool
) -> None:
    """A firing with minutes of jitter happens once, at its start time, despite edits."""
    home = host(epoch=EVENING, scan_interval=2)
    home.write("nightly", **JITTERED)
    async with home.process():
        await home.until(at("1 18:54:15"))
        (row,) = home.service.overview().rows
        assert row.next is not None
        moment = row.next.moment
        assert at("1 18:54:30") < moment < at("1 19:04")
        if not restarted:
            home.write("nightly", **{**JITTERED, **edit})
        await home.until(at("1 18:54:20"))
        assert restarted or (home.service.overview().rows[0].next or row.next).moment == moment
    if restarted:
        home.write("nightly", **{**JITTERED, **edit})
    home.scan_interval = 60
    async with home.process():
        await home.until(at("1 19:30"))
    (run,) = home.world.runs.values()
    assert run.planned == planned("1 18:54")[0]
    assert timedelta(0) <= run.begun_at - moment < timedelta(seconds=3)


async def test_a_day_that_is_off_since_the_planned_time_is_left_out_and_on_record(host: OpenHost) -> None:
    home = host(epoch=EVENING, scan_interval=2)
    home.write("nightly", **JITTERED)
    async with home.process():
        await home.until(at("1 18:54:15"))
        home.write("nightly", **JITTERED, not_on="2027-03-01")
        await home.until(at("1 19:05"))
    assert home.world.runs == {}
    assert [(each["planned"], each["reason"]) for each in home.events("firing.left_out")] == [
        (planned("1 18:54")[0], "day_off")
    ]


async def test_an_edit_at_the_very_moment_of_a_firing_loses_it_not(host: OpenHost) -> None:
    home = host(epoch=at("1 00:59"), scan_interval=2)
    home.write("hourly", cron="0 * * * *", timezone="UTC")
    async with home.process():
        await home.until(at("1 00:59:59"))
        home.write("hourly", cron="30 * * * *", timezone="UTC")
        home.wall.skew += timedelta(seconds=1)
        await home.until(at("1 01:05"))
    assert home.world.carried_out("hourly") == planned("1 01:00")


@pytest.mark.parametrize(("until", "ran"), [("1 18:54:40", True), ("1 19:30", False)])
async def test_what_the_page_says_of_a_snooze_within_the_jitter_is_what_happens(
    host: OpenHost, until: str, *, ran: bool
) -> None:
    home = host(epoch=EVENING, scan_interval=4)
    home.write("nightly", **JITTERED)
    async with home.process():
        await home.until(at("1 18:54:15"))
        home.snooze("nightly", home.wall.wall(), at(until))
        await home.until(at("1 18:54:20"))
        (row,) = home.service.overview().rows
        assert row.next is not None
        assert row.next.planned == at("1 18:54" if ran else "2 18:54")
        await home.until(at("1 19:31"))
    assert home.world.carried_out("nightly") == (planned("1 18:54") if ran else [])


async def test_a_slow_look_at_the_folder_holds_up_no_firing(host: OpenHost) -> None:
    """A slow calendar delays only its own playbook."""
    home = host(epoch=at("1 00:59"), scan_interval=2)
    home.write("hourly", cron="0 * * * *", timezone="UTC")
    async with home.process():
        await home.until(at("1 00:59:30"))
        home.look_takes = 900.0
        await home.until(at("1 02:30"))
    assert home.world.carried_out("hourly") == planned("1 01:00", "1 02:00")
    assert all(run.begun_at - parse_timestamp(run.planned) < timedelta(seconds=3) for run in home.world.runs.values())


async def test_a_service_is_stopped_also_while_it_looks_at_the_folder(host: OpenHost) -> None:
    home = host()
    home.look_takes = 1e6
    async with home.process():
        await anyio.sleep(10)
        with anyio.fail_after(5):
            await home.stop()
        assert home.left == 0


FLEET = "workspaces: [eu, us]\n"


@pytest.mark.parametrize(("before", "after"), [("", FLEET), (FLEET, "")])
async def test_an_edit_of_the_workspaces_gives_a_waiting_firing_another_id(
    host: OpenHost, before: str, after: str
) -> None:
    home = host(seconds=5000)
    schedule = {"cron": "0 * * * *", "timezone": "UTC", "on_overlap": "queue"}
    home.write("edited", **schedule, more=before)
    async with home.process():
        await home.until(at("1 02:10"))  # the first run is active, the second firing waits
        home.write("edited", **schedule, more=after)
        await home.until(at("1 05:00"))
    assert home.world.carried_out("edited")[:2] == planned("1 01:00", "1 02:00")
    assert [is_fleet_id(run_id) for run_id in home.world.runs][:2] == [bool(before), bool(after)]
    assert home.events("firing.ended")[1]["run_id"] == list(home.world.runs)[1]


async def test_a_cancelled_run_is_not_continued_and_other_runs_go_on(host: OpenHost) -> None:
    home = host()
    home.write("one", cron="0 9 * * *", timezone="UTC")
    home.write("two", cron="0 9 * * *", timezone="UTC")
    nine = MONDAY + timedelta(hours=9)
    async with home.process() as service:
        await home.until(nine + timedelta(seconds=1))
        (one,) = (row.running for row in service.overview().rows if row.name == "one")
        assert one is not None
        assert service.cancel_run(one, "anna (page)")
        assert not service.cancel_run(one, "again")
        assert not service.cancel_run("20270301T090000Z-none", "anna")
        await home.until(nine + timedelta(minutes=1))
        ended = {each["playbook"]: (each["result"], each["exit_code"]) for each in home.events("firing.ended")}
        assert ended == {"one": ("ran", 8), "two": ("ran", 0)}
        assert "cancelled by anna (page)" in str(home.events("firing.ended"))
        assert home.events("firing.left_for_later") == []
        assert not service.cancel_run(one, "anna")
    async with home.process():
        await home.until(nine + timedelta(minutes=2))
    assert home.events("firing.taken_up") == []
