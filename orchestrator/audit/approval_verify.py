"""Check the signatures on record in a log against public keys: of the approvers, the starter, and signed answers."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.audit.events import ApprovalAnswered, ApprovalRequested, RunStarted, read_event
from orchestrator.audit.keys import key_id
from orchestrator.audit.record import Record
from orchestrator.audit.signed_approval import Role, Signable, SignedApproval, SignedPlan
from orchestrator.audit.signed_question import SignedQuestion


@dataclass(slots=True)
class RecordedApprovals:
    """The signatures of a log.

    Attributes:
        keys: the public keys, by id.
        is_exempt: whether the run needed no approval.
        approvers: names of the approvers.
        starter: name of the starter; None without a signature.
        signed_answers: number of signed answers to questions.
        fault: the first fault; None for valid signatures only.
    """

    keys: Mapping[str, Ed25519PublicKey]
    is_exempt: bool = False
    approvers: tuple[str, ...] = ()
    starter: str | None = None
    signed_answers: int = 0
    fault: str | None = "the log has no approval"
    _started: RunStarted | None = field(default=None, repr=False)
    _question: str = field(default="", repr=False)

    @classmethod
    def of(cls, keys: Iterable[Ed25519PublicKey]) -> "RecordedApprovals":
        """Set up for these public keys."""
        return cls({key_id(key): key for key in keys})

    def apply_record(self, record: Record) -> None:
        """Check the next record of the log."""
        event = read_event(record)
        match event:
            case RunStarted():
                self._started = event
                self._check_start(event)
            case ApprovalAnswered() if self._started is not None:
                fault = _find_fault(self._check_answer(event, self._started))
                self.fault = self.fault or (None if fault is None else f"answer in step {event.step!r}: {fault}")
                self.signed_answers += bool(event.signatures)
            case ApprovalRequested():
                self._question = event.hash

    def _check_start(self, event: RunStarted) -> None:
        approval = event.approval
        if not isinstance(approval, Mapping):
            self.fault = "the log has no approval"
        elif approval.get("exempt") is True:
            self.is_exempt, self.fault = True, None
        else:
            self.fault = _find_fault(self._check_approval(approval, event))

    def _check_approval(self, approval: Mapping[str, Any], event: RunStarted) -> Iterator[str]:
        """Yield the faults of the approvals and of the starter's signature."""
        digest = (event.plan_file or {})["digest"]
        plan = SignedPlan(digest, event.cloud_url, event.record.get("workspace"))
        signers: dict[Role, dict[str, str]] = {Role.APPROVE: {}, Role.START: {}}
        starter = approval.get("starter")
        documents = [(Role.APPROVE, each) for each in approval["approvals"]]
        documents += [] if starter is None else [(Role.START, starter)]
        for role, document in documents:
            each = SignedApproval.from_document(document)
            yield from self._check_signature(each, str(document["key_id"]), plan, role, event.ts)
            signers[role][str(document["key_id"])] = each.key_name
        self.approvers = tuple(signers[Role.APPROVE].values())
        self.starter = next(iter(signers[Role.START].values()), None)
        if approval["not_the_starter"] and self.starter is None:
            yield "the starter did not sign"
        others = _exclude_starter(signers[Role.APPROVE], approval)
        if len(others) < int(approval["at_least"]):
            yield f"{len(others)} of {int(approval['at_least'])} people approved"

    def _check_answer(self, event: ApprovalAnswered, started: RunStarted) -> Iterator[str]:
        """Yield the faults of an answer; after a signed start, a yes needs as many signatures as the plan."""
        digest = (started.plan_file or {}).get("digest")
        workspace = started.record.get("workspace")
        question = SignedQuestion(started.cloud_url, workspace, digest, event.run_id, self._question, event.step)
        role = Role.APPROVE if event.is_approved else Role.REFUSE
        for document in event.signatures or ():
            each = SignedApproval.from_document(document)
            yield from self._check_signature(each, str(document["key_id"]), question, role, event.ts)
        if event.is_approved and started.is_signed and started.approval is not None:
            signers = {str(document["key_id"]) for document in event.signatures or ()}
            others, at_least = _exclude_starter(signers, started.approval), int(started.approval["at_least"])
            if len(others) < at_least:
                yield f"{len(others)} of {at_least} people signed"

    def _check_signature(
        self, each: SignedApproval, signer: str, subject: Signable, role: Role, at: str
    ) -> Iterator[str]:
        if signer not in self.keys:
            yield f"the key of {each.key_name!r} ({role}) is not given"
        elif not each.is_by(self.keys[signer], subject, role):
            yield f"the signature of {each.key_name!r} ({role}) is wrong"
        elif at >= each.expires_at:
            yield f"the signature of {each.key_name!r} ({role}) had expired"


def _exclude_starter(signers: Iterable[str], approval: Mapping[str, Any]) -> set[str]:
    """Return the ids of the keys without the starter's, if the starter was no approver."""
    starter = approval.get("starter")
    return set(signers) - ({str(starter["key_id"])} if approval["not_the_starter"] and starter else set())


def _find_fault(faults: Iterator[str]) -> str | None:
    """Return the first fault; None without a fault."""
    try:
        return next(faults, None)
    except (KeyError, TypeError, ValueError, AttributeError):
        return "the record of the signatures is damaged"
