"""Where a run's questions are answered: at its own terminal, and from anywhere by `orchestrator approve`.

Whatever comes first counts. `--yes` is for the plan; it never answers a question.
"""

from collections.abc import Callable
from datetime import datetime

import anyio
import structlog

from orchestrator.audit.approvals import ApprovalStore
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.engine.protocols import Answer
from orchestrator.moment import timestamp, utc_now

APPROVE, REFUSE = "approve", "refuse"
"""What is typed: whole words, so that neither Enter nor a slip of one key is an answer."""

_LOOK_EVERY = 0.5
_GRACE = 5.0
"""Seconds by which the last look may be late on a busy machine; later than that, this machine slept."""


def left_answers(log: AuditLog, state: RunState) -> "LeftAnswers":
    """Where `orchestrator approve` leaves the answers to the questions of a run.

    Args:
        log: its open audit log; once an answer is on record there, nothing is left of it elsewhere.
        state: what it says, kept up to date by it.
    """
    answers = ApprovalStore(log.path)
    log.observers.append(answers.heard)
    return LeftAnswers(answers, state)


class LeftAnswers:
    """An approver without a terminal: it waits for what `orchestrator approve` leaves."""

    def __init__(self, answers: ApprovalStore, state: RunState, wall: Callable[[], datetime] = utc_now) -> None:
        """Set up.

        Args:
            answers: where they are left.
            state: what the run's log says, kept up to date by it.
            wall: the time of day.
        """
        self._answers, self._state, self._wall = answers, state, wall

    async def answer(self, step: str, question: str, expires_at: datetime) -> Answer | None:
        """Wait for one; None when by the time of day it is too late."""
        structlog.get_logger().warning(
            "waiting_for_approval",
            run_id=self._state.run_id,
            step=step,
            question=question,
            expires_at=timestamp(expires_at),
            answer_with=f"orchestrator approve {self._state.run_id}",
        )
        return await self.wait(self.find_answer, expires_at, _LOOK_EVERY)

    async def wait(self, find: Callable[[], Answer | None], expires_at: datetime, every: float) -> Answer | None:
        """Look for an answer again and again, the last time when the question expires.

        Args:
            find: gives the answer that is there.
            expires_at: when the question expires.
            every: seconds from one look to the next.

        Returns:
            The answer; None where there is none, or where this machine slept through the end.
        """
        while (left := (expires_at - self._wall()).total_seconds()) > -_GRACE:
            found = find()
            if found is not None or left <= 0:
                return found
            await anyio.sleep(min(every, left))
        return None

    def find_answer(self) -> Answer | None:
        """An answer to the open question that was left by now."""
        asked = self._state.question
        left = None if asked is None else self._answers.to(asked["seq"], asked["hash"])
        return None if left is None else Answer(left.approved, left.by, "approve", left.comment)
