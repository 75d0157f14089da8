"""The ledger: the records of targets, steps and the run, and the counts beside them."""

from decimal import Decimal
from typing import Any

import pytest

from orchestrator.action import Action
from orchestrator.billing.rates import BillingNote, Rates
from orchestrator.cvm import CvmRef
from orchestrator.engine.job import Job, RequestPhase
from orchestrator.engine.send.ledger import Ledger
from orchestrator.outcome import Outcome, Reason, SkipReason
from orchestrator.playbook.resolved_steps import PlannedStep
from orchestrator.reply import Reply, StatusRead
from orchestrator.run_bill import ALREADY_GOING_DOWN
from tests.engine.fakes import SetClock, Sink, work_of

NOW = 40.0
REPLY: Reply[object] = Reply(http_status=502, request_id="req-7", latency=2.5126)
REPLY_FIELDS = {"http_status": 502, "request_id": "req-7", "latency_ms": 2513}


class Book:
    """A ledger with a clock and a sink in memory."""

    def __init__(self, *jobs: Job, requests: int = 0) -> None:
        self.clock, self.sink = SetClock(NOW), Sink()
        self.ledger = Ledger(jobs, self.sink, self.clock, requests)

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.sink.records]

    def last(self, *left_out: str) -> dict[str, Any]:
        """Fields of the last record."""
        return {name: value for name, value in self.sink.records[-1][1].items() if name not in left_out}


def job(number: int = 0, action: Action = Action.STOP, **fields: Any) -> Job:  # noqa: ANN401 - any field of a job
    ref = CvmRef(f"cvm_{number}", f"00000000-0000-0000-0000-{number:012d}", f"web-{number}", "a" * 40, number, None)
    return work_of(ref, action, **fields)


def counts_of(ledger: Ledger) -> dict[Outcome, int]:
    return {outcome: number for outcome, number in ledger.counts.items() if number}


def test_a_ledger_of_a_resumed_run_counts_the_earlier_outcomes_and_requests() -> None:
    superseded = job(3, outcome=Outcome.FAILED, is_superseded=True, attempts=4)
    jobs = [job(0, outcome=Outcome.SETTLED, attempts=1), job(1, outcome=Outcome.FAILED, attempts=3), job(2), superseded]
    ledger = Book(*jobs, requests=6).ledger
    assert counts_of(ledger) == {Outcome.SETTLED: 1, Outcome.FAILED: 1}
    assert (ledger.sent, ledger.requests, ledger.jobs) == (8, 6, jobs)
    assert Ledger([], Sink(), SetClock()).requests == 0


def test_only_refused_failed_and_resurrected_targets_count_as_failures() -> None:
    ledger = Book(*(job(number, outcome=outcome) for number, outcome in enumerate(Outcome))).ledger
    assert ledger.failure_count == 3
    assert [ledger.failure_count_of("stop"), ledger.failure_count_of("other")] == [3, 0]


def test_a_failure_counts_for_its_own_step_alone() -> None:
    ledger = Book(job(0, outcome=Outcome.FAILED, step="first"), job(1, step="second")).ledger
    assert [ledger.failure_count_of(step) for step in ("first", "second")] == [1, 0]


@pytest.mark.parametrize(
    ("seconds", "nine_in_ten"),
    [([5.0], 5.0), ([2.0, 1.0], 2.0), (range(1, 11), 9.0), (range(1, 12), 10.0), (range(100, 0, -1), 90.0)],
    ids=["one", "two", "ten", "eleven", "hundred"],
)
def test_nine_in_ten_targets_settled_within_the_time_of_the_summary(seconds: list[float], nine_in_ten: float) -> None:
    jobs = [job(number, outcome=Outcome.SETTLED, seconds=float(each)) for number, each in enumerate(seconds)]
    assert Book(*jobs).ledger.settled_within == {"stop": nine_in_ten}


def test_settle_times_are_of_settled_targets_without_an_escalation_and_by_action() -> None:
    settled: dict[str, Any] = {"outcome": Outcome.SETTLED}
    jobs = [
        job(0, seconds=3.0, **settled),
        job(1, Action.START, seconds=8.0, **settled),
        job(2, seconds=50.0, outcome=Outcome.UNSETTLED),
        job(3, seconds=60.0, escalated_at=5.0, **settled),
        job(4, seconds=None, **settled),
    ]
    assert Book(*jobs).ledger.settled_within == {"stop": 3.0, "start": 8.0}


