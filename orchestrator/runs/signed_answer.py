"""Signed answers to the questions of a run: from the store, or from another machine through the file of approvals.

A run with approvals on record takes a yes only with the signatures of enough people; a refusal needs no signature. The
run writes its question beside the plan file, where an approver without access to the state folder finds the question.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.audit.approvals import ApprovalAnswer, ApprovalStore
from orchestrator.audit.events import ApprovalRequested
from orchestrator.audit.keys import key_id
from orchestrator.audit.replay import RunState
from orchestrator.audit.signed_approval import ApprovalTerms, Role, SignedApproval, sign
from orchestrator.audit.signed_question import AskedQuestion, QuestionAnswer, SignedQuestion, decide_answers
from orchestrator.engine.protocols import Answer
from orchestrator.errors import ApprovalError, PlanFileError, UsageError
from orchestrator.runs.answer import needs_signature
from orchestrator.runs.approvals_file import append_line, approvals_file, read_approvals
from orchestrator.runs.session import RunObserver
from orchestrator.runs.signed_start import load_terms
from orchestrator.runs.stores import read_clock
from orchestrator.settings.load import Settings
from orchestrator.times import parse_timestamp

_WAIT = 0.5
"""Longest wait for another process that writes the file of approvals, in seconds: the run waits too."""
VIA = "signature"
"""The way of a signed answer, in `approval.answered`."""


def describe_question(state: RunState, question: ApprovalRequested) -> SignedQuestion:
    """Return the part of an open question under a signature."""
    started = state.started
    digest = (started.plan_file or {}).get("digest")
    workspace, place = started.record.get("workspace"), (question.run_id, question.hash, question.step)
    return SignedQuestion(started.cloud_url, workspace, digest, *place)


def sign_answer(
    answer: ApprovalAnswer, state: RunState, question: ApprovalRequested, key: Ed25519PrivateKey, key_name: str
) -> ApprovalAnswer:
    """Sign an answer; the signature expires with the question."""
    role = Role.APPROVE if answer.approved else Role.REFUSE
    at, until = parse_timestamp(answer.at), parse_timestamp(question.expires_at)
    signed = sign(key, key_name, describe_question(state, question), role, at=at, expires_at=until)
    return replace(answer, signature=signed.document())


def find_starter_key(state: RunState) -> str | None:
    """Return the id of the key in the starter's signature; None for a start without a key."""
    found = ((state.started.approval or {}).get("starter") or {}).get("key_id")
    return found if isinstance(found, str) else None


def require_other_person(starter: str | None, key: Ed25519PrivateKey, terms: ApprovalTerms) -> None:
    """Refuse a yes by the starter of a run, if the settings need another person.

    Args:
        starter: id of the starter's key; None for a start without a key.
        key: the key of the answer.
        terms: the terms of the settings.

    Raises:
        ApprovalError: for the key of the starter.
    """
    if terms.not_the_starter and key_id(key.public_key()) == starter:
        message = "this key started the run, so another person has to approve (approval.not_the_starter)"
        raise ApprovalError(message, hint="another person gives the same command, with another key")


