"""Signed answers to the open question of a run: the signed bytes, the lines of their file, and the decision. Pure."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Self

from orchestrator.audit.record import encode_canonical
from orchestrator.audit.signed_approval import DOMAIN, ApprovalTerms, Role, SignedApproval
from orchestrator.times import parse_timestamp


@dataclass(frozen=True, slots=True)
class SignedQuestion:
    """The open question of a run under a signature.

    Attributes:
        cloud_url: address of the API.
        workspace: id of the workspace; None if the API does not provide the id.
        plan_digest: digest of the plan file; None for a run without a plan file.
        run_id: the run.
        question: hash of the asking record.
        step: name of the asking step, as shown to the signer.
    """

    cloud_url: str
    workspace: str | None
    plan_digest: str | None
    run_id: str
    question: str
    step: str

    def build_statement(self, role: Role, expires_at: str) -> bytes:
        """Build the signed bytes, as `Signable.build_statement`."""
        fields = {
            "cloud_url": self.cloud_url,
            "expires_at": expires_at,
            "plan_digest": self.plan_digest,
            "question": self.question,
            "role": role.value,
            "run_id": self.run_id,
            "step": self.step,
            "workspace": self.workspace,
        }
        return DOMAIN + encode_canonical(fields)


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question of a run in the approvals file of its plan, written by the run.

    Attributes:
        run_id: the run.
        seq: number of the asking record.
        question: hash of the asking record.
        step: name of the asking step.
        expires_at: end of the wait.
        workspace: id of the workspace; None if the API does not provide the id.
        starter: id of the starter's key; None for a start without a key.
    """

    run_id: str
    seq: int
    question: str
    step: str
    expires_at: str
    workspace: str | None
    starter: str | None = None

    def document(self) -> dict[str, object]:
        """The line of an approvals file."""
        return {"asked": asdict(self)}

    @classmethod
    def from_document(cls, document: object) -> Self:
        """Parse the field `asked`.

        Raises:
            ValueError: when the document has another form.
        """
        kinds = {"run_id": str, "seq": int, "question": str, "step": str, "expires_at": str}
        if not isinstance(document, dict) or any(type(document.get(name)) is not kind for name, kind in kinds.items()):
            raise ValueError("a field of the question is missing")
        parse_timestamp(document["expires_at"])
        optional = {name: document.get(name) for name in ("workspace", "starter")}
        texts = {name: None if value is None else str(value) for name, value in optional.items()}
        return cls(**{name: document[name] for name in kinds}, workspace=texts["workspace"], starter=texts["starter"])


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """A signed answer to a question.

    Attributes:
        question: hash of the asking record.
        is_approved: whether the run may continue.
        signature: the signature.
    """

    question: str
    is_approved: bool
    signature: SignedApproval

    @property
    def role(self) -> Role:
        """The role of the signer."""
        return Role.APPROVE if self.is_approved else Role.REFUSE

    def document(self) -> dict[str, object]:
        """The line of an approvals file."""
        return {"question": self.question, "answer": self.role.value, **self.signature.document()}


@dataclass(frozen=True, slots=True)
class AnswerDecision:
    """The decision over the signed answers to a question.

    Attributes:
        is_approved: whether the run may continue; None without enough answers.
        counted: the valid answers of the decision.
    """

    is_approved: bool | None = None
    counted: tuple[SignedApproval, ...] = ()


def decide_answers(
    answers: Iterable[QuestionAnswer],
    question: SignedQuestion,
    terms: ApprovalTerms,
    starter: str | None,
    now: datetime,
    *,
    at_least: int,
) -> AnswerDecision:
    """Decide over the signed answers to a question. A single refusal refuses; wrong signatures count for nothing.

    Args:
        answers: the answers.
        question: the question.
        terms: the terms of the settings.
        starter: name of the starter's key; None without a key.
        now: the time of day.
        at_least: number of people who have to approve.
    """
    approved: dict[str, SignedApproval] = {}
    for each in answers:
        signature = each.signature
        key = terms.keys.get(signature.key_name)
        is_valid = (
            each.question == question.question
            and key is not None
            and signature.is_by(key, question, each.role)
            and now < parse_timestamp(signature.expires_at)
        )
        if is_valid and not each.is_approved:
            return AnswerDecision(is_approved=False, counted=(signature,))
        if is_valid and not (terms.not_the_starter and signature.key_name == starter):
            approved.setdefault(signature.key_name, signature)
    if len(approved) < at_least:
        return AnswerDecision()
    return AnswerDecision(is_approved=True, counted=tuple(approved.values()))
