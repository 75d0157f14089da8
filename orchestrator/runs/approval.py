"""Answers to a run's questions, left by `orchestrator approve`.

The first answer counts. `--yes` is for the plan; it never answers a question.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import anyio

from orchestrator.audit.approvals import ApprovalStore
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.engine.protocols import Answer
from orchestrator.runs.session import RunObserver
from orchestrator.times import timestamp, utc_now

if TYPE_CHECKING:
    from orchestrator.runs.signed_answer import SignedAnswers

APPROVE, REFUSE = "approve", "refuse"
"""The words to type: whole words, so that neither Enter nor a wrong key is an answer."""

_LOOK_EVERY = 0.5
_GRACE = 5.0
"""Longest delay of the last check on a busy machine, in seconds. After a longer delay, this machine was asleep."""


def left_answers(
    answers: ApprovalStore,
    log: AuditLog,
    state: RunState,
    observer: RunObserver,
    signed: "SignedAnswers | None" = None,
) -> "LeftAnswers":
    """Set up the approver for answers left by `orchestrator approve`.

    Args:
        answers: the store of the answers.
        log: the open audit log. Once an answer is recorded there, the stored answer is deleted.
        state: the replayed state of the log, kept up to date by the log.
        observer: the observer of the run.
        signed: the signed answers; None where the settings have no keys.
    """
    log.observers.append(answers.observe_record)
    return LeftAnswers(answers, state, observer, signed=signed)


class LeftAnswers:
    """An approver without a terminal, waiting for answers left by `orchestrator approve`."""

    def __init__(
        self,
        answers: ApprovalStore,
        state: RunState,
        observer: RunObserver,
        wall: Callable[[], datetime] = utc_now,
        *,
        signed: "SignedAnswers | None" = None,
    ) -> None:
        """Set up.

        Args:
            answers: the store of the answers.
            state: the replayed state of the run's log, kept up to date by the log.
            observer: the observer of the run.
            wall: returns the time of day.
            signed: the signed answers; None where the settings have no keys.
        """
        self._answers, self._state, self._observer, self._wall = answers, state, observer, wall
        self._signed = signed

    @property
    def needs_signature(self) -> bool:
        """Whether only a signed answer lets the run continue."""
        return self._signed is not None and self._signed.is_required

    @property
    def command(self) -> str:
        """The command to answer elsewhere."""
        return self._state.answer_command if self.needs_signature else f"orchestrator approve {self._state.run_id}"

    def publish_question(self) -> None:
        """Write the open question beside the plan file, for approvers on other machines."""
        if self._signed is not None and self._state.question is not None:
            self._signed.publish_question(self._state.question)

    async def wait_for_answer(self, step: str, question: str, expires_at: datetime) -> Answer | None:
        """Wait for an answer; None once the question has expired by the time of day."""
        self._observer.on_warning(
            "waiting_for_approval",
            run_id=self._state.run_id,
            step=step,
            question=question,
            expires_at=timestamp(expires_at),
            answer_with=self.command,
        )
        self.publish_question()
        return await self.wait(self.find_answer, expires_at, _LOOK_EVERY)

    async def wait(self, find: Callable[[], Answer | None], expires_at: datetime, every: float) -> Answer | None:
        """Poll for an answer, the last time at the expiry of the question.

        Args:
            find: returns an available answer, or None.
            expires_at: the expiry of the question.
            every: seconds between two polls.

        Returns:
            The answer; None without an answer, or when this machine slept through the expiry.
        """
        while (left := (expires_at - self._wall()).total_seconds()) > -_GRACE:
            found = find()
            if found is not None or left <= 0:
                return found
            await anyio.sleep(min(every, left))
        return None

    def find_answer(self) -> Answer | None:
        """Return the answer left for the open question, or None."""
        asked = self._state.question
        if asked is None:
            return None
        signed = None if self._signed is None else self._signed.find_answer(asked)
        if signed is not None:
            return signed
        left = self._answers.find_answer(asked.seq, asked.hash)
        if left is None or (left.approved and self.needs_signature):
            return None
        return Answer(left.approved, left.by, "approve", left.comment, left.db_user)