class SignedAnswers:
    """The signed answers to the questions of a run."""

    def __init__(
        self,
        answers: ApprovalStore,
        state: RunState,
        terms: ApprovalTerms,
        observer: RunObserver,
        *,
        is_required: bool,
        wall: Callable[[], datetime],
    ) -> None:
        """Set up.

        Args:
            answers: the store of the answers.
            state: the replayed state of the run's log, kept up to date by the log.
            terms: the keys and the terms of the settings.
            observer: the observer of the run.
            is_required: whether only a signed answer lets the run continue.
            wall: returns the time of day.
        """
        self._answers, self._state, self._terms, self._observer = answers, state, terms, observer
        self.is_required, self._wall = is_required, wall
        self._file = _find_plan_file(state)
        self._version: tuple[int, int, int] | None = None
        self._lines: list[QuestionAnswer] = []

    @classmethod
    def of(
        cls, settings: Settings, answers: ApprovalStore, state: RunState, observer: RunObserver
    ) -> "SignedAnswers | None":
        """Set up for the settings; None without keys.

        Raises:
            UsageError: when a key of the settings is unusable, and the run takes a yes only with signatures.
        """
        if not settings.approval.keys:
            return None
        is_required = needs_signature(settings, state)
        try:
            terms = load_terms(settings)
        except UsageError as error:
            if is_required:
                raise
            observer.on_warning("approval.keys_unusable", run_id=state.run_id, reason=str(error))
            return None
        return cls(answers, state, terms, observer, is_required=is_required, wall=partial(read_clock, settings))

    def publish_question(self, question: ApprovalRequested) -> None:
        """Write a question to the file beside the plan file, for approvers on other machines."""
        if self._file is None:
            return
        subject = describe_question(self._state, question)
        place = question.run_id, question.seq, question.hash, question.step
        asked = AskedQuestion(*place, question.expires_at, subject.workspace, find_starter_key(self._state))
        try:
            append_line(self._file, asked, wait=_WAIT)
        except PlanFileError as error:
            note = "answer on this machine, or over the team store"
            self._observer.on_warning("question.not_written", run_id=question.run_id, reason=str(error), note=note)

    def find_answer(self, question: ApprovalRequested) -> Answer | None:
        """Return the answer of enough signers to a question; None without enough valid signatures."""
        stored = self._answers.find_signed_answers(question.seq, question.hash)
        answers = [*filter(None, map(_parse_answer, stored)), *self._read_file()]
        if not answers:
            return None
        subject, starter = describe_question(self._state, question), find_starter_key(self._state)
        names = [name for name, key in self._terms.keys.items() if key_id(key) == starter]
        recorded = (self._state.started.approval or {}).get("at_least", 1)
        at_least = max(self._terms.at_least, recorded) if self.is_required else 1
        decision = decide_answers(
            answers, subject, self._terms, next(iter(names), None), self._wall(), at_least=at_least
        )
        if decision.is_approved is None:
            return None
        counted = {each.signature: each for each in decision.counted}
        known = [each for each in stored if each.signature is not None and _is_counted(each, counted)]
        return Answer(
            decision.is_approved,
            ", ".join(dict.fromkeys([each.by for each in known] or [each.key_name for each in decision.counted])),
            VIA,
            next((each.comment for each in known if each.comment), None),
            next((each.db_user for each in known if each.db_user), None),
            tuple(each.record_fields(self._terms.keys[each.key_name]) for each in decision.counted),
        )

    def _read_file(self) -> list[QuestionAnswer]:
        """Read the answers beside the plan file again once the file has changed; a damaged file has no answers."""
        if self._file is None:
            return []
        try:
            found = approvals_file(self._file).stat()
            version = (found.st_ino, found.st_size, found.st_mtime_ns)
            if version != self._version:
                self._lines, self._version = read_approvals(self._file, wait=0).answers, version
        except (OSError, PlanFileError):
            self._lines, self._version = [], None
        return self._lines


def _find_plan_file(state: RunState) -> Path | None:
    """Return the plan file of a run; None without a file at the recorded path."""
    path = (state.started.plan_file or {}).get("path")
    try:
        return Path(path) if isinstance(path, str) and Path(path).is_file() else None
    except (OSError, ValueError):
        return None


def _parse_answer(stored: ApprovalAnswer) -> QuestionAnswer | None:
    """Parse a stored answer; None for a signature of another form."""
    try:
        return QuestionAnswer(stored.hash, stored.approved, SignedApproval.from_document(stored.signature))
    except ValueError:
        return None


def _is_counted(stored: ApprovalAnswer, counted: dict[bytes, SignedApproval]) -> bool:
    parsed = _parse_answer(stored)
    return parsed is not None and parsed.signature.signature in counted
