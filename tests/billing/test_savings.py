"""Sums of what was spared, and of what was not."""

from datetime import timedelta
from decimal import Decimal
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.billing.reconciled import Reconciled
from orchestrator.billing.savings import (
    By,
    ChargedStop,
    add_up,
    clip_periods,
    compute_cost,
    split_into_days,
    spread_over_time,
    to_hours,
)
from orchestrator.billing.stopped_period import End, Power, find_stopped_periods
from tests.billing.stops import at, down, ref, seen, started

NOW = at(100)


def charged(usd: str | None, number: int = 1, state: str = "charged") -> ChargedStop:
    figure = {"usd": usd, "minutes": None, "basis": "observed"}
    record: dict[str, Any] = {
        "step": "s",
        "action": "stop",
        "cvm": ref(number).document(),
        "asked_at": "",
        "window": {"from": None, "to": None},
        "state": state,
        "expected": figure,
        "charged": figure,
        "billing_keys": [],
        "reason": None,
    }
    return ChargedStop(ref(number), at(1), "run", "nightly", Reconciled.from_document(record))


def test_a_standstill_spares_its_hours_at_the_compute_rate_and_its_storage_goes_on() -> None:
    _, total = add_up(find_stopped_periods([down(0), started(10)], NOW), [], "playbook", at(0))
    assert (total.stood, total.compute.known_total, total.storage.known_total) == (
        timedelta(hours=10),
        Decimal("1.2"),
        Decimal("0.03"),
    )
    assert (total.times, total.open, total.seen, len(total.cvms)) == (1, 0, 0, 1)


def test_only_the_part_within_the_time_that_is_asked_for_counts() -> None:
    found = list(clip_periods(find_stopped_periods([down(0), started(10)], NOW), at(4), at(7)))
    assert [(each.begin, each.end, each.how) for each in found] == [(at(4), at(7), End.OPEN)]
    assert list(clip_periods(found, at(7), at(9))) == []


def test_without_a_rate_the_hours_count_and_the_money_is_unknown_never_a_guess() -> None:
    found = find_stopped_periods([down(0, 1, rate=None), down(0, 2), started(10, 1), started(10, 2)], NOW)
    _, total = add_up(found, [], "playbook", at(0))
    assert (total.stood, total.compute.usd, total.compute.unknown) == (timedelta(hours=20), Decimal("1.2"), 1)
    assert (total.compute.known_total, total.storage.known_total) == (None, Decimal("0.06"))


def test_what_was_paid_up_front_for_a_gpu_counts_once_where_the_stop_lies_in_the_time() -> None:
    found = find_stopped_periods([started(0), down(10, rate="2", has_gpus=True)], NOW)
    assert add_up(clip_periods(found, at(0), NOW), [], "app", at(0))[1].minimums.usd == 28
    assert add_up(clip_periods(found, at(20), NOW), [], "app", at(20))[1].minimums.usd == 0


def test_charges_are_summed_by_what_reconciling_found_and_those_that_nobody_asked_for_are_counted() -> None:
    stops = [charged("0.0204"), charged("0.0013", 2), charged(None, 3, "pending"), ChargedStop(ref(4), at(1), "r", "p")]
    rows, total = add_up([], stops, "playbook", at(0))
    assert (total.charges.charged_usd, total.charges.pending_stops, total.not_asked) == (Decimal("0.0217"), 1, 1)
    assert {row.key: len(row.stops) for row in rows} == {"nightly": 3, "p": 1}


def test_an_amount_is_rounded_to_a_millionth_once_and_half_to_even() -> None:
    assert compute_cost(Decimal("0.0000018"), timedelta(hours=1)) == Decimal("0.000002")
    assert compute_cost(Decimal("0.0000025"), timedelta(hours=1)) == Decimal("0.000002")
    assert compute_cost(Decimal(1000000000000), timedelta(days=3650)) == Decimal(87600000000000000)
    assert compute_cost(None, timedelta(hours=1)) is None
    assert to_hours(timedelta(minutes=20)) == Decimal("0.333333")


_STORIES = st.lists(
    st.tuples(
        st.sampled_from([down, started, seen]),
        st.floats(0, 100, allow_nan=False).map(lambda hour: round(hour, 4)),
        st.integers(1, 5),
    ),
    max_size=30,
)


def made(story: list[tuple[object, float, int]]) -> list[Power]:
    events: list[Power] = []
    for make, hour, number in story:
        if make is down:
            playbook = "nightly" if number % 2 else "weekend"
            events.append(down(hour, number, rate=f"0.{number}37", playbook=playbook))
        else:
            events.append(make(hour, number))  # type: ignore[operator] # one of two
    return events


@given(_STORIES, st.floats(0, 100), st.sampled_from(get_args(By)))
def test_rows_add_up_to_the_total_exactly_and_a_time_cut_in_two_to_the_whole(
    story: list[tuple[object, float, int]], cut: float, by: By
) -> None:
    found = find_stopped_periods(made(story), NOW)
    rows, total = add_up(found, [], by, at(0))
    assert sum((row.compute.usd for row in rows), Decimal(0)) == total.compute.usd
    assert sum((row.storage.usd for row in rows), Decimal(0)) == total.storage.usd
    assert sum((row.stood for row in rows), timedelta(0)) == total.stood
    halves = [add_up(clip_periods(found, *part), [], by, part[0])[1] for part in ((at(0), at(cut)), (at(cut), NOW))]
    assert sum((half.stood for half in halves), timedelta(0)) == total.stood
    rounding = Decimal("0.000001") * (len(found) + 1)
    assert abs(sum(half.compute.usd for half in halves) - total.compute.usd) <= rounding


@given(_STORIES, st.integers(1, 3000))
def test_a_chart_over_time_comes_to_the_total(story: list[tuple[object, float, int]], length: int) -> None:
    since, until = at(3.7), at(3.7 + length)
    found = list(clip_periods(find_stopped_periods(made(story), until), since, until))
    edges = split_into_days(since, until)
    assert edges[0] == since
    assert edges[-1] == until
    assert edges == sorted(set(edges))
    assert len(edges) <= 62
    saved = sum(spread_over_time(found, edges), Decimal(0))
    assert abs(saved - add_up(found, [], "app", since)[1].compute.usd) <= Decimal("0.000001") * 62 * (len(found) + 1)
