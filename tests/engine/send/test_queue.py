"""The send queue: choice of the next request, deferral, and the end of targets without an accepted request."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from orchestrator.action import Action
from orchestrator.cvm import CvmRef
from orchestrator.engine.context import RunContext, SettleSettings
from orchestrator.engine.job import Job
from orchestrator.engine.send.classify import PATIENCE_ATTEMPTS, backoff_seconds
from orchestrator.engine.send.ledger import Ledger
from orchestrator.engine.send.queue import SendQueue
from orchestrator.outcome import Outcome, Reason, SkipReason
from orchestrator.playbook.resolved_steps import MOST_AT_ONCE, PlannedStep, RunLimits
from orchestrator.playbook.value_types import Order
from orchestrator.reply import Reply
from tests.engine.fakes import SetClock, Sink, failed, work_of

NOW = 1000.0
PATIENCE = 60.0
BUSY: Reply[object] = failed(429, "too many requests")


class Noted:
    """An observer that counts the calls."""

    def __init__(self) -> None:
        self.failures = 0
        self.overdue: list[Job] = []
        self.all_sent = 0

    def on_failed(self) -> None:
        self.failures += 1

    def on_overdue(self, job: Job) -> None:
        self.overdue.append(job)

    def on_all_sent(self) -> None:
        self.all_sent += 1


class Bench:
    """A send queue with everything around it."""

    def __init__(
        self,
        action: Action = Action.STOP,
        *,
        escalate_after: float | None = None,
        order_by: Order | None = None,
        **limits: Any,  # noqa: ANN401 - any limit
    ) -> None:
        self.clock, self.sink, self.noted = SetClock(NOW), Sink(), Noted()
        given = {"requests_per_second": 10.0, "burst": 1, "max_in_flight": 10, "per_teepod": 10, "max_failures": None}
        self.ledger = Ledger([], self.sink, self.clock)
        settled = RunLimits(**(given | limits))
        context = RunContext(self.ledger, self.clock, Random(7), settled, SettleSettings())
        step = PlannedStep("stop", action, PATIENCE, escalate_after=escalate_after, order_by=order_by)
        self.queue = SendQueue(context, step, settled, self.noted)

    def ended(self) -> list[tuple[str, str]]:
        return [(fields["cvm"]["name"], fields["outcome"]) for _, fields in self.sink.records if "outcome" in fields]

    def reasons(self) -> list[str]:
        return [fields["reason"] for _, fields in self.sink.records if "outcome" in fields]


def job(number: int = 0, action: Action = Action.STOP, **fields: Any) -> Job:  # noqa: ANN401 - any field of a job
    ref = CvmRef(f"cvm_{number}", f"00000000-0000-0000-0000-{number:012d}", f"web-{number}", "a" * 40, number, None)
    return work_of(ref, action, **fields)


def refused_often(number: int = 0, action: Action = Action.STOP, **fields: Any) -> Job:  # noqa: ANN401 - the same
    """A target with as many attempts as allowed, the first of them longer ago than the patience."""
    given = {"attempts": PATIENCE_ATTEMPTS, "first_sent": NOW - PATIENCE - 1, "announced_at": NOW - PATIENCE - 1}
    return job(number, action, **(given | fields))


def test_a_queue_is_done_once_every_target_is_taken() -> None:
    bench = Bench()
    assert bench.queue.is_done
    bench.queue.add_job(job())
    bench.queue.add_watched()
    assert (bench.queue.unsent, bench.queue.is_done) == (2, False)
    bench.queue.count_resolved()
    assert not bench.queue.is_done
    assert bench.noted.all_sent == 0
    bench.queue.count_resolved()
    assert bench.queue.is_done
    assert bench.noted.all_sent == 1


def test_every_added_target_counts_as_unsent() -> None:
    queue = Bench().queue
    for number in range(3):
        queue.add_job(job(number))
    assert queue.unsent == 3


def test_a_step_with_an_order_sends_the_first_targets_first_and_another_step_takes_teepods_in_turn() -> None:
    near, far = [replace(job(n).ref, teepod_id=1) for n in (0, 1)], replace(job(2).ref, teepod_id=2)
    sent = {}
    orders: tuple[Order | None, ...] = ("name", None)
    for order in orders:
        queue = Bench(order_by=order).queue
        for ref in (*near, far):
            queue.add_job(work_of(ref))
        sent[order] = [each.ref.name for _ in range(3) for each in queue.next_request()]
    assert sent == {"name": ["web-0", "web-1", "web-2"], None: ["web-0", "web-2", "web-1"]}


def test_a_deferred_target_does_not_hold_up_other_targets() -> None:
    bench, deferred, other = Bench(), job(0), job(1)
    bench.queue.add_watched()
    bench.queue.defer_job(deferred, 5, "busy", BUSY)
    bench.queue.add_job(other)
    assert [bench.queue.next_request(), bench.queue.next_request()] == [[other], []]


def test_a_queue_waits_for_shutdowns_that_may_need_a_stop() -> None:
    queue = Bench().queue
    queue.add_possible_stop()
    queue.add_possible_stop()
    queue.remove_possible_stop()
    assert not queue.is_done
    queue.remove_possible_stop()
    assert queue.is_done


def test_a_single_dispatch_returns_a_target_at_a_time() -> None:
    queue, jobs = Bench().queue, [job(0), job(1)]
    for each in jobs:
        queue.add_job(each)
    assert [queue.next_request(), queue.next_request(), queue.next_request()] == [[jobs[0]], [jobs[1]], []]


def test_a_batch_holds_as_many_targets_as_the_api_takes() -> None:
    queue = Bench(dispatch="batch", per_teepod=1000).queue
    for number in range(MOST_AT_ONCE + 1):
        queue.add_job(job(number))
    assert [len(queue.next_request()), len(queue.next_request())] == [MOST_AT_ONCE, 1]


def test_only_stops_go_in_batches() -> None:
    assert Bench(dispatch="batch").queue.at_once == MOST_AT_ONCE
    assert Bench(Action.START, dispatch="batch").queue.at_once == 1


def test_a_target_with_a_request_of_its_own_never_shares_a_batch() -> None:
    queue = Bench(dispatch="batch").queue
    first, alone, last = job(0), job(1, needs_own_request=True), job(2)
    for each in (first, alone, last):
        queue.add_job(each)
    assert [queue.next_request(), queue.next_request(), queue.next_request()] == [[first], [alone], [last]]


def test_no_batches_after_two_refused_batches_in_a_row() -> None:
    queue = Bench(dispatch="batch").queue
    for taken in (False, True, False):
        queue.count_batch(accepted=taken)
    assert queue.at_once == MOST_AT_ONCE
    queue.count_batch(accepted=False)
    assert queue.at_once == 1


def test_an_answer_makes_room_on_the_teepod() -> None:
    queue, first, second = Bench(per_teepod=1).queue, job(0), job(0)
    queue.add_job(first)
    queue.add_job(second)
    assert queue.next_request() == [first]
    assert queue.next_request() == []
    queue.count_answer(first)
    assert queue.next_request() == [second]


def test_a_deferred_target_comes_back_after_its_wait() -> None:
    bench, target = Bench(), job(attempts=1, first_sent=NOW, announced_at=NOW)
    bench.queue.add_watched()
    bench.queue.defer_job(target, 5, "busy", BUSY)
    assert bench.queue.next_due() == NOW + 5
    bench.clock.seconds = NOW + 4.9
    assert bench.queue.next_request() == []
    bench.clock.seconds = NOW + 5
    assert bench.queue.next_request() == [target]
    assert bench.ended() == []


def test_a_target_is_given_up_after_its_patience_and_enough_attempts() -> None:
    bench, target = Bench(), refused_often()
    bench.queue.add_watched()
    bench.queue.defer_job(target, 5, "busy", BUSY)
    assert target.outcome is Outcome.FAILED
    assert bench.reasons() == ["given up after 4 requests in 61s: busy"]
    assert bench.sink.records[-1][1]["http_status"] == 429, "the last reply is on record"
    assert (bench.noted.failures, bench.noted.all_sent, bench.queue.unsent) == (1, 1, 0)
    assert bench.queue.next_due() == float("inf")


@pytest.mark.parametrize(
    "fields",
    [
        {"attempts": PATIENCE_ATTEMPTS - 1},
        {"first_sent": NOW - PATIENCE},
        {"first_sent": None},
        {"escalated_at": NOW - PATIENCE, "first_sent": NOW - 10 * PATIENCE},
    ],
    ids=["too few attempts", "the patience just over", "never sent", "patience counts from the escalation"],
)
def test_no_target_is_given_up_early(fields: dict[str, Any]) -> None:
    bench, target = Bench(), refused_often(**fields)
    bench.queue.add_watched()
    bench.queue.defer_job(target, 5, "busy", BUSY)
    assert target.outcome is None
    assert bench.queue.next_due() == NOW + 5
    assert bench.queue.unsent == 1


def test_an_unaccepted_shutdown_is_never_given_up_when_a_stop_follows() -> None:
    bench = Bench(Action.SHUTDOWN, escalate_after=30)
    target = refused_often(action=Action.SHUTDOWN, announced_at=NOW - 10)
    bench.queue.add_watched()
    bench.queue.defer_job(target, 300, "busy", BUSY)
    assert target.outcome is None
    assert bench.queue.next_due() == NOW + 20, "the last attempt is due at the time of the stop"


def test_a_shutdown_without_a_planned_stop_has_no_last_moment() -> None:
    bench, target = Bench(Action.SHUTDOWN), job(0, Action.SHUTDOWN, attempts=1, first_sent=NOW, announced_at=NOW - 500)
    bench.queue.add_watched()
    bench.queue.defer_job(target, 300, "busy", BUSY)
    assert bench.queue.next_due() == NOW + 300


def test_a_stop_after_the_escalation_has_no_last_moment() -> None:
    bench = Bench(Action.SHUTDOWN, escalate_after=30)
    target = job(0, attempts=2, first_sent=NOW - 40, announced_at=NOW - 40, escalated_at=NOW - 10)
    bench.queue.add_job(target)
    assert bench.queue.next_request() == [target]
    bench.queue.defer_job(target, 25, "busy", BUSY)
    assert bench.queue.next_due() == NOW + 25


def test_an_overdue_shutdown_leaves_the_queue_and_makes_room() -> None:
    bench = Bench(Action.SHUTDOWN, escalate_after=30, per_teepod=1)
    late = job(0, Action.SHUTDOWN, announced_at=NOW - 30)
    early = job(0, Action.SHUTDOWN, announced_at=NOW - 29)
    bench.queue.add_job(late)
    bench.queue.add_job(early)
    assert bench.queue.next_request() == [early]
    assert bench.noted.overdue == [late]


def test_a_shutdown_without_a_request_by_this_process_is_not_overdue() -> None:
    bench = Bench(Action.SHUTDOWN, escalate_after=30)
    target = job(0, Action.SHUTDOWN, first_sent=NOW - 3600)
    bench.queue.add_job(target)
    assert bench.queue.next_request() == [target]


def test_a_stop_without_effect_is_sent_again_at_once() -> None:
    bench, target = Bench(), job(attempts=1, first_sent=NOW, announced_at=NOW)
    bench.queue.add_watched()
    bench.queue.requeue(target)
    assert bench.queue.next_request() == [target]
    assert bench.queue.unsent == 1


def test_a_start_without_effect_is_sent_again_after_a_backoff() -> None:
    bench, target = Bench(Action.START), job(0, Action.START, attempts=3, first_sent=NOW, announced_at=NOW)
    bench.queue.add_watched()
    bench.queue.requeue(target)
    assert bench.queue.next_request() == []
    assert bench.queue.next_due() == NOW + backoff_seconds(3, 0.5)
    bench.clock.seconds = bench.queue.next_due()
    assert bench.queue.next_request() == [target]


@pytest.mark.parametrize(("trouble", "end"), [(None, ""), ("HTTP 502", "; the last of them: HTTP 502")])
def test_a_target_often_without_effect_is_given_up(trouble: str | None, end: str) -> None:
    bench, target = Bench(), refused_often(trouble=trouble)
    bench.queue.add_watched()
    bench.queue.requeue(target)
    assert target.outcome is Outcome.FAILED
    assert bench.reasons()[0].endswith(f"answers left the effect of the stop unknown, and it had no effect{end}")
    assert bench.queue.next_request() == []


def test_a_withheld_target_is_not_sent_again() -> None:
    bench = Bench()
    target = replace(job(attempts=1), withheld=Reason(SkipReason.ABANDONED))
    bench.queue.add_watched()
    bench.queue.requeue(target)
    assert bench.ended() == [("web-0", "not_sent")]
    assert (bench.queue.next_request(), bench.queue.unsent) == ([], 0)


@pytest.mark.parametrize(("outcome", "failures"), [(Outcome.GONE, 0), (Outcome.REFUSED, 1), (Outcome.FAILED, 1)])
def test_an_ended_target_counts_as_a_failure_unless_gone(outcome: Outcome, failures: int) -> None:
    bench = Bench()
    bench.queue.add_watched()
    bench.queue.end_job(job(), outcome, "so it is")
    assert bench.ended() == [("web-0", outcome.value)]
    assert (bench.noted.failures, bench.noted.all_sent) == (failures, 1)
