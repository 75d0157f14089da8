"""What each stop was charged, by usage records of many kinds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.action import Action
from orchestrator.billing.charges import TOLERANCE
from orchestrator.billing.reconcile import reconcile_stops
from orchestrator.billing.reconciled import ChargeState, Reconciled, add_up_charges
from orchestrator.billing.stop import Stop
from orchestrator.cloud.wire_usage import read_usage_page
from orchestrator.cvm import CvmRef
from orchestrator.reply import UsageRecord
from tests.billing.meter import Meter, Style

UUID = "0a1b2c3d-0000-4000-8000-00000000000f"
OTHER = "0a1b2c3d-0000-4000-8000-0000000000aa"
REF = CvmRef("cvm_1", UUID, "web-1", "ab" * 20, 1, "prod-1")
DAY = datetime(2026, 11, 23, tzinfo=UTC)
RATE = Decimal("0.058")
NEVER = timedelta(days=9)


def at(text: str) -> datetime:
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return DAY + timedelta(hours=hours, minutes=minutes, seconds=seconds)


def stop_at(moment: datetime, *, settle: float = 4, action: Action = Action.STOP) -> Stop:
    """A stop that the API carried out at this moment."""
    down = moment + timedelta(seconds=settle)
    sent, accepted = moment - timedelta(seconds=0.4), moment + timedelta(seconds=0.3)
    return Stop(step="s", action=action, ref=REF, sent=sent, accepted=accepted, ended=down, down=down, rate=RATE)


def parsed(records: Sequence[dict[str, Any]]) -> list[UsageRecord]:
    body = json.dumps({"usage": list(records), "total": len(records), "total_cost": 0})
    page = read_usage_page(json.loads(body, parse_float=Decimal), None)
    return [record for record in page.records if record.cvm == REF.uuid_key]


def said(
    stops: Sequence[Stop], meter: Meter, *, later: timedelta = timedelta(hours=1), ahead: float = 0
) -> list[Reconciled]:
    records = parsed([record for _, record in meter.records])
    now = max(stop.ended for stop in stops) + later
    return reconcile_stops(stops, records, gone=False, ahead=timedelta(seconds=ahead), now=now, pending_for=6 * 3600)


def one(stop: Stop, meter: Meter, **more: Any) -> Reconciled:  # noqa: ANN401 - as `said` has it
    (found,) = said([stop], meter, **more)
    return found


# What an API that the document allows may do, and a stop's charge is found all the same

TOLD = st.sampled_from(["stop", "STOPPED", "instance_stopped", "cvm.stop", "force-stop", "shutdown", "power_off"])
SILENT = st.sampled_from(["usage", "state_change", "settlement", "charge", "", "metered", "final"])
HOURLY = st.sampled_from(["hourly", "HOURLY_USAGE", "compute.hour", "periodic", "daily"])


@st.composite
def styles(draw: st.DrawFn) -> Style:
    told = draw(st.booleans())
    stop = draw(TOLD if told else SILENT)
    moments = draw(st.booleans())
    return Style(
        stop=stop,
        hourly=draw(HOURLY) if told else draw(st.sampled_from([stop, "hourly"])),
        zone=draw(st.sampled_from(["Z", "+00:00", "", " UTC"])),
        between=draw(st.sampled_from(["T", " "])),
        digits=draw(st.sampled_from([0, 3, 6])),
        dashes=draw(st.booleans()),
        period="moments" if moments else draw(st.sampled_from(["hours", "days"])),
        keyed=draw(st.booleans()),
        number=draw(st.booleans()),
        to_the_minute=told and moments and draw(st.booleans()),
        lag=timedelta(minutes=draw(st.integers(0, 90))) if moments else timedelta(0),
    )


@dataclass(frozen=True)
class Spell:
    """Seconds that a CVM is down, then up, and whether it was this run that stopped it then."""

    down: int
    up: int
    ours: bool


SPELLS = st.lists(st.builds(Spell, st.integers(600, 9_000), st.integers(1, 20_000), st.booleans()), min_size=1)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(styles(), SPELLS, st.integers(), st.decimals("0.001", 30, places=4))
@example(
    Style(stop="usage", hourly="usage", period="hours", keyed=False, number=False, dashes=False),
    [Spell(600, 1, ours=False), Spell(600, 1, ours=False), Spell(600, 1596, ours=False), Spell(9000, 20000, ours=True)],
    0,
    Decimal("0.0010"),
)
def test_the_charges_of_a_run_s_stops_add_up_to_what_the_meter_charged_for_them(
    style: Style, spells: list[Spell], seed: int, rate: Decimal
) -> None:
    meter, stops, due, clock = Meter(style), [], Decimal(0), DAY + timedelta(seconds=0.5)
    for spell in spells:
        begin = clock + timedelta(seconds=spell.down)
        clock = begin + timedelta(seconds=spell.up)
        since_hour = clock.minute * 60 + clock.second
        if min(since_hour, 3600 - since_hour) <= TOLERANCE.total_seconds():
            clock += timedelta(seconds=7)  # what ends on the hour is ordinary metering where no event type tells
        cost = meter.up(UUID, rate, begin, clock)
        meter.up(OTHER, rate, begin, clock)
        if spell.ours:
            stops.append(replace(stop_at(clock), rate=rate))
            due += cost
    meter.shuffled(seed)
    if stops:
        found = said(stops, meter)
        assert add_up_charges(found).charged_usd == due
        # Each stop by itself, as when every one of them was a run of its own.
        apart = [one(stop, meter) for stop in stops]
        assert add_up_charges(apart).charged_usd == due


@settings(deadline=None)
@given(st.integers(3, 120), st.integers(1, 400), TOLD)
def test_a_stop_soon_after_another_has_its_own_charge_and_not_the_other_s(down: int, up: int, word: str) -> None:
    meter = Meter(Style(stop=word, digits=3))
    first = at("08:20:07")
    second = first + timedelta(seconds=down + up)
    costs = [
        meter.up(UUID, RATE, at("06:30:00"), first),
        meter.up(UUID, RATE, first + timedelta(seconds=down), second),
    ]
    found = [one(stop_at(moment, settle=1), meter, later=timedelta(hours=7)).charged.usd for moment in (first, second)]
    assert found == costs


# Which records count


def metered(style: Style | None = None, *, start: str = "06:30:00", stop: str = "08:20:00") -> Meter:
    meter = Meter(style or Style())
    meter.up(UUID, RATE, at(start), at(stop))
    return meter


def test_a_charge_is_told_with_its_cost_minutes_and_key_as_observed_beside_an_estimate_of_it() -> None:
    found = one(stop_at(at("08:20:00")), metered())
    assert found.standing is ChargeState.CHARGED
    assert found.charged.document() == {"usd": "0.019333333333333334", "minutes": "20", "basis": "observed"}
    assert found.expected.document() == {"usd": "0.019343", "minutes": "20.01", "basis": "estimated"}
    assert found.billing_keys == (f"{UUID}/compute/{at('08:00:00').timestamp()}",)
    assert found.reason is None


def test_the_hour_that_was_charged_just_before_the_stop_is_none_of_its_charges() -> None:
    for word in ("hourly", "usage"):
        found = one(stop_at(at("08:00:30")), metered(Style(hourly=word), stop="08:00:30"), later=timedelta(hours=7))
        assert (found.standing, found.charged.usd) == (ChargeState.NONE, Decimal(0))


def test_an_hour_that_ends_while_the_stop_waits_to_be_taken_is_none_of_its_charges() -> None:
    stop = stop_at(at("08:02:10"))
    for word in ("stop", "usage"):
        style = Style(stop=word, hourly="usage" if word == "usage" else "hourly")
        found = one(replace(stop, sent=at("07:59:30")), metered(style, stop="08:02:10"))
        assert found.charged.minutes == Decimal("2.17")


def test_of_records_that_only_their_time_tells_the_last_is_the_stop_s() -> None:
    meter = Meter(Style())
    for begin, end in (("07:17:00", "08:17:00"), ("08:17:00", "08:20:00")):
        meter.record(UUID, "usage", "compute", RATE, (at(begin), at(end)))
    stop = replace(stop_at(at("08:20:00")), sent=at("08:16:30"))
    assert one(stop, meter).charged.minutes == 3


def test_of_two_stops_whose_records_have_no_period_the_first_is_this_one_s() -> None:
    meter = metered(Style(period="days"))
    meter.up(UUID, RATE, at("08:21:00"), at("08:24:00"))
    assert one(stop_at(at("08:20:00")), meter).charged.minutes == 20


def test_a_calendar_s_hour_is_no_period_even_where_little_of_it_is_left() -> None:
    found = one(stop_at(at("08:59:10")), metered(Style(stop="usage", period="hours"), stop="08:59:10"))
    assert found.charged.minutes == Decimal("59.17")


def test_a_period_that_was_rounded_up_beyond_the_window_is_dated_by_when_its_record_was_made() -> None:
    meter = metered(stop="08:20:00")
    meter.records[-1][1].update(billing_end="2026-11-23T08:30:00Z", duration_minutes=30)
    assert one(stop_at(at("08:20:00")), meter).charged.minutes == 30


def test_a_record_that_is_dated_by_its_beginning_is_a_stop_s_by_the_end_of_its_period() -> None:
    meter = metered()
    meter.records[-1][1]["timestamp"] = "2026-11-23T08:00:00Z"
    assert one(stop_at(at("08:20:00")), meter).charged.minutes == 20


def test_an_hour_that_is_said_to_end_a_second_early_is_none_of_a_stop_s_charges() -> None:
    meter = Meter(Style())
    meter.record(UUID, "usage", "compute", RATE, (at("07:00:00"), at("07:59:59")))
    assert one(stop_at(at("08:00:00")), meter).standing is ChargeState.PENDING


def test_a_charge_after_a_later_start_is_none_of_the_stop_s() -> None:
    meter = metered()
    meter.up(UUID, RATE, at("08:21:00"), at("08:24:00"))
    assert one(stop_at(at("08:20:00")), meter).charged.minutes == 20


def test_storage_that_is_charged_at_the_same_moment_does_not_count() -> None:
    meter = metered()
    meter.record(UUID, "stop", "storage", RATE, (at("08:00:00"), at("08:20:00")))
    assert one(stop_at(at("08:20:00")), meter).charged.minutes == 20


def test_a_charge_that_comes_in_two_records_counts_as_a_whole() -> None:
    meter = Meter(Style())
    meter.record(UUID, "stop", "compute", RATE, (at("06:50:00"), at("07:00:00")))
    meter.record(UUID, "stop", "compute", RATE, (at("08:10:00"), at("08:20:00")))
    meter.record(UUID, "stop", "compute", RATE, (at("08:15:00"), at("08:20:00")))
    found = one(stop_at(at("08:20:00")), meter)
    assert (found.charged.minutes, found.reason) == (Decimal(15), "charged in 2 records")


def test_a_charge_that_only_its_time_tells_says_so() -> None:
    found = one(stop_at(at("08:20:00")), metered(Style(stop="state_change")))
    assert found.charged.minutes == 20
    assert found.reason == "identified by its time only: event type 'state_change'"


def test_one_record_is_the_charge_of_one_stop_alone() -> None:
    first = stop_at(at("08:20:00"), action=Action.SHUTDOWN)
    second = replace(stop_at(at("08:20:02")), step="again")
    found = said([first, second], metered(), later=timedelta(hours=7))
    assert [each.standing for each in found] == [ChargeState.CHARGED, ChargeState.NONE]


def test_an_action_of_the_run_on_the_same_cvm_ends_the_window() -> None:
    stop = replace(stop_at(at("08:20:00")), later=at("08:21:00"))
    assert one(stop, metered()).until == "2026-11-23T08:21:00.000000Z"


def test_a_cvm_that_was_not_seen_down_has_a_longer_window() -> None:
    stop = replace(stop_at(at("08:10:00")), down=None, ended=at("08:12:00"))
    meter = metered(stop="08:55:00")
    assert one(stop, meter).charged.minutes == 55
    assert one(stop_at(at("08:10:00")), meter).standing is ChargeState.PENDING


@pytest.mark.parametrize("ahead", [-600, -12, 12, 600])
def test_clocks_that_differ_do_not_hide_a_charge(ahead: int) -> None:
    stop = stop_at(at("08:20:00") - timedelta(seconds=ahead))
    found = one(stop, metered(), ahead=ahead)
    assert (found.charged.minutes, found.expected.minutes) == (Decimal(20), Decimal("20.01"))


def test_a_charge_whose_cost_cannot_be_read_is_not_taken_for_nothing() -> None:
    meter = metered()
    meter.records[-1][1]["cost"] = None
    found = one(stop_at(at("08:20:00")), meter)
    assert (found.standing, found.charged.usd) == (ChargeState.UNKNOWN, None)


# What was to be expected


def test_what_was_open_is_counted_from_the_last_charge_until_the_stop() -> None:
    meter = metered()
    meter.records.pop()  # the charge has not arrived yet
    found = one(stop_at(at("08:20:00")), meter)
    assert (found.standing, found.expected.minutes, found.charged.usd) == (ChargeState.PENDING, Decimal("20.01"), None)


def test_a_shutdown_is_expected_to_cost_until_the_cvm_is_down() -> None:
    stop = stop_at(at("08:20:00"), settle=90, action=Action.SHUTDOWN)
    assert one(stop, metered()).expected.minutes == Decimal("21.50")


def test_of_a_cvm_that_was_started_nobody_knows_when_nothing_is_expected_before_its_charge_tells() -> None:
    meter = metered(stop="07:10:00")
    assert one(stop_at(at("08:20:00")), meter).expected.minutes is None
    meter.up(UUID, RATE, at("08:05:00"), at("08:20:00"))
    assert one(stop_at(at("08:20:00")), meter).expected.minutes == Decimal("15.01")


def test_without_any_record_before_it_nothing_is_expected() -> None:
    found = one(stop_at(at("08:20:00")), Meter(Style()))
    assert found.expected.document() == {"usd": None, "minutes": None, "basis": "estimated"}


def test_without_a_rate_the_minutes_are_expected_and_no_amount() -> None:
    found = one(replace(stop_at(at("08:20:00")), rate=None), metered())
    assert (found.expected.minutes, found.expected.usd, found.difference) == (Decimal("20.01"), None, None)


def test_less_than_a_minute_is_expected_to_cost_nothing() -> None:
    found = one(stop_at(at("08:00:40")), metered(stop="08:00:40"))
    assert (found.expected.usd, found.expected.minutes) == (Decimal(0), Decimal("0.67"))


@pytest.mark.parametrize("word", ["gpu_minimum", "upfront", "prepaid"])
def test_of_a_day_that_was_paid_up_front_nothing_is_open(word: str) -> None:
    meter = Meter(Style())
    meter.records.append((at("06:00:00"), meter_record(word)))
    found = one(stop_at(at("08:20:00")), meter, later=timedelta(hours=7))
    assert (found.standing, found.expected.usd, found.charged.usd) == (ChargeState.NONE, Decimal(0), Decimal(0))


def meter_record(word: str) -> dict[str, Any]:
    """24 hours that were charged when the CVM started."""
    spare = Meter(Style())
    spare.record(UUID, word, "compute", RATE, (at("06:00:00"), at("06:00:00") + timedelta(hours=24)))
    return {**spare.records[0][1], "timestamp": "2026-11-23T06:00:00Z"}


# Until when


def test_a_charge_that_has_not_arrived_is_pending_for_hours_and_then_none() -> None:
    stop, meter = stop_at(at("08:20:00")), Meter(Style())
    assert one(stop, meter, later=timedelta(hours=5.9)).standing is ChargeState.PENDING
    found = one(stop, meter, later=timedelta(hours=6.1))
    assert (found.standing, found.charged.usd, found.reason) == (
        ChargeState.NONE,
        Decimal(0),
        "nothing was charged within 6h",
    )


def test_of_an_app_that_is_not_known_the_charge_is_pending_and_then_unknown() -> None:
    stop = stop_at(at("08:20:00"))

    def gone(hours: int) -> Reconciled:
        now = stop.ended + timedelta(hours=hours)
        return reconcile_stops([stop], [], gone=True, ahead=timedelta(0), now=now, pending_for=6 * 3600)[0]

    assert gone(1).standing is ChargeState.PENDING
    assert (gone(7).standing, gone(7).charged.usd) == (ChargeState.UNKNOWN, None)