@pytest.mark.anyio
async def test_a_flush_is_the_flush_of_the_log() -> None:
    book = Book()
    await book.ledger.flush()
    assert book.sink.flushes == 1


def test_an_intent_counts_the_attempt_and_keeps_the_time_of_the_first() -> None:
    target = job()
    book = Book(target, requests=4)
    book.ledger.record_intent([target])
    assert (target.attempts, target.first_sent, target.announced_at, target.batch) == (1, NOW, NOW, None)
    assert book.sink.records == [
        ("action.intent", {"step": "stop", "action": "stop", "cvm": target.document, "attempt": 1})
    ]
    book.clock.seconds = NOW + 5
    book.ledger.record_intent([target])
    assert (target.attempts, target.first_sent, target.announced_at) == (2, NOW, NOW)
    assert book.last()["attempt"] == 2
    assert (book.ledger.requests, book.ledger.sent) == (6, 2)


def test_a_resumed_target_keeps_its_first_request_and_is_announced_anew() -> None:
    target = job(attempts=1, first_sent=3.0)
    Book(target).ledger.record_intent([target])
    assert (target.first_sent, target.announced_at) == (3.0, NOW)


def test_targets_of_a_shared_request_have_its_number_in_their_records() -> None:
    targets = [job(0), job(1)]
    book = Book(*targets, requests=4)
    book.ledger.record_intent(targets)
    assert [fields["batch"] for _, fields in book.sink.records] == [5, 5]
    assert (book.ledger.requests, book.ledger.sent) == (5, 2)
    book.ledger.record_reply("action.unknown", targets[0], REPLY, "bad gateway")
    assert book.last()["batch"] == 5
    book.ledger.record_status(targets[0], StatusRead("stopping", in_progress=True))
    assert "batch" not in book.last(), "a status belongs to no request"
    book.ledger.record_intent(targets[:1])
    assert "batch" not in book.last()


def test_an_accepted_request_is_billed_at_the_time_of_its_acceptance() -> None:
    target = job(attempts=2)
    book = Book(target)
    book.ledger.record_acceptance(target, REPLY, "stopping")
    assert (target.is_accepted, target.accepted_at, target.billed, target.status) == (True, NOW, True, "stopping")
    assert book.events == ["action.accepted"]
    assert book.last("billing") == {
        "step": "stop",
        "action": "stop",
        "cvm": target.document,
        "attempt": 2,
        "observed": False,
        "status": "stopping",
        **REPLY_FIELDS,
    }
    assert book.last()["billing"] == target.note.document("2026-11-23T08:00:40.000000Z")


def test_an_effect_shown_by_a_status_has_no_reply_in_its_record() -> None:
    target = job(attempts=1, status="running")
    book = Book(target)
    book.ledger.record_acceptance(target, None)
    assert book.last("billing", "step", "action", "cvm") == {"attempt": 1, "observed": True}
    assert target.status == "running"


@pytest.mark.parametrize(("reason", "recorded"), [("bad gateway", "bad gateway"), ("", None)])
def test_a_reply_is_recorded_with_its_reason_and_its_request(reason: str, recorded: str | None) -> None:
    target = job(attempts=3)
    book = Book(target)
    book.ledger.record_reply("action.deferred", target, REPLY, reason, verify=True)
    assert book.events == ["action.deferred"]
    assert book.last("step", "action", "cvm") == {"attempt": 3, "reason": recorded, "verify": True, **REPLY_FIELDS}


def test_an_announced_request_that_never_left_is_recorded_as_deferred() -> None:
    target = job(attempts=1)
    book = Book(target)
    book.ledger.record_not_sent(target, "the run stopped")
    assert book.events == ["action.deferred"]
    assert book.last("step", "action", "cvm") == {
        "attempt": 1,
        "retry_after_s": None,
        "sent": False,
        "reason": "the run stopped",
    }


@pytest.mark.parametrize(
    ("phase", "after"),
    [
        (RequestPhase.UNANSWERED, RequestPhase.IN_DOUBT),
        (RequestPhase.WAITING, RequestPhase.WAITING),
        (RequestPhase.ACCEPTED, RequestPhase.ACCEPTED),
    ],
)
def test_an_unanswered_request_of_an_earlier_process_is_in_doubt(phase: RequestPhase, after: RequestPhase) -> None:
    target = job(attempts=1, phase=phase)
    book = Book(target)
    book.ledger.record_unanswered(target, "the process ended")
    assert target.phase is after
    assert (book.events, book.last()["attempt"], book.last()["reason"]) == (["action.unknown"], 1, "the process ended")


