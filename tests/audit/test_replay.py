"""What a log adds up to."""

from decimal import Decimal

import pytest

from orchestrator.audit.target import Phase
from orchestrator.billing.rates import Rates, Total
from orchestrator.outcome import Outcome
from tests.logs import BILLING, STORY, about, build_records, replay


def test_each_target_is_where_its_last_record_put_it() -> None:
    state = replay(build_records(STORY))
    first, second, third = state.targets.values()
    assert (first.outcome, first.seconds, first.request_id) == (Outcome.SETTLED, 4.5, "r-1")
    assert (second.outcome, second.reason) == (Outcome.REFUSED, "rented")
    assert (third.outcome, third.phase, third.outcome_so_far) == (None, Phase.WAITING, Outcome.NOT_SENT)
    assert state.counts == {Outcome.SETTLED: 1, Outcome.REFUSED: 1}
    assert state.money == {"triggered": 1, "compute_usd_per_hour": "0.1", "storage_usd_per_hour": "0.002"}


def test_an_intent_without_its_answer_is_in_doubt_and_a_deferred_one_is_not() -> None:
    story = [*STORY[:2], ("action.intent", about(0, attempt=1)), ("action.intent", about(1, attempt=1))]
    story.append(("action.deferred", about(1, attempt=1, retry_after_s=2)))
    first, second, _ = replay(build_records(story)).targets.values()
    assert (first.phase, first.outcome_so_far) == (Phase.SENDING, Outcome.UNSETTLED)
    assert (second.phase, second.outcome_so_far) == (Phase.WAITING, Outcome.NOT_SENT)


def test_a_later_outcome_takes_the_place_of_an_earlier_one() -> None:
    story = [*STORY[:-1], ("target.failed", about(0, outcome="resurrected", reason="up again"))]
    state = replay(build_records(story))
    assert state.counts == {Outcome.RESURRECTED: 1, Outcome.REFUSED: 1}
    assert [target.reason for target in state.troubles] == ["rented", "up again"]
    assert state.money == {"triggered": 1, "compute_usd_per_hour": "0", "storage_usd_per_hour": "0"}


def test_a_stop_that_was_observed_after_an_unknown_answer_counts_with_its_bill() -> None:
    story = [
        *STORY[:2],
        ("action.intent", about(2, attempt=1)),
        ("action.unknown", about(2, attempt=1, reason="reset")),
        ("action.accepted", about(2, attempt=1, observed=True, billing=BILLING | {"compute_usd_per_hour": None})),
    ]
    state = replay(build_records(story))
    assert list(state.targets.values())[2].phase is Phase.SETTLING
    assert state.money["pending"] == {"cvms": 1, "compute_usd_per_hour": None, "storage_usd_per_hour": "0.002"}


@pytest.mark.parametrize(
    ("each", "together"),
    [(["1.23", "1.37", "1"], "3.6"), (["40", "60"], "100"), (["0.10"], "0.1"), (["0", "0.0"], "0")],
)
def test_money_is_written_as_the_end_of_a_run_has_it(each: list[str], together: str) -> None:
    accepted = [
        event
        for n, amount in enumerate(each)
        for event in (
            ("action.accepted", about(n, attempt=1, billing=BILLING | {"compute_usd_per_hour": amount})),
            ("target.settled", about(n, outcome="settled", status="stopped")),
        )
    ]
    rates = [Rates(Decimal(amount), Decimal(0), "hourly_rate") for amount in each]
    money = replay(build_records([*STORY[:2], *accepted])).money
    assert money["compute_usd_per_hour"] == Total.sum_rates(rates).document()["compute_usd_per_hour"] == together


def test_an_interruption_is_over_once_the_run_is_resumed() -> None:
    story = [*STORY[:2], ("run.interrupted", {"reason": "sigint"})]
    assert replay(build_records(story)).interrupted is not None
    assert replay(build_records([*story, ("run.resumed", {})])).interrupted is None


def test_a_deferral_that_has_to_be_verified_leaves_the_target_in_doubt() -> None:
    story = [*STORY[:2], ("action.intent", about(0, attempt=1))]
    story.append(("action.deferred", about(0, attempt=1, retry_after_s=2, verify=True)))
    first, *_ = replay(build_records(story)).targets.values()
    assert first.phase is Phase.UNKNOWN


def test_of_the_plan_no_more_is_kept_than_what_tells_its_targets_apart() -> None:
    billing = {"compute_usd_per_hour": "0.1", "storage_usd_per_hour": None, "rate_source": "list", "notes": ["a"]}
    targets = [{**about(n), "status": f"up {n}", "billing": {**billing, "notes": ["a"]}} for n in range(3)]
    targets[2]["billing"]["notes"] = []
    state = replay(build_records([("run.planned", {"targets": targets, "skipped": targets, "workspace_size": 9})]))
    assert (state.planned.workspace_size, state.planned.name) == (9, "run.planned")
    assert not state.planned.record.keys() & {"targets", "skipped"}
    first, second, third = state.targets.values()
    assert [target.before for target in state.targets.values()] == ["up 0", "up 1", "up 2"]
    assert first.bill == billing
    assert first.bill is second.bill
    assert third.bill == {**billing, "notes": []}


def test_only_the_last_durations_are_kept_for_telling_how_long_is_left() -> None:
    state = replay(build_records(STORY[:2]))
    for seconds in range(5000):
        state.apply_record({"event": "target.settled", "ts": "", **about(0, outcome="settled", seconds=float(seconds))})
    assert len(state.durations) < 1000
    assert state.durations[-1] == 4999
    state.apply_record({"event": "target.failed", "ts": "", **about(1, outcome="not_sent", seconds=None)})
    assert state.durations[-1] == 4999


def test_of_what_reconciling_found_out_the_last_word_on_each_target_holds() -> None:
    said = [("billing.reconciled", about(0, state=state)) for state in ("pending", "charged")]
    state = replay(build_records([*STORY, *said]))
    found = state.targets["stop", "cvm_0"].reconciled
    assert found is not None
    assert found.state == "charged"
    assert state.targets["stop", "cvm_1"].reconciled is None


def test_a_target_has_the_times_of_its_requests_acceptances_and_ends() -> None:
    shutdown = {"action": "shutdown"}
    story = [
        *STORY[:2],
        ("action.intent", about(0, attempt=1) | shutdown),
        ("action.deferred", about(0, attempt=1, reason="busy", retry_after_s=1) | shutdown),
        ("action.intent", about(0, attempt=2) | shutdown),
        ("action.accepted", about(0, attempt=2, billing=BILLING) | shutdown),
        ("action.escalated", about(0, to="stop", reason="too slow") | shutdown),
        ("action.intent", about(0, attempt=3)),
        ("action.accepted", about(0, attempt=3, billing=BILLING)),
        ("target.settled", about(0, outcome="settled")),
        ("target.failed", about(0, outcome="resurrected")),
    ]
    target = replay(build_records(story)).targets["stop", "cvm_0"]
    seconds = [int(ts[17:19]) for ts in (target.first_sent_at, target.effective_sent_at) if ts]
    seconds += [int(ts[17:19]) for ts in (target.first_accepted_at, target.accepted_at) if ts]
    seconds += [int(ts[17:19]) for ts in (target.settled_at, target.ended_at) if ts]
    assert seconds == [2, 4, 5, 8, 9, 10]
    assert target.accepted_action == "stop"
