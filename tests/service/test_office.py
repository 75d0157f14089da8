"""Office hours over weeks with a change of clocks: exactly the CVMs stopped by the playbook are started again.

Real runs of `serve` against a simulated cloud, random kills, and a person with the vendor's tools; an independent
reckoning from the cloud's own operations says what a wake has to start.
"""

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import pytest

from orchestrator.audit import log
from orchestrator.playbook.keep import KeepEntry
from orchestrator.rehearsal.virtual_time import run_on_virtual_time
from orchestrator.service import journal
from tests.service.office import HOUR, Office, RunLog

NAMES = [
    *(f"berlin-{n}" for n in range(3)),
    *(f"night-{n}" for n in range(2)),
    *(f"kolkata-{n}" for n in range(2)),
    "web-1",
]
BERLIN, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")
SUMMER = datetime(2027, 3, 28, 1, tzinfo=UTC)
"""The change of clocks in Europe: 02:00 local time is followed by 03:00."""


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip fsync: the simulated crashes of these tests do not lose written data."""
    for module in (journal, log):
        for name in ("sync_file", "sync_folder"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda _at: None)


def open_office(folder: Path, begin: datetime, seed: int) -> Office:
    """An office with three playbooks: of office hours, of nights over the change of clocks, and in another zone."""
    office = Office(folder, begin, NAMES, seed=seed)
    freeze = '{timezone: Europe/Berlin, on: ["2027-03-30"]}'
    office.write(
        "berlin",
        "schedule: {cron: '0 19 * * MON-FRI', timezone: Europe/Berlin, on_missed: run_once}\n"
        f"wake: {{cron: '0 7 * * MON-FRI'}}\nguards: {{not_during: {freeze}}}",
    )
    office.write("night", "schedule: {cron: '30 1 * * *', timezone: Europe/Berlin}\nwake: {cron: '30 2 * * *'}")
    office.write(
        "kolkata",
        "schedule: {cron: '30 20 * * *', timezone: Asia/Kolkata, on_missed: run_once}\nwake: {cron: '0 9 * * *'}",
    )
    office.exemptions = (KeepEntry("name", "berlin-2", SUMMER + 40 * HOUR, "ann", "demo", "keep.yaml:1"),)
    return office


def simulate(folder: Path, *, begin: datetime, days: int, seed: int, kills: int, every: timedelta) -> Office:
    """Let days pass."""
    office, end = open_office(folder, begin, seed), begin + timedelta(days=days)

    async def pass_days() -> None:
        async with office.open(), anyio.create_task_group() as group:
            if every:
                group.start_soon(office.play_person, end - 2 * HOUR, every)
            await office.live(end, kills=kills)

    run_on_virtual_time(pass_days)
    return office


def check(office: Office) -> list[RunLog]:
    """Check all runs against the reckoning."""
    runs = office.read_runs()
    for run in runs:
        if run.is_wake:
            office.check_wake(run)
    office.check_operations(runs)
    return runs


def local_times(runs: list[RunLog], playbook: str, zone: ZoneInfo, *, wakes: bool) -> set[str]:
    return {
        f"{run.planned.astimezone(zone):%H:%M}" for run in runs if run.playbook == playbook and run.is_wake == wakes
    }


def test_a_week_without_faults_wakes_all_over_the_change_of_clocks(tmp_path: Path) -> None:
    begin = SUMMER - 3 * 24 * HOUR
    office = simulate(tmp_path, begin=begin, days=6, seed=1, kills=0, every=timedelta())
    runs = check(office)
    assert local_times(runs, "berlin", BERLIN, wakes=False) == {"19:00"}
    assert local_times(runs, "berlin", BERLIN, wakes=True) == {"07:00"}
    assert local_times(runs, "kolkata", KOLKATA, wakes=False) == {"20:30"}
    assert local_times(runs, "kolkata", KOLKATA, wakes=True) == {"09:00"}
    assert local_times(runs, "night", BERLIN, wakes=True) == {"02:30", "03:00"}  # 02:30 does not exist on the 28th
    nights = {run.planned.date().isoformat() for run in runs if run.playbook == "berlin" and not run.is_wake}
    assert nights == {"2027-03-25", "2027-03-26", "2027-03-29"}, "the 30th is frozen"
    exempted = [run.skipped.get("berlin-2") for run in runs if run.playbook == "berlin" and not run.is_wake]
    assert exempted == ["kept", "kept", None]
    at_end = {cvm.name: cvm.phase_at(6 * 86400.0).status for cvm in office.world.cvms}  # 06:30 in Kolkata
    assert {name for name, status in at_end.items() if status != "running"} == {"kolkata-0", "kolkata-1"}
    assert all(run.begin - run.planned < timedelta(minutes=1) for run in runs)
    saved, reckoned = office.count_savings(begin + timedelta(days=6))
    assert abs(saved - reckoned) < Decimal("0.005"), "the savings end with the wakes"


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_month_without_faults_agrees_with_the_calendar_and_to_the_cent(tmp_path: Path) -> None:
    begin, days = datetime(2027, 3, 8, 12, tzinfo=UTC), 31
    office = simulate(tmp_path, begin=begin, days=days, seed=2, kills=0, every=timedelta())
    runs = check(office)
    found: dict[tuple[str, bool], list[datetime]] = {}
    for run in runs:
        found.setdefault((run.playbook, run.is_wake), []).append(run.planned)
    dates = [(begin + timedelta(days=number)).date() for number in range(days + 1)]
    workdays = [date for date in dates if date.weekday() < 5]
    stops = [datetime.combine(date, time(19), BERLIN) for date in workdays[:-1] if date.isoformat() != "2027-03-30"]
    wakes = [datetime.combine(date, time(7), BERLIN) for date in workdays[1:]]
    assert found["berlin", False] == [each.astimezone(UTC) for each in stops]
    assert found["berlin", True] == [each.astimezone(UTC) for each in wakes]
    assert len(found["night", False]) == len(found["night", True]) == days
    assert len(found["kolkata", False]) == days
    skipped = {
        run.skipped.get("berlin-2")
        for run in runs
        if run.playbook == "berlin" and run.planned < SUMMER and not run.is_wake
    }
    assert skipped == {"kept"}
    saved, reckoned = office.count_savings(begin + timedelta(days=days))
    assert abs(saved - reckoned) < Decimal("0.005")


@pytest.mark.parametrize("seed", range(2))
def test_days_with_kills_and_a_person_wake_exactly_the_untouched(tmp_path: Path, seed: int) -> None:
    begin = SUMMER - 30 * HOUR
    runs = check(simulate(tmp_path, begin=begin, days=4, seed=seed, kills=12, every=5 * HOUR))
    assert {(run.playbook, run.is_wake) for run in runs} >= {("kolkata", True), ("night", True)}


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(100, 112))
def test_a_month_with_kills_and_a_person_wakes_exactly_the_untouched(tmp_path: Path, seed: int) -> None:
    begin = datetime(2027, 3, 8, 12, tzinfo=UTC)
    runs = check(simulate(tmp_path, begin=begin, days=31, seed=seed, kills=seed % 7 * 12, every=4 * HOUR))
    assert len([run for run in runs if run.is_wake]) > 40