def test_a_request_cut_off_by_the_end_of_the_run_says_so() -> None:
    target = job(attempts=1)
    book = Book(target)
    book.ledger.record_unanswered(target)
    assert book.last()["reason"] == "the run was stopped before the answer came"


def test_a_status_is_recorded_only_after_a_change() -> None:
    target = job(status="running")
    book = Book(target)
    book.ledger.record_status(target, StatusRead("running"))
    assert book.events == []
    for read in (StatusRead("stopping", in_progress=True), StatusRead("stopping"), StatusRead("stopped")):
        book.ledger.record_status(target, read)
    assert book.events == ["target.status"] * 2
    first = {"step": "stop", "action": "stop", "cvm": target.document, "status": "stopping", "in_progress": True}
    assert book.sink.records[0][1] == first
    assert (book.last()["status"], book.last()["in_progress"], target.status) == ("stopped", False, "stopped")


@pytest.mark.parametrize("outcome", Outcome)
def test_a_target_settles_if_down_or_deleted_and_otherwise_fails(outcome: Outcome) -> None:
    target = job(first_sent=NOW - 2.34567, status="odd")
    book = Book(target)
    book.ledger.record_outcome(target, outcome, "so it is", REPLY, SkipReason.DRIFTED)
    settles = outcome in {Outcome.SETTLED, Outcome.GONE}
    assert book.events == ["target.settled" if settles else "target.failed"]
    assert book.last("step", "action", "cvm") == {
        "outcome": outcome.value,
        "status": "odd",
        "seconds": 2.346,
        "reason": "so it is",
        "code": "drifted",
        **REPLY_FIELDS,
    }
    assert (target.outcome, target.seconds, counts_of(book.ledger)) == (outcome, 2.346, {outcome: 1})


def test_an_outcome_without_a_request_has_no_seconds_no_reply_and_no_code() -> None:
    target = job()
    book = Book(target)
    book.ledger.record_outcome(target, Outcome.FAILED)
    assert book.last("step", "action", "cvm") == {"outcome": "failed", "status": None, "seconds": None, "reason": None}


def test_a_later_outcome_replaces_the_earlier_outcome_in_the_counts() -> None:
    target, other = job(0, outcome=Outcome.SETTLED), job(1, outcome=Outcome.SETTLED)
    book = Book(target, other)
    book.ledger.record_outcome(target, Outcome.RESURRECTED)
    assert counts_of(book.ledger) == {Outcome.SETTLED: 1, Outcome.RESURRECTED: 1}
    book.ledger.record_outcome(other, Outcome.RESURRECTED)
    assert counts_of(book.ledger) == {Outcome.RESURRECTED: 2}


WHY = Reason(SkipReason.ABANDONED)


def test_an_unsent_target_has_its_reason_as_code_and_as_sentence() -> None:
    target = job()
    book = Book(target)
    book.ledger.record_unsent(target, Outcome.SKIPPED, WHY)
    assert target.outcome is Outcome.SKIPPED
    assert (book.last()["code"], book.last()["reason"]) == ("abandoned", WHY.text)


@pytest.mark.parametrize(("billed", "outcome"), [(False, Outcome.NOT_SENT), (True, Outcome.UNSETTLED)])
def test_a_withheld_target_is_unsettled_after_an_accepted_shutdown_and_otherwise_not_sent(
    billed: bool, outcome: Outcome
) -> None:
    target = job(billed=billed)
    book = Book(target)
    book.ledger.end_withheld(target, WHY)
    assert target.outcome is outcome
    assert (book.last()["code"], book.last()["reason"]) == ("abandoned", WHY.text)


def test_an_escalation_is_recorded_with_the_action_so_far_and_then_the_stop_takes_over() -> None:
    target = job(0, Action.SHUTDOWN, attempts=1, phase=RequestPhase.ACCEPTED, accepted_at=5.0, batch=3)
    book = Book(target)
    book.ledger.record_escalation(target, "not down within 30s")
    assert book.events == ["action.escalated"]
    assert book.last("cvm") == {
        "step": "stop",
        "action": "shutdown",
        "to": "stop",
        "reason": "not down within 30s",
        "batch": 3,
    }
    assert (target.action, target.escalated_at, target.phase) == (Action.STOP, NOW, RequestPhase.WAITING)
    assert (target.accepted_at, target.batch, target.needs_own_request) == (None, None, True)


