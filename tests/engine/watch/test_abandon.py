"""What one status read says of each open target when a run is abandoned."""

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.action import Action
from orchestrator.billing.note import BillingNote
from orchestrator.billing.rates import Rates
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


ACCEPTED = {"phase": RequestPhase.ACCEPTED, "accepted_at": 97.0, "billed": True, "first_sent": 97.0}
IN_DOUBT = {"phase": RequestPhase.IN_DOUBT, "first_sent": 97.0}
UNANSWERED = {**IN_DOUBT, "phase": RequestPhase.UNANSWERED}
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
        (Action.START, IN_DOUBT, "stopped", "unsettled", []),
        (Action.RESTART, ACCEPTED, "running", "unsettled", []),
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
