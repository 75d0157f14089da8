"""What a CVM costs, from which source, and never by a guess."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.action import Action
from orchestrator.billing.rates import (
    NOTES,
    STORAGE_USD_PER_GB_HOUR,
    Rates,
    Total,
    billing_note,
    format_amount,
    needs_price_list,
    rates_of,
)
from orchestrator.cvm import Cvm, CvmRef

PRICES = {"tdx.small": Decimal("0.058")}


def cvm(**fields: object) -> Cvm:
    given: dict[str, Any] = {"status": "running", **fields}
    return Cvm(ref=CvmRef("cvm_1", None, "a"), **given)


@pytest.mark.parametrize(
    ("fields", "compute", "source"),
    [
        (
            {"hourly_compute": Decimal("0.1"), "billing_price": Decimal(9), "billing_period": "hourly"},
            "0.1",
            "hourly_rate",
        ),
        ({"hourly_compute": Decimal(0)}, "0", "hourly_rate"),
        ({"billing_price": Decimal("0.2"), "billing_period": "hourly"}, "0.2", "compute_billing_price"),
        ({"billing_price": Decimal("0.2")}, None, None),
        ({"instance_type": "tdx.small"}, "0.058", "instance_types"),
        ({"instance_type": "tdx.small", "billing_period": "hourly"}, "0.058", "instance_types"),
        ({"instance_type": "tdx.huge"}, None, None),
        ({"instance_type": "tdx.small", "billing_period": "weekly"}, None, None),
        ({"billing_price": Decimal(30), "billing_period": "monthly", "instance_type": "tdx.small"}, None, None),
        ({"billing_period": "skip", "instance_type": "tdx.small"}, None, None),
        ({"billing_period": "monthly", "hourly_compute": Decimal("0.1")}, None, None),
        ({}, None, None),
    ],
)
def test_compute_comes_from_the_nearest_source_or_is_unknown(
    fields: dict[str, object], compute: str | None, source: str | None
) -> None:
    rates = rates_of(cvm(**fields), PRICES, STORAGE_USD_PER_GB_HOUR)
    assert (rates.compute, rates.source) == (None if compute is None else Decimal(compute), source)


@pytest.mark.parametrize(
    ("fields", "storage"),
    [
        ({"hourly_disk": Decimal("0.5"), "disk_gb": Decimal(10)}, Decimal("0.5")),
        ({"disk_gb": Decimal(20)}, Decimal("0.002780")),
        ({"disk_gb": Decimal(0)}, Decimal(0)),
        ({}, None),
        ({"disk_gb": Decimal(20), "billing_period": "monthly"}, Decimal("0.002780")),
    ],
)
def test_storage_is_the_disk_s_own_rate_else_its_size_by_the_price_else_unknown(
    fields: dict[str, object], storage: Decimal | None
) -> None:
    assert rates_of(cvm(**fields), PRICES, STORAGE_USD_PER_GB_HOUR).storage == storage


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        ({"instance_type": "tdx.small"}, True),
        ({"instance_type": "tdx.small", "billing_period": "hourly"}, True),
        ({"instance_type": "tdx.small", "billing_period": "monthly"}, False),
        ({"instance_type": "tdx.small", "hourly_compute": Decimal(1)}, False),
        ({}, False),
    ],
)
def test_the_price_list_is_read_only_where_it_can_help(fields: dict[str, object], *, needed: bool) -> None:
    assert needs_price_list([cvm(hourly_compute=Decimal(1)), cvm(**fields)]) is needed


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0"),
        ("0E-7", "0"),
        ("0.10", "0.1"),
        ("1E+3", "1000"),
        ("100", "100"),
        ("1E-9", "0.000000001"),
        ("2.500", "2.5"),
    ],
)
def test_money_is_written_plainly(amount: str, text: str) -> None:
    assert format_amount(Decimal(amount)) == text


@given(st.decimals(0, 10**9, places=9))
def test_written_money_reads_back_exactly(amount: Decimal) -> None:
    assert Decimal(format_amount(amount)) == amount
    assert "E" not in format_amount(amount).upper()


RATES = st.builds(Rates, st.none() | st.decimals(0, 99, places=6), st.none() | st.decimals(0, 9, places=6), st.none())


@given(st.lists(RATES, max_size=8))
def test_a_total_is_null_where_a_part_is_unknown_with_what_is_known_beside_it(every: list[Rates]) -> None:
    document = Total.sum_rates(every).document()
    for part in ("compute", "storage"):
        amounts = [getattr(each, part) for each in every]
        known = sum((each for each in amounts if each is not None), Decimal(0))
        assert Decimal(str(document[f"known_{part}_usd_per_hour"])) == known
        assert document[f"{part}_unknown"] == amounts.count(None)
        assert document[f"{part}_usd_per_hour"] == (None if None in amounts else format_amount(known))
    assert not any(isinstance(value, float) for value in document.values())


def test_an_exact_sum_that_floats_would_miss() -> None:
    tenth = Rates(Decimal("0.1"), Decimal("0.2"), "hourly_rate")
    assert Total.sum_rates([tenth] * 3).document()["compute_usd_per_hour"] == "0.3"


@pytest.mark.parametrize(
    ("fields", "has", "lacks"),
    [
        (
            {"hourly_compute": Decimal(1)},
            {"storage_continues", "compute_ends", "open_compute_charged"},
            {"compute_rate_unknown"},
        ),
        ({}, {"compute_rate_unknown"}, {"not_billed_hourly", "gpu_24h_minimum_on_restart", "gpu_rental"}),
        ({"gpus": 1}, {"gpu_24h_minimum_on_restart"}, {"gpu_rental"}),
        ({"gpus": 0}, set(), {"gpu_24h_minimum_on_restart"}),
        ({"gpu_rental": True}, {"gpu_rental"}, set()),
        ({"billing_period": "skip"}, {"not_billed_hourly"}, {"compute_rate_unknown"}),
        ({"billing_period": "monthly", "hourly_compute": Decimal(1)}, {"not_billed_hourly"}, {"compute_rate_unknown"}),
    ],
)
def test_a_note_has_the_codes_that_apply_each_explained(
    fields: dict[str, object], has: set[str], lacks: set[str]
) -> None:
    one = cvm(**fields)
    codes = billing_note(one, rates_of(one, {}, STORAGE_USD_PER_GB_HOUR), Action.STOP).codes
    assert has <= set(codes) <= set(NOTES)
    assert not lacks & set(codes)
    assert len(set(codes)) == len(codes)


def test_a_note_never_gives_a_figure_and_says_that_there_is_none() -> None:
    for period in (None, "hourly", "monthly", "skip", "weekly"):
        one = cvm(billing_period=period, hourly_compute=Decimal(1))
        document = billing_note(one, rates_of(one, {}, STORAGE_USD_PER_GB_HOUR), Action.STOP).document("now")
        notes = document["notes"]
        assert isinstance(notes, list)
        assert (document["compute_usd_per_hour"] is None) == bool(
            {"not_billed_hourly", "compute_rate_unknown"} & set(notes)
        )


def test_the_document_of_a_note_has_the_fields_of_the_contract_and_money_as_text() -> None:
    one = cvm(hourly_compute=Decimal("0.10"), disk_gb=Decimal(10))
    document = billing_note(one, rates_of(one, {}, STORAGE_USD_PER_GB_HOUR), Action.STOP).document(
        "2026-11-23T08:00:00.000000Z"
    )
    assert document == {
        "triggered": True,
        "at": "2026-11-23T08:00:00.000000Z",
        "compute_usd_per_hour": "0.1",
        "storage_usd_per_hour": "0.00139",
        "rate_source": "hourly_rate",
        "notes": ["open_compute_charged", "compute_ends", "storage_continues"],
    }


@pytest.mark.parametrize(
    ("action", "triggered", "has", "with_gpus"),
    [
        (Action.STOP, True, "compute_ends", "gpu_24h_minimum_on_restart"),
        (Action.SHUTDOWN, True, "compute_ends", "gpu_24h_minimum_on_restart"),
        (Action.START, False, "compute_begins", "gpu_24h_minimum"),
        (Action.RESTART, None, "restart_charge_unknown", "gpu_24h_minimum_possible"),
    ],
)
def test_each_action_says_of_the_bill_what_the_vendor_says_and_no_more(
    action: Action, has: str, with_gpus: str, *, triggered: bool | None
) -> None:
    one = cvm(hourly_compute=Decimal(1), gpus=1)
    note = billing_note(one, rates_of(one, {}, STORAGE_USD_PER_GB_HOUR), action)
    assert {has, with_gpus, "storage_continues"} <= set(note.codes) <= set(NOTES)
    assert note.document("now")["triggered"] is triggered
    assert ("open_compute_charged" in note.codes) is (triggered is True)


@pytest.mark.parametrize("status", ["stopping", "shutting_down"])
def test_a_stop_of_a_cvm_on_its_way_down_charges_nothing_and_its_follow_up_start_does_not_say_so(status: str) -> None:
    one = cvm(status=status)
    note = billing_note(one, rates_of(one, {}, STORAGE_USD_PER_GB_HOUR), Action.STOP)
    assert (note.triggered, note.codes[:2]) == (False, ("already_going_down", "storage_continues"))
    assert "already_going_down" not in note.for_action(Action.START).codes
