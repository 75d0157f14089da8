"""Answers to a run's questions in the team store: from any machine, with the author as the database knows the author.

The database keeps all answers. An answer names the hash of its question, so a late answer never answers a later
question.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any

from orchestrator.audit.approvals import ApprovalAnswer
from orchestrator.audit.record import Record
from orchestrator.errors import OrchestratorError, StoreDownError
from orchestrator.times import timestamp

_LOOK = 0.1
"""Longest wait for the database in a look for an answer, in seconds. The next look takes the result of a slow query."""

StartQuery = Callable[[str, Sequence[object]], "Future[list[tuple[Any, ...]]]"]
"""Starts a query in the thread of the store, as `Link.query`."""


class StoreApprovals:
    """The answers to the questions of one run, as `ApprovalStore`. For one thread at a time."""

    def __init__(self, run_id: str, start: StartQuery) -> None:
        """Set up.

        Args:
            run_id: the run.
            start: starts a query.
        """
        self._run, self._start = run_id, start
        self._question = ""
        self._look: Future[list[tuple[Any, ...]]] | None = None

    def submit_answer(self, answer: ApprovalAnswer) -> bool:
        """Store an answer durably; return False if the question has an answer already. May be repeated.

        Raises:
            StoreDownError: when the database can't be reached; then the answer may be stored or not.
            SettingsError: when the user may not answer.
        """
        try:
            return self._submit(answer)
        except StoreDownError:
            # The database may have stored the answer and lost the connection.
            if self._submit(answer):
                return True
            found = self._read(answer.hash)
            return found is not None and _is_same(found, answer)

    def _submit(self, answer: ApprovalAnswer) -> bool:
        comment = None if answer.comment is None else json.dumps(answer.comment)
        arguments = [self._run, answer.hash, answer.seq, answer.step, answer.approved, answer.by, comment]
        ((is_stored,),) = self._start(
            "SELECT orchestrator.submit_answer(%s, %s, %s, %s, %s, %s, %s)", arguments
        ).result()
        return bool(is_stored)

    def _read(self, question_hash: str) -> ApprovalAnswer | None:
        return _parse_answer(self._start_read(question_hash).result())

    def _start_read(self, question_hash: str) -> "Future[list[tuple[Any, ...]]]":
        columns = "seq, question, step, approved, answered_by, at, comment, db_user"
        return self._start(
            f"SELECT {columns} FROM orchestrator.read_answers(%s, %s)",  # noqa: S608 - constants
            [self._run, question_hash],
        )

    def find_answer(self, seq: int, question_hash: str) -> ApprovalAnswer | None:
        """Return the answer to a question; None without an answer, or while the database gives no result.

        A slow or unreachable database does not block the caller for longer than a moment. Every call looks anew, or
        takes the result of a look begun at the call before.
        """
        try:
            if self._look is None or self._question != question_hash:
                self._look, self._question = self._start_read(question_hash), question_hash
            rows = self._look.result(_LOOK)
        except TimeoutError:
            return None
        except (OrchestratorError, CancelledError):
            rows = []
        self._look = None
        found = _parse_answer(rows)
        return found if found is not None and found.seq == seq else None

    def withdraw_answer(self, answer: ApprovalAnswer) -> None:
        """Delete an answer of the same user if possible; an answer already read by the run stays on record."""
        arguments = [self._run, answer.hash, answer.approved, answer.by]
        with suppress(OrchestratorError):
            self._start("SELECT orchestrator.withdraw_answer(%s, %s, %s, %s)", arguments).result()

    def observe_record(self, record: Record) -> None:
        """Do nothing: the database keeps the answers."""


def _is_same(stored: ApprovalAnswer, answer: ApprovalAnswer) -> bool:
    return (stored.approved, stored.by, stored.comment) == (answer.approved, answer.by, answer.comment)


def _parse_answer(rows: Sequence[tuple[Any, ...]]) -> ApprovalAnswer | None:
    for seq, question, step, approved, by, at, comment, db_user in rows:
        return ApprovalAnswer(seq, question, step, approved, by, timestamp(at), comment, db_user)
    return None
