"""What the accepted actions of a run did to the bill: only what was seen counts."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.action import Action
from orchestrator.outcome import Outcome
from orchestrator.run_bill import TAKE_DOWN, BilledTarget, Effect, billed_cvms, run_bill

STOPPED = BilledTarget(
    "a",
    Action.STOP,
    Outcome.SETTLED,
    "stopped",
    billed=True,
    charges=True,
    compute=Decimal("0.10"),
    storage=Decimal("0.002"),
)


@pytest.mark.parametrize(
    ("action", "outcome", "status", "effect"),
    [
        (Action.STOP, Outcome.SETTLED, "stopped", Effect.CONFIRMED),
        (Action.SHUTDOWN, Outcome.GONE, None, Effect.DELETED),
        (Action.STOP, Outcome.RESURRECTED, "running", Effect.UNDONE),
        (Action.STOP, Outcome.FAILED, "running", Effect.UNDONE),
        (Action.STOP, Outcome.FAILED, "error", Effect.PENDING),
        (Action.STOP, Outcome.UNSETTLED, "stopping", Effect.PENDING),
        (Action.STOP, None, "stopping", Effect.PENDING),
        (Action.START, Outcome.SETTLED, "running", Effect.CONFIRMED),
        (Action.START, Outcome.FAILED, "stopped", Effect.UNDONE),
        (Action.START, None, "starting", Effect.PENDING),
    ],
)
def test_an_accepted_action_counts_by_what_was_seen_of_its_cvm(
    action: Action, outcome: Outcome | None, status: str | None, effect: Effect
) -> None:
    assert replace(STOPPED, action=action, outcome=outcome, status=status).effect is effect


def test_a_later_step_that_found_the_cvm_down_confirms_the_stop_of_an_earlier_one() -> None:
    asked = replace(STOPPED, action=Action.SHUTDOWN, outcome=Outcome.UNSETTLED, status="stopping")
    found_down = replace(STOPPED, outcome=Outcome.SKIPPED, billed=False)
    assert run_bill([asked, found_down]) == {
        "triggered": 1,
        "compute_usd_per_hour": "0.1",
        "storage_usd_per_hour": "0.002",
    }


def test_nothing_of_the_disk_of_a_deleted_cvm_goes_on() -> None:
    bill = run_bill([replace(STOPPED, outcome=Outcome.GONE)])
    assert (bill["compute_usd_per_hour"], bill["storage_usd_per_hour"]) == ("0.1", "0")


def test_a_stop_of_a_cvm_that_was_on_its_way_down_already_is_in_no_sum() -> None:
    assert run_bill([replace(STOPPED, charges=False)]) == run_bill([])


def test_an_unknown_rate_makes_its_sum_null_and_no_other() -> None:
    bill = run_bill([STOPPED, replace(STOPPED, cvm="b", compute=None, outcome=None)])
    assert (bill["compute_usd_per_hour"], bill["pending"]) == (
        "0.1",
        {"cvms": 1, "compute_usd_per_hour": None, "storage_usd_per_hour": "0.002"},
    )


@given(
    st.lists(
        st.builds(
            replace,
            st.just(STOPPED),
            cvm=st.sampled_from("abc"),
            action=st.sampled_from([Action.STOP, Action.SHUTDOWN]),
            outcome=st.none() | st.sampled_from(Outcome),
            status=st.sampled_from(["running", "stopped", "stopping", "error", None]),
            billed=st.booleans(),
        )
    )
)
def test_each_cvm_counts_once_and_never_as_ended_unless_some_step_saw_it_down(targets: list[BilledTarget]) -> None:
    seen = {target.cvm for target in targets if target.outcome in {Outcome.SETTLED, Outcome.SKIPPED, Outcome.GONE}}
    found = billed_cvms(targets, TAKE_DOWN)
    assert set(found) == {target.cvm for target in targets if target.billed}
    ended = {cvm for cvm, (_, effect) in found.items() if effect in {Effect.CONFIRMED, Effect.DELETED}}
    assert ended <= seen
    assert run_bill(targets)["triggered"] == len(found)
    assert run_bill(targets)["compute_usd_per_hour"] == ("0" if not ended else f"0.{len(ended)}")
