"""The rate budget of a workspace in the team store: shared by all runs, on the clock of the database."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.postgres.conftest import Connect
from tests.postgres.holder import Fence, Holder, require

RATE, BURST = 50.0, 10
_CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"


def take_moments(holder: Holder, fence: Fence, until: float, seed: int) -> list[float]:
    """Take turns in slices of random size until a time of the database; return the moments of all kept turns.

    A turn begins when due, or at once when due already; turns later than (burst - 1) / rate are dropped.
    """
    chance, moments = random.Random(seed), []
    while True:
        row = holder.connection.execute(
            "SELECT * FROM orchestrator.take_turns('prod', %s, %s, %s, %s, '0 s')",
            [*fence, slice_ := chance.randint(1, 8)],
        ).fetchone()
        assert row is not None
        now, first, rate, burst, paused = row
        assert (rate, burst, paused) == (RATE, BURST, 0)
        turns = [first + number / rate for number in range(slice_)]
        moments += [max(turn, now) for turn in turns if now - turn <= (burst - 1) / rate]
        if max(turns) > until:
            return moments


@pytest.mark.parametrize("seed", range(3))
def test_no_window_has_more_turns_than_the_burst_and_the_rate_allow(connect: Connect, seed: int) -> None:
    """Three connections of two runs, all as fast as the database answers."""
    holders = [Holder(connect("wes_worker")) for _ in range(3)]
    fences = []
    for name in ("a", "b"):
        holders[0].submit(name)
        fences.append(require(holders[0].take(name)))
    row = holders[0].connection.execute(_CLOCK).fetchone()
    assert row is not None
    begin, span = row[0], 20.0
    with ThreadPoolExecutor(3) as pool:
        parts = pool.map(
            take_moments, holders, [fences[0], fences[1], fences[0]], [begin + span] * 3, range(seed, seed + 3)
        )
        moments = sorted(moment for part in parts for moment in part)
    # The clock is read once more than the function reads the clock: a few milliseconds beside 20 ms between turns.
    tolerance = 0.25
    for size in (1, 2, BURST, BURST + 1, 50, 400):
        spans = [late - early for early, late in zip(moments, moments[size:], strict=False)]
        assert min(spans) >= (size + 1 - BURST - tolerance) / RATE
    assert len([moment for moment in moments if moment < begin + span]) >= 0.95 * span * RATE


def test_a_workspace_has_its_own_budget(connect: Connect) -> None:
    worker = Holder(connect("wes_worker"))
    for name in ("prod", "dev"):
        worker.submit(name, workspace=name)
    for name, turns in (("prod", 500), ("dev", 1)):
        ((at, first, *_),) = worker.call("take_turns", name, *require(worker.take(name)), turns, "0 s")
        assert first - at == pytest.approx(-(BURST - 1) / RATE, abs=0.1)


def test_the_first_turn_after_an_idle_time_is_usable_for_a_moment(connect: Connect) -> None:
    worker = Holder(connect("wes_worker"))
    worker.submit()
    ((at, first, *_),) = worker.call("take_turns", "prod", *require(worker.take()), 1, "30 s")
    assert first - at == pytest.approx(30 - (BURST - 1) / RATE, abs=0.1)


def test_a_pause_holds_for_every_run_of_the_workspace_and_is_never_shortened(connect: Connect) -> None:
    worker = Holder(connect("wes_worker"))
    for name in ("a", "b"):
        worker.submit(name)
    a, b = require(worker.take("a")), require(worker.take("b"))
    assert worker.call("pause_workspace", "prod", *a, "30 s") == [(True,)]
    assert worker.call("pause_workspace", "prod", *b, "1 s") == [(True,)]
    ((at, first, *_, paused),) = worker.call("take_turns", "prod", *b, 1, "0 s")
    assert paused == pytest.approx(30, abs=2)
    assert first - at == pytest.approx(paused - (BURST - 1) / RATE, abs=0.1), "no turn is lost in the pause"
    assert worker.call("pause_workspace", "prod", *a._replace(epoch=7), "60 s") == [(False,)]


def test_a_new_rate_holds_from_the_next_turn_on(connect: Connect) -> None:
    worker = Holder(connect("wes_worker"))
    worker.submit()
    fence = require(worker.take())
    worker.call("set_budget", "prod", 2.0, 3)
    assert worker.call("take_turns", "prod", *fence, 1, "0 s")[0][2:4] == (2.0, 3)
    assert worker.call("take_turns", "prod", *fence, 0, "0 s") == []


def test_an_explicit_budget_replaces_another_and_a_default_does_not(connect: Connect) -> None:
    worker = Holder(connect("wes_worker"))
    assert worker.call("set_budget", "prod", 5.0, 3, False, "ann@a") == [(5.0, 3, None, None, None)]
    assert worker.call("set_budget", "prod", 9.0, 4, True, "bob@b") == [(9.0, 4, 5.0, 3, None)]
    assert worker.call("set_budget", "prod", 5.0, 3, False, "ann@a") == [(9.0, 4, 9.0, 4, "bob@b")]


def test_a_run_takes_no_turns_of_another_workspace_and_a_process_without_a_run_takes_any(connect: Connect) -> None:
    worker = Holder(connect("wes_worker"))
    for name in ("prod", "dev"):
        worker.submit(name, workspace=name)
    fence = require(worker.take("prod"))
    assert worker.call("take_turns", "dev", *fence, 1, "0 s") == []
    assert worker.call("pause_workspace", "dev", *fence, "30 s") == [(False,)]
    assert len(worker.call("take_turns", "dev", None, None, None, 1, "0 s")) == 1
    assert worker.call("pause_workspace", "dev", None, None, None, "30 s") == [(True,)]
    assert worker.call("take_turns", "nowhere", None, None, None, 1, "0 s") == []


def test_no_process_takes_the_budget_for_long(connect: Connect) -> None:
    holder = Holder(connect("wes_worker"))
    holder.call("set_budget", "prod", RATE, BURST, False, "ann@host")
    for turns, ahead in ((2_000_000_000, "0 s"), (1, "1000 years"), (0, "0 s")):
        assert holder.call("take_turns", "prod", None, None, None, turns, ahead) == []
    for _ in range(60):
        holder.call("take_turns", "prod", None, None, None, 1000, "0 s")
    ((now, first, *_),) = holder.call("take_turns", "prod", None, None, None, 1, "0 s")
    assert first - now < 660, "ten minutes at the most, whatever was taken"
    holder.call("pause_workspace", "prod", None, None, None, "1000 years")
    ((*_, paused),) = holder.call("take_turns", "prod", None, None, None, 1, "0 s")
    assert paused <= 86_400