def test_a_follow_up_takes_its_targets_over_from_the_earlier_step() -> None:
    sources = [job(0, outcome=Outcome.UNSETTLED, status="stopping"), job(1, outcome=Outcome.UNSETTLED), job(2)]
    kept = [job(number, outcome=Outcome.UNSETTLED) for number in (3, 4)]
    book = Book(*sources, *kept)
    step = PlannedStep("force", Action.STOP, 60)
    jobs = [each.create_follow_up(step) for each in sources]
    book.ledger.record_follow_up(step, sources, jobs)
    assert book.ledger.jobs == [*sources, *kept, *jobs]
    assert [each.is_superseded for each in (*sources, *kept)] == [True, True, True, False, False]
    assert counts_of(book.ledger) == {Outcome.UNSETTLED: 2}
    assert book.events == ["step.planned"]
    assert book.last("targets") == {"step": "force", "action": "stop"}
    assert book.last()["targets"][0] == {
        "step": "force",
        "action": "stop",
        "cvm": jobs[0].document,
        "status": "stopping",
        "billing": jobs[0].note.plan_fields(),
        "wave": 1,
    }


def test_a_record_of_a_step_names_the_step() -> None:
    book = Book()
    book.ledger.record_step_event("wave.soaking", "stop", wave=2)
    assert book.sink.records == [("wave.soaking", {"step": "stop", "wave": 2})]


def test_the_end_of_a_run_has_its_counts_its_requests_and_its_money() -> None:
    down, up = job(0, outcome=Outcome.SETTLED, billed=True), job(1, outcome=Outcome.FAILED, status="running")
    book = Book(down, up, requests=3)
    book.ledger.counts[Outcome.GONE] = 0
    book.ledger.record_run_event("run.finished", ending="completed")
    assert book.sink.records == [
        (
            "run.finished",
            {
                "counts": {"settled": 1, "failed": 1},
                "money": {"triggered": 1, "compute_usd_per_hour": "0.1", "storage_usd_per_hour": "0.01"},
                "requests": 3,
                "ending": "completed",
            },
        )
    ]


def test_the_money_of_a_run_leaves_out_stops_of_cvms_on_their_way_down_already() -> None:
    target = job(0, outcome=Outcome.SETTLED, billed=True)
    target.note = BillingNote(Rates(Decimal("0.1"), Decimal("0.01"), None), (ALREADY_GOING_DOWN,), triggered=False)
    book = Book(target)
    book.ledger.record_run_event("run.finished")
    assert book.last()["money"]["triggered"] == 0


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"outcome": Outcome.FAILED, "status": "running"}, "0"),
        ({"outcome": Outcome.FAILED, "status": "odd"}, "pending"),
        ({"outcome": Outcome.GONE, "status": "odd"}, "0.1"),
    ],
    ids=["up again", "not known", "deleted"],
)
def test_the_money_of_a_run_follows_the_last_status_of_each_cvm(fields: dict[str, Any], part: str) -> None:
    book = Book(job(0, billed=True, **fields))
    book.ledger.record_run_event("run.finished")
    money = book.last()["money"]
    assert (money["compute_usd_per_hour"], "pending" in money) == (("0", True) if part == "pending" else (part, False))


def test_each_cvm_counts_in_the_money_of_a_run() -> None:
    book = Book(*(job(number, outcome=Outcome.SETTLED, billed=True) for number in range(3)))
    book.ledger.record_run_event("run.finished")
    assert book.last()["money"] == {"triggered": 3, "compute_usd_per_hour": "0.3", "storage_usd_per_hour": "0.03"}


def test_a_cvm_of_two_steps_counts_once_in_the_money_of_a_run() -> None:
    twice = [
        job(0, outcome=Outcome.UNSETTLED, billed=True, is_superseded=True),
        job(0, outcome=Outcome.SETTLED, billed=True),
    ]
    book = Book(*twice)
    book.ledger.record_run_event("run.finished")
    assert book.last()["money"] == {"triggered": 1, "compute_usd_per_hour": "0.1", "storage_usd_per_hour": "0.01"}
