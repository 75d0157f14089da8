"""What a log adds up to."""

from decimal import Decimal
from typing import Any

import pytest

from orchestrator.audit.replay import RunState
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


APPROVED = {"step": "ask", "answer": "approved"}
ASKED = ("approval.requested", {"step": "ask", "question": "go on?", "expires_at": "x"})


def state_of(*events: tuple[str, dict[str, Any]]) -> RunState:
    return replay(build_records(events))


def test_an_approved_question_lets_its_step_pass_and_a_refused_question_ends_the_run() -> None:
    approved = state_of(*STORY[:2], ASKED, ("approval.answered", APPROVED))
    assert (approved.passed, approved.question, approved.is_refused) == ({"ask"}, None, False)
    refused = state_of(*STORY[:2], ASKED, ("approval.answered", APPROVED | {"answer": "timed_out"}))
    assert (refused.passed, refused.question, refused.is_refused) == (set(), None, True)
    assert [(question.question, answer.answer) for question, answer in refused.answers] == [("go on?", "timed_out")]


def test_an_open_question_is_asked_again_after_a_resume() -> None:
    asked = state_of(*STORY[:2], ASKED)
    assert asked.question is not None
    assert state_of(*STORY[:2], ASKED, ("run.resumed", {})).question is None


def test_an_answer_without_a_question_counts_for_the_step_only() -> None:
    state = state_of(*STORY[:2], ("approval.answered", APPROVED))
    assert (state.passed, state.answers) == ({"ask"}, [])


def test_a_sent_message_lets_its_step_pass() -> None:
    assert state_of(*STORY[:2], ("notice", {"step": "tell", "message": "done"})).passed == {"tell"}


def test_a_shared_request_counts_once_and_the_last_wave_is_known() -> None:
    targets = [{**about(n), "status": "running", "wave": wave} for n, wave in enumerate((1, 2, 2))]
    plan = ("run.planned", {"targets": targets, "skipped": []})
    intents = [("action.intent", about(n, attempt=1, batch=1)) for n in (0, 1)]
    alone = ("action.intent", about(2, attempt=1))
    soak = ("wave.soaking", {"step": "stop", "wave": 1, "until": "later"})
    state = state_of(plan, *intents, alone, soak)
    assert (state.requests, state.wave, state.waves) == (2, ("stop", 2), {"stop": 2})
    assert state.soaks == {("stop", 1): "later"}
    assert state.anything_sent
    assert not state_of(plan).anything_sent


def test_a_cvm_of_a_follow_up_step_counts_with_its_last_target() -> None:
    steps = [{"name": "stop"}, {"name": "again", "follows": {"step": "stop"}}]
    targets = [{**about(n), "status": "running"} for n in range(2)]
    plan = ("run.planned", {"targets": targets, "skipped": [], "steps": steps})
    ended = ("target.failed", about(0, outcome="unsettled", reason="late"))
    follow_up = ("step.planned", {"step": "again", "targets": [{**about(0), "step": "again"}]})
    state = state_of(plan, ended, follow_up)
    assert (state.cvm_count, state.counts, state.passed) == (2, {}, {"again"})
    assert state.targets["stop", "cvm_0"].taken_up_by == "again"
    later = ("target.settled", about(0, outcome="settled") | {"step": "again"})
    assert state_of(plan, ended, follow_up, later).counts == {Outcome.SETTLED: 1}
    late = ("target.settled", about(0, outcome="settled"))
    assert state_of(plan, ended, follow_up, late).counts == {}


def test_a_plan_of_an_earlier_version_counts_the_cvms_up_by_their_status() -> None:
    targets = [{**about(n), "status": status} for n, status in enumerate(("running", "stopped"))]
    skipped = [{**about(2), "status": "running", "reason": "not selected"}]
    old = {"targets": targets, "skipped": skipped, "workspace_size": 3}
    state = state_of(("run.planned", old))
    assert (state.planned.cvms_up, state.skipped) == (2, [])
    assert state_of(("run.planned", old | {"cvms_up": 9})).planned.cvms_up == 9
    assert state_of(("run.planned", old | {"workspace_size": None})).planned.cvms_up is None


@pytest.mark.parametrize(
    ("started", "is_simulated", "has_ended"),
    [({}, False, False), ({"simulated": True}, True, True), ({"simulated": True, "simulator": "served"}, True, False)],
)
def test_only_a_simulated_cloud_that_is_not_served_ends_with_the_run(
    started: dict[str, Any], is_simulated: object, has_ended: object
) -> None:
    state = state_of(("run.started", started))
    assert (state.is_simulated, state.cloud_ended, state.has_plan) == (is_simulated, has_ended, False)


def test_records_are_counted_by_event_and_the_end_of_the_run_is_kept() -> None:
    state = replay(build_records(STORY))
    assert (state.events["action.intent"], state.events["run.started"]) == (2, 1)
    assert state.finished is not None
    assert state.last_ts == state.finished.ts


def test_two_targets_with_the_same_outcome_count_as_two() -> None:
    ends = [("target.settled", about(n, outcome="settled")) for n in range(2)]
    assert state_of(STORY[1], *ends).counts == {Outcome.SETTLED: 2}


def test_the_number_of_waves_is_known_only_for_a_step_with_several_waves() -> None:
    waves = {"one": [1, 1], "three": [3, 2, 1], "two": [2]}
    targets = [
        {**about(n), "step": step, "wave": wave, "status": "running", "in_progress": True}
        for step, numbers in waves.items()
        for n, wave in enumerate(numbers)
    ]
    state = state_of(("run.planned", {"targets": targets, "skipped": []}))
    assert state.waves == {"three": 3, "two": 2}
    assert all(target.in_progress for target in state.targets.values())


def test_a_note_of_the_bill_is_kept_without_its_time_and_its_cause() -> None:
    note = {"compute_usd_per_hour": "1", "notes": []}
    target = {**about(0), "status": "running", "billing": note | {"triggered": True, "at": "now"}}
    state = state_of(("run.planned", {"targets": [target], "skipped": []}))
    assert state.targets["stop", "cvm_0"].bill == note
