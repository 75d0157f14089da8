"""Schedulers on several machines: one leads, each firing runs once, and none is missing."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from orchestrator.errors import StoreDownError
from orchestrator.playbook.load import LoadedPlaybook, load_playbook
from orchestrator.postgres.firing_run import FiringRun
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.status import StopRequest
from orchestrator.service import duty_journal
from orchestrator.service.duty import Term
from orchestrator.service.duty_journal import open_journal
from orchestrator.service.duty_runner import DutyRunner
from orchestrator.service.scheduler import GRACE
from orchestrator.times import parse_timestamp, timestamp
from tests.service.crew import Crew, build_run
from tests.service.fake_duty import Database, FakeDutyStore
from tests.service.host import MONDAY, Host

pytestmark = pytest.mark.anyio
OpenHost = Callable[..., Host]
SECOND = timedelta(seconds=1)
ABOUT = {"playbook": "a", "file": "/x/a.yaml", "timezone": "UTC", "when": "1", "left_out": "2"}
NAMES = ("a", "b", "c")


def refuse_runs(claim: FiringClaim, _loaded: LoadedPlaybook) -> FiringRun:
    raise AssertionError(claim)


def events(crew: Crew, *names: str) -> list[tuple[str, str]]:
    """Process and event of these events, in order."""
    return [(facts["process"], event) for event, facts in crew.home.told if event in names]


async def test_one_process_leads_and_the_others_stand_by(host: OpenHost) -> None:
    home = host()
    home.write("nightly", cron="5 0 * * *", timezone="UTC")
    crew = Crew(home)
    async with crew.work(*NAMES):
        await home.until(MONDAY + timedelta(minutes=10))
        (leader,) = crew.leaders
        standby = crew.processes["b" if leader == "a" else "a"].leader.overview()
        leading = crew.processes[leader].leader.overview()
    assert (standby.is_standby, standby.leader, standby.rows, standby.troubles) == (True, leader, (), ())
    assert (leading.is_standby, leading.leader, [row.name for row in leading.rows]) == (False, leader, ["nightly"])
    assert leading.document()["standby"] is False
    assert crew.database.carried_out("nightly") == [timestamp(MONDAY + timedelta(minutes=5))]
    assert [each["exit_code"] for each in crew.database.records("firing.ended", "nightly")] == [0]


async def test_after_a_kill_another_process_leads_within_the_lease_and_five_seconds(host: OpenHost) -> None:
    home = host()
    crew = Crew(home)
    async with crew.work("a"):
        await anyio.sleep(1)
        crew.start("b")
        await anyio.sleep(60)
        await crew.processes["a"].kill()
        await anyio.sleep(crew.lease + 5)
        assert crew.leaders == ["b"]


async def test_a_stopped_process_gives_the_duty_away_within_five_seconds(host: OpenHost) -> None:
    home = host()
    home.write("slow", cron="2 0 * * *", timezone="UTC")
    crew = Crew(home)
    async with crew.work("a", seconds=600):
        await anyio.sleep(1)
        crew.start("b")
        await home.until(MONDAY + timedelta(minutes=3))
        stopped = home.wall.wall()
        await crew.processes["a"].stop()
        await home.until(stopped + 5 * SECOND)
        assert crew.leaders == ["b"]
        await home.until(MONDAY + timedelta(minutes=14))
    (ended,) = crew.database.records("firing.ended", "slow")
    assert (ended["result"], ended["exit_code"]) == ("ran", 0)
    assert len(crew.database.carried_out("slow")) == 1


async def test_a_paused_leader_writes_nothing_after_another_take(host: OpenHost) -> None:
    home = host()
    home.write("often", cron="* * * * *", timezone="UTC", on_overlap="skip")
    crew = Crew(home)
    async with crew.work("a", seconds=5):
        await anyio.sleep(1)
        crew.start("b")
        await anyio.sleep(200)
        crew.processes["a"].store.pause()
        await anyio.sleep(100)
        assert crew.leaders == ["a", "b"], "the paused process knows nothing yet"
        crew.processes["a"].store.goes_on.set()
        await anyio.sleep(1)
        assert crew.leaders == ["b"]
        await anyio.sleep(120)
    epochs = [epoch for epoch, _ in crew.database.journal.values()]
    assert epochs == sorted(epochs)
    assert ("a", "service.stepped_down") in events(crew, "service.stepped_down")
    assert max(Counter(crew.database.carried_out("often")).values()) == 1


async def test_a_paused_leader_without_a_write_steps_down_at_its_next_renewal(host: OpenHost) -> None:
    crew = Crew(host())
    async with crew.work("a"):
        await anyio.sleep(1)
        crew.start("b")
        await anyio.sleep(10)
        crew.processes["a"].store.pause()
        await anyio.sleep(30)
        crew.processes["a"].store.goes_on.set()
        await anyio.sleep(crew.lease / 5 + 1)
        assert crew.leaders == ["b"]


async def test_a_leader_with_an_older_epoch_submits_nothing_and_steps_down(host: OpenHost, tmp_path: Path) -> None:
    database = Database(host().wall)
    older, newer = (FakeDutyStore(database, name, 20.0, Random(1)) for name in "ab")
    term = Term(older, (await older.take()).epoch or 0)
    await anyio.sleep(21)
    await newer.take()
    file = tmp_path / "a.yaml"
    file.write_text("name: a\nsteps:\n  - {action: stop, select: {name: ['dev-*']}}\n")
    loaded, claim = load_playbook(file, {}), FiringClaim("a", MONDAY, MONDAY, "20270301T000000Z-0001")
    runner = DutyRunner(term, lambda claim, loaded: build_run(claim, loaded, MONDAY), lambda _loaded: False)
    with anyio.move_on_after(60) as waited:  # the leader cancels the tasks of a lost term
        await runner.start(claim, loaded, StopRequest())
    assert waited.cancelled_caught
    assert (term.reason, database.runs) == (duty_journal.TAKEN, {})


async def test_the_leader_with_the_older_epoch_writes_nothing(host: OpenHost) -> None:
    database = Database(host().wall)
    stores = [FakeDutyStore(database, name, 20.0, Random(1)) for name in "ab"]
    older = Term(stores[0], (await stores[0].take()).epoch or 0)
    first = await open_journal(older, refuse_runs)
    await first.write("schedule.enabled", **ABOUT)
    await anyio.sleep(21)
    newer = Term(stores[1], (await stores[1].take()).epoch or 0)
    second = await open_journal(newer, refuse_runs)
    lines = dict(database.journal)
    for _ in range(2):
        with pytest.raises(OSError, match="another process has the duty"):
            await first.write("schedule.ended", playbook="a")
    assert (database.journal, older.reason) == (lines, duty_journal.TAKEN)
    assert dict(first.state.list_present()), "an unwritten event did not happen"
    await second.write("schedule.ended", playbook="a")
    assert [epoch for epoch, _ in database.journal.values()] == [1, 2]


@pytest.mark.parametrize("is_written", [True, False])
async def test_after_a_write_of_unknown_outcome_the_leader_reads_the_journal_anew(
    host: OpenHost, is_written: bool
) -> None:
    home = host()
    home.write("nightly", cron="0 1 * * *", timezone="UTC")
    crew = Crew(home)
    async with crew.work("a"):
        await anyio.sleep(60)
        store = crew.processes["a"].store
        append, broken = store.append, []  # type: ignore[var-annotated]

        async def append_and_break(*args: Any) -> bool:  # noqa: ANN401 - arguments of append
            if broken:
                return bool(await append(*args))
            broken.append(args)
            if is_written:
                await append(*args)
            raise StoreDownError("the connection broke")

        store.append = append_and_break
        await home.until(MONDAY + timedelta(hours=2))
    assert len(broken) == 1
    assert events(crew, "service.stepped_down") == [("a", "service.stepped_down")]
    assert len(crew.database.carried_out("nightly")) == 1
    assert len(crew.database.records("firing.claimed", "nightly")) == 1
    assert [each["result"] for each in crew.database.records("firing.ended", "nightly")] == ["ran"]


async def test_a_firing_without_a_worker_is_given_up_in_time_and_says_so(host: OpenHost) -> None:
    home = host()
    home.write("nightly", cron="0 1 * * *", timezone="UTC")
    crew = Crew(home)
    async with anyio.create_task_group() as group:
        crew._group = group
        crew.start("a")
        await home.until(MONDAY + timedelta(hours=2))
        group.cancel_scope.cancel()
    (ended,) = crew.database.records("firing.ended", "nightly")
    assert (ended["result"], ended["exit_code"]) == ("failed", 5)
    assert "no worker took the run" in ended["reason"]
    assert parse_timestamp(ended["ts"]) - parse_timestamp(ended["planned"]) < timedelta(minutes=10, seconds=10)


@pytest.mark.parametrize(("minutes", "codes"), [(3, [0]), (30, [5])])
async def test_a_firing_tries_again_while_the_api_is_unreachable(
    host: OpenHost, minutes: int, codes: list[int]
) -> None:
    home = host()
    home.write("nightly", cron="0 1 * * *", timezone="UTC")
    crew = Crew(home)
    async with crew.work("a", seconds=5):
        crew.database.cloud_is_down = True
        await home.until(MONDAY + timedelta(minutes=60 + minutes))
        crew.database.cloud_is_down = False
        await home.until(MONDAY + timedelta(hours=2))
    assert [each["exit_code"] for each in crew.database.records("firing.ended", "nightly")] == codes
    assert len(crew.database.runs) == 1


async def test_a_playbook_that_cannot_be_submitted_ends_its_firing_with_the_reason(host: OpenHost) -> None:
    home = host()
    home.write("nightly", cron="0 1 * * *", timezone="UTC", more="workspaces: [eu]\n")
    crew = Crew(home)
    async with crew.work("a"):
        await home.until(MONDAY + timedelta(hours=2))
    (ended,) = crew.database.records("firing.ended", "nightly")
    assert (ended["exit_code"], ended["reason"]) == (2, "several workspaces; use one")


async def test_a_waiting_firing_survives_the_loss_of_the_leader(host: OpenHost) -> None:
    home = host()
    home.write("slow", cron="*/10 * * * *", timezone="UTC", on_overlap="queue")
    crew = Crew(home)
    async with crew.work("a", seconds=15 * 60):
        await anyio.sleep(1)
        crew.start("b")
        await home.until(MONDAY + timedelta(minutes=10 + 15) - 5 * SECOND)  # the second firing waits
        await crew.processes["a"].kill()
        await home.until(MONDAY + timedelta(minutes=29))
    assert crew.database.carried_out("slow") == [timestamp(MONDAY + timedelta(minutes=each)) for each in (10, 20)]


async def test_a_journal_of_a_later_version_is_left_to_another_process(host: OpenHost) -> None:
    home = host()
    crew = Crew(home)
    crew.database.journal[1] = (0, {"v": 9, "event": "new"})
    async with crew.work("a"):
        await anyio.sleep(1)
        (trouble,) = crew.processes["a"].leader.overview().troubles
        assert "later version" in trouble
        assert crew.database.lease_id is None
        await crew.processes["a"].stop()


async def test_an_unreachable_store_is_a_trouble_and_its_end_is_reported(host: OpenHost) -> None:
    home = host()
    crew = Crew(home)
    async with crew.work("a"):
        await anyio.sleep(30)
        crew.database.is_down = True
        await anyio.sleep(30)
        overview = crew.processes["a"].leader.overview()
        assert (overview.is_standby, len(overview.troubles)) == (True, 1)
        assert not overview.is_stuck(anyio.current_time())
        crew.database.is_down = False
        await anyio.sleep(5)
        assert crew.leaders == ["a"]
        assert crew.processes["a"].leader.overview().troubles == ()
    assert events(crew, "service.trouble", "service.mended") == [("a", "service.trouble"), ("a", "service.mended")]


async def test_a_new_leader_reads_from_the_last_snapshot_on(host: OpenHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duty_journal, "LINES", 20)
    home = host()
    home.write("often", cron="* * * * *", timezone="UTC")
    crew = Crew(home)
    async with crew.work("a", seconds=5):
        await home.until(MONDAY + timedelta(minutes=30))
        lines = await crew.processes["a"].store.read_journal()
        assert (lines[0][1]["event"], len(lines) <= 21) == ("snapshot", True)
        await crew.processes["a"].kill()
        crew.start("b")
        await home.until(MONDAY + timedelta(minutes=60, seconds=30))
    fired = [parse_timestamp(each) for each in crew.database.carried_out("often")]
    assert [later - each for each, later in pairwise(fired)] == [timedelta(minutes=1)] * (len(fired) - 1)
    assert len(fired) == 60


async def disturb(crew: Crew, end: datetime, *, longest: float) -> Counter[str]:
    """Kill, pause, stop and restart one process after the other, and stop the database at times."""
    rng, done = Random(crew.rng.random()), Counter[str]()
    while crew.home.wall.wall() < end:
        await anyio.sleep(rng.uniform(60, longest))
        name = rng.choice([*crew.leaders, *NAMES])  # the leader most often
        what = rng.choice(["kill", "pause", "stop", "database"])
        done[what] += 1
        process = crew.processes[name]
        if what == "database":
            crew.database.is_down = True
            await anyio.sleep(rng.uniform(1, 20))
            crew.database.is_down = False
            continue
        if what == "pause":
            process.store.pause()
            await anyio.sleep(rng.uniform(1, 300))
            process.store.goes_on.set()
            continue
        await (process.kill() if what == "kill" else process.stop())
        await anyio.sleep(rng.uniform(1, 300))
        crew.start(name)
    return done


async def hold_to_once(
    home: Host, seed: int, *, every: timedelta, span: timedelta, lease: float, longest: float, faults: float
) -> None:
    """Every firing of the playbooks runs once: none is missing, none runs twice."""
    minutes = every // timedelta(minutes=1)
    when = {"cron": f"*/{minutes} * * * *", "timezone": "UTC"}
    home.write("makes-up", **when, on_missed="run_once")
    if lease < GRACE.total_seconds() / 2:
        home.write("lets-go", **when, on_missed="skip")
        home.write("waits", **when, on_missed="skip", on_overlap="queue")
    names = [path.stem for path in home.playbooks.iterdir()]
    crew = Crew(home, seed=seed, lease=lease, try_every=lease / 5)
    crew.faults = faults
    end = MONDAY + span
    async with crew.work(*NAMES, seconds=10):
        await anyio.sleep(5)
        done = await disturb(crew, end, longest=longest)
        await anyio.sleep(1800)
    assert len(done) == 4, done
    planned = [timestamp(MONDAY + every * number) for number in range(1, span // every)]
    for name in names:
        fired = crew.database.carried_out(name)
        assert [each for each, number in Counter(fired).items() if number > 1] == [], "a firing ran twice"
        assert sorted(set(planned) - set(fired)) == [], f"a firing of {name} is missing"
        claimed = Counter(each["planned"] for each in crew.database.records("firing.claimed", name))
        assert [each for each, number in claimed.items() if number > 1] == [], "a firing was claimed twice"
        assert {each["result"] for each in crew.database.records("firing.ended", name)} == {"ran"}
    epochs = [epoch for _, (epoch, _) in sorted(crew.database.journal.items())]
    assert epochs == sorted(epochs), "a process of an older epoch wrote after a newer epoch"
    assert len(set(epochs)) > min(5, span // timedelta(seconds=4 * longest)), "the disturbances changed no leader"


@pytest.mark.parametrize("days", [2, pytest.param(7, marks=pytest.mark.soak)])
async def test_each_firing_of_days_runs_once_on_three_machines(host: OpenHost, days: int) -> None:
    """With a long lease: virtual time is quick where little happens."""
    await hold_to_once(
        host(), 7, every=timedelta(minutes=20), span=timedelta(days=days), lease=800.0, longest=6 * 3600, faults=0.001
    )


async def test_each_firing_runs_once_in_time_under_faults_every_few_minutes(host: OpenHost) -> None:
    await hold_to_once(
        host(), 1, every=timedelta(minutes=5), span=timedelta(hours=2), lease=20.0, longest=600, faults=0.002
    )


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(10, 13))
async def test_each_firing_of_a_week_runs_once_in_time(host: OpenHost, seed: int) -> None:
    await hold_to_once(
        host(), seed, every=timedelta(minutes=20), span=timedelta(days=7), lease=20.0, longest=3600, faults=0.0005
    )
