"""The outcome of each open target of an abandoned run, by a single read of its status."""

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.action import Action
from orchestrator.billing.rates import BillingNote, Rates
from orchestrator.cvm import CvmRef
from orchestrator.engine.job import Job, RequestPhase
from orchestrator.engine.read.status import Observation
from orchestrator.engine.send.ledger import Ledger
from orchestrator.engine.watch.abandon import close_open
from orchestrator.reply import StatusRead

NOTE = BillingNote(Rates(None, None, "unknown"), (), triggered=True)
REF = CvmRef("cvm_1", "0" * 32, "web-1")


class Clock:
    def now(self) -> float:
        return 100.0

    def wall(self) -> datetime:
        return datetime(2026, 11, 23, tzinfo=UTC)


class Trail:
    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []

    def record(self, event: str, **fields: object) -> None:
        self.records.append((event, fields))

    async def flush(self) -> None:
        """Nothing is held back."""


ACCEPTED: dict[str, Any] = {"phase": RequestPhase.ACCEPTED, "accepted_at": 97.0, "billed": True, "first_sent": 97.0}
IN_DOUBT: dict[str, Any] = {"phase": RequestPhase.IN_DOUBT, "first_sent": 97.0}
UNANSWERED: dict[str, Any] = {**IN_DOUBT, "phase": RequestPhase.UNANSWERED}
TO_ESCALATE = {"escalated_at": 98.0, "billed": True, "first_sent": 90.0}


@pytest.mark.parametrize(
    ("action", "facts", "status", "outcome", "events"),
    [
        (Action.STOP, ACCEPTED, "stopped", "settled", []),
        (Action.STOP, ACCEPTED, "running", "unsettled", []),
        (Action.STOP, ACCEPTED, "stopping", "unsettled", []),
        (Action.STOP, ACCEPTED, None, "gone", []),
        (Action.STOP, IN_DOUBT, "stopped", "settled", ["action.accepted"]),
        (Action.STOP, IN_DOUBT, "stopping", "unsettled", ["action.accepted"]),
        (Action.STOP, IN_DOUBT, "running", "unsettled", []),
        (Action.STOP, IN_DOUBT, "a new word", "unsettled", []),
        (Action.STOP, UNANSWERED, "running", "unsettled", ["action.unknown"]),
        (Action.STOP, UNANSWERED, "stopped", "settled", ["action.unknown", "action.accepted"]),
        (Action.STOP, TO_ESCALATE, "stopped", "settled", []),
        (Action.STOP, TO_ESCALATE, "stopping", "unsettled", []),
        (Action.START, ACCEPTED, "running", "settled", []),
        (Action.START, ACCEPTED, None, "failed", []),
        (Action.START, IN_DOUBT, "running", "settled", ["action.accepted"]),
        (Action.START, IN_DOUBT, "stopped", "unsettled", []),
        (Action.RESTART, ACCEPTED, "running", "unsettled", []),
        (Action.RESTART, IN_DOUBT, "stopped", "unsettled", ["action.accepted"]),
        (Action.STOP, {}, "stopped", None, []),
        (Action.STOP, {}, "running", None, []),
    ],
)
def test_only_what_was_seen_counts_as_settled(
    action: Action, facts: dict[str, Any], status: str | None, outcome: str | None, events: list[str]
) -> None:
    before = "stopped" if action is Action.START else "running"
    job, trail = Job("step", action, REF, before, NOTE, attempts=1, **facts), Trail()
    read = None if status is None else StatusRead(status, in_progress=False)
    close_open(Ledger([job], trail, Clock()), {REF.key: Observation(read, begun=100.0)}, recheck_after=2.0)
    assert job.outcome == outcome
    assert [event for event, _ in trail.records if event.startswith("action.")] == events


def abandon(status: str | None, before: str = "running", **facts: Any) -> tuple[Job, Trail]:  # noqa: ANN401 - fields of a job
    job, trail = Job("step", Action.STOP, REF, before, NOTE, attempts=1, **facts), Trail()
    read = None if status is None else StatusRead(status, in_progress=False)
    close_open(Ledger([job], trail, Clock()), {REF.key: Observation(read, begun=100.0)}, recheck_after=2.0)
    return job, trail


@pytest.mark.parametrize(
    ("facts", "status", "reason"),
    [
        (ACCEPTED, "stopping", "the run was abandoned while the outcome of its stop was open; last seen 'stopping'"),
        (IN_DOUBT, "running", "the run was abandoned while the outcome of its stop was open; last seen 'running'"),
        (ACCEPTED, None, "no such CVM any more: it was deleted meanwhile"),
    ],
)
def test_an_open_target_gets_a_reason(facts: dict[str, Any], status: str | None, reason: str) -> None:
    _, trail = abandon(status, **facts)
    assert trail.records[-1][1]["reason"] == reason


def test_a_request_without_an_answer_on_record_gets_a_reason() -> None:
    _, trail = abandon("running", **UNANSWERED)
    assert [fields["reason"] for event, fields in trail.records if event == "action.unknown"] == [
        "the process ended before the answer was on record"
    ]


@pytest.mark.parametrize(("facts", "has_effect"), [({}, True), ({"escalated_at": 90.0}, False)])
def test_going_down_proves_a_stop_unless_a_shutdown_went_before(facts: dict[str, Any], has_effect: bool) -> None:
    _, trail = abandon("stopping", "stopping", **IN_DOUBT, **facts)
    assert ("action.accepted" in [event for event, _ in trail.records]) == has_effect


@pytest.mark.parametrize(("batch", "has_effect"), [(None, True), (1, False)])
def test_an_error_proves_a_stop_unless_a_batch_may_have_left_the_cvm_out(batch: int | None, has_effect: bool) -> None:
    job, trail = abandon("error", **IN_DOUBT, batch=batch)
    assert job.outcome == "unsettled"
    assert ("action.accepted" in [event for event, _ in trail.records]) == has_effect


def test_every_target_after_a_deleted_cvm_gets_its_outcome_too() -> None:
    other = CvmRef("cvm_2", "1" * 32, "web-2")
    jobs = [Job("step", Action.STOP, ref, "running", NOTE, **ACCEPTED) for ref in (REF, other)]
    seen = {REF.key: Observation(None, 100.0), other.key: Observation(StatusRead("stopped"), 100.0)}
    close_open(Ledger(jobs, Trail(), Clock()), seen, recheck_after=2.0)
    assert [job.outcome for job in jobs] == ["gone", "settled"]


@pytest.mark.parametrize("batch", [None, 1])
def test_the_old_status_proves_a_failure_of_the_stop_for_no_target(batch: int | None) -> None:
    job, trail = abandon("running", **IN_DOUBT, batch=batch)
    assert job.outcome == "unsettled"
    assert "action.accepted" not in [event for event, _ in trail.records]
