"""What a `billing.reconciled` record says, and what many of them add up to."""

import json
from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.billing.reconciled import Basis, ChargeState, Figure, Reconciled, add_up_charges
from orchestrator.cvm import CvmRef

REF = CvmRef("cvm_1", "00000000-0000-4000-8000-000000000001", "web-1", "ab" * 20, 1, "prod-1")
CHARGED = Reconciled(
    step="pull",
    action="stop",
    ref=REF,
    asked_at="2026-11-23T09:00:00.000000Z",
    since="2026-11-23T08:00:00.000000Z",
    until="2026-11-23T08:05:04.000000Z",
    standing=ChargeState.CHARGED,
    expected=Figure(Decimal("0.0193"), Decimal("20.00"), Basis.ESTIMATED),
    charged=Figure(Decimal("0.02"), Decimal("20.05"), Basis.OBSERVED),
    billing_keys=("k-1",),
)
NOTHING = Figure(None, None, Basis.OBSERVED)
PENDING = replace(CHARGED, standing=ChargeState.PENDING, charged=NOTHING, billing_keys=(), reason="none yet")

amounts = st.none() | st.decimals(0, 10_000, places=6)


def test_a_record_says_what_was_found_out_with_money_as_text_and_what_is_unknown_as_null() -> None:
    document = json.loads(json.dumps(CHARGED.document()))
    assert document["state"] == "charged"
    assert document["window"] == {"from": CHARGED.since, "to": CHARGED.until}
    assert document["expected"] == {"usd": "0.0193", "minutes": "20", "basis": "estimated"}
    assert document["charged"] == {"usd": "0.02", "minutes": "20.05", "basis": "observed"}
    assert (document["difference_usd"], document["billing_keys"]) == ("0.0007", ["k-1"])
    assert PENDING.document()["charged"] == {"usd": None, "minutes": None, "basis": "observed"}
    assert PENDING.document()["difference_usd"] is None


@settings(deadline=None)
@given(amounts, amounts, st.sampled_from(ChargeState), st.lists(st.text(min_size=1)))
def test_a_record_can_be_read_back(
    usd: Decimal | None, minutes: Decimal | None, standing: ChargeState, keys: list[str]
) -> None:
    written = replace(
        CHARGED,
        standing=standing,
        expected=Figure(usd, minutes, Basis.ESTIMATED),
        charged=Figure(minutes, usd, Basis.OBSERVED),
        billing_keys=tuple(keys),
    )
    assert Reconciled.from_document(json.loads(json.dumps(written.document()))) == written


def test_asking_again_and_hearing_the_same_is_nothing_new() -> None:
    later = replace(PENDING, asked_at="2026-11-23T10:00:00.000000Z")
    assert later.says_the_same_as(PENDING)
    assert not CHARGED.says_the_same_as(PENDING)


@settings(deadline=None)
@given(st.lists(st.decimals(0, 1000, places=12)))
def test_the_sum_of_what_was_charged_is_exact(costs: list[Decimal]) -> None:
    found = add_up_charges(replace(CHARGED, charged=Figure(cost, None, Basis.OBSERVED)) for cost in costs)
    units = sum(int(cost * 10**12) for cost in costs)
    assert found.charged_usd * 10**12 == units
    assert found.charged_stops == len(costs)


def test_a_sum_leaves_out_what_is_not_known_and_says_of_how_many() -> None:
    no_rate = replace(CHARGED, expected=Figure(None, Decimal(20), Basis.ESTIMATED))
    found = add_up_charges([CHARGED, PENDING, no_rate]).document()
    assert found["charged_usd"] == "0.04"
    assert found["expected_usd"] == "0.0386"
    assert (found["difference_usd"], found["compared"]) == ("0.0007", 1)
    assert (found["charged"], found["pending"], found["none"], found["unknown"]) == (2, 1, 0, 0)
