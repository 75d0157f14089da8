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
        self._looks: dict[str, tuple[str, Future[list[tuple[Any, ...]]]]] = {}

    def submit_answer(self, answer: ApprovalAnswer) -> bool:
        """Store an answer, as `ApprovalStore.submit_answer`. May be repeated.

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
            rows = self._start_read(answer.hash, is_signed=answer.signature is not None).result()
            found = _parse_signed(rows) if answer.signature is not None else _parse_unsigned(rows)
            return any(_is_same(each, answer) for each in found)

    def _submit(self, answer: ApprovalAnswer) -> bool:
        comment = None if answer.comment is None else json.dumps(answer.comment)
        if answer.signature is not None:
            signature, until = answer.signature["signature"], answer.signature["expires_at"]
            signed = [self._run, answer.hash, answer.signature["key_name"], answer.seq, answer.approved, signature]
            statement = "SELECT orchestrator.submit_signed_answer(%s, %s, %s, %s, %s, %s, %s, %s, %s)"
            ((is_new,),) = self._start(statement, [*signed, until, answer.by, comment]).result()
            return bool(is_new)
        arguments = [self._run, answer.hash, answer.seq, answer.step, answer.approved, answer.by, comment]
        ((is_stored,),) = self._start(
            "SELECT orchestrator.submit_answer(%s, %s, %s, %s, %s, %s, %s)", arguments
        ).result()
        return bool(is_stored)

    def _start_read(self, question_hash: str, *, is_signed: bool) -> "Future[list[tuple[Any, ...]]]":
        columns = "seq, question, step, approved, answered_by, at, comment, db_user"
        function = "read_answers"
        if is_signed:
            columns = "seq, question, approved, answered_by, at, comment, db_user, key_name, expires_at, signature"
            function = "read_signed_answers"
        return self._start(
            f"SELECT {columns} FROM orchestrator.{function}(%s, %s)",  # noqa: S608 - constants
            [self._run, question_hash],
        )

    def find_answer(self, seq: int, question_hash: str) -> ApprovalAnswer | None:
        """Return the answer to a question; None without an answer, or while the database gives no result.

        A slow or unreachable database does not block the caller for longer than a moment. Every call looks anew, or
        takes the result of a look begun at the call before.
        """
        found = _parse_unsigned(self._look(question_hash, is_signed=False))
        return next((each for each in found if each.seq == seq), None)

    def find_signed_answers(self, seq: int, question_hash: str) -> list[ApprovalAnswer]:
        """Return the signed answers to a question, without a long wait, as `find_answer`."""
        return [each for each in _parse_signed(self._look(question_hash, is_signed=True)) if each.seq == seq]

    def _look(self, question_hash: str, *, is_signed: bool) -> list[tuple[Any, ...]]:
        """Return the rows of a question; empty while the database gives no result."""
        kind = "signed" if is_signed else "unsigned"
        try:
            question, look = self._looks.get(kind, ("", None))
            if look is None or question != question_hash:
                look = self._start_read(question_hash, is_signed=is_signed)
                self._looks[kind] = question_hash, look
            rows = look.result(_LOOK)
        except TimeoutError:
            return []
        except (OrchestratorError, CancelledError):
            rows = []
        self._looks.pop(kind, None)
        return rows

    def withdraw_answer(self, answer: ApprovalAnswer) -> None:
        """Delete an answer of the same user if possible; an answer already read by the run stays on record.

        A signed answer stays: its signature is for this question alone.
        """
        if answer.signature is not None:
            return
        arguments = [self._run, answer.hash, answer.approved, answer.by]
        with suppress(OrchestratorError):
            self._start("SELECT orchestrator.withdraw_answer(%s, %s, %s, %s)", arguments).result()

    def observe_record(self, record: Record) -> None:
        """Do nothing: the database keeps the answers."""


def _is_same(stored: ApprovalAnswer, answer: ApprovalAnswer) -> bool:
    return (stored.approved, stored.by, stored.comment) == (answer.approved, answer.by, answer.comment) and (
        answer.signature is None
        or (stored.signature is not None and stored.signature["signature"] == answer.signature["signature"])
    )


def _parse_unsigned(rows: Sequence[tuple[Any, ...]]) -> list[ApprovalAnswer]:
    return [
        ApprovalAnswer(seq, question, step, approved, by, timestamp(at), comment, db_user)
        for seq, question, step, approved, by, at, comment, db_user in rows
    ]


def _parse_signed(rows: Sequence[tuple[Any, ...]]) -> list[ApprovalAnswer]:
    found = []
    for seq, question, approved, by, at, comment, db_user, key_name, expires_at, signature in rows:
        fields = {
            "key_name": key_name,
            "at": timestamp(at),
            "expires_at": timestamp(expires_at),
            "signature": signature,
        }
        text = None if comment is None else str(json.loads(comment))
        found.append(ApprovalAnswer(seq, question, "", approved, by, timestamp(at), text, db_user, fields))
    return found
