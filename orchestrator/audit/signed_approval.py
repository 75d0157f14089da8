"""Signed approvals of plans: the signed bytes, the terms of the settings, and the decision over a plan. Pure.

A signature covers the digest of the plan, the cloud, the workspace, the expiry and the role of the signer. The first
words of the signed bytes are reserved for approvals, so no other signature by the same key passes for an approval.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from orchestrator.audit.keys import is_signed, key_id
from orchestrator.audit.record import encode_canonical
from orchestrator.times import format_duration, parse_timestamp, timestamp

DOMAIN = b"orchestrator-approval-v1\n"
CLOCKS_DIFFER = timedelta(minutes=5)
"""Tolerated difference between the clocks of two machines."""


class Role(StrEnum):
    """Role of a signer."""

    APPROVE = "approve"
    """Approves the plan of another person."""
    START = "start"
    """Starts a run of the plan."""
    REFUSE = "refuse"
    """Ends a run at its question."""


class Signable(Protocol):
    """The subject of a signature."""

    def build_statement(self, role: Role, expires_at: str) -> bytes:
        """Build the signed bytes.

        Args:
            role: the role of the signer.
            expires_at: the end of the signature's validity, as in `timestamp`.
        """
        ...


@dataclass(frozen=True, slots=True)
class SignedPlan:
    """The plan under a signature.

    Attributes:
        digest: digest of the plan file, in hex.
        cloud_url: address of the API.
        workspace: id of the workspace; None if the API does not provide the id.
    """

    digest: str
    cloud_url: str
    workspace: str | None

    def build_statement(self, role: Role, expires_at: str) -> bytes:
        """Build the signed bytes, as `Signable.build_statement`."""
        fields = {
            "cloud_url": self.cloud_url,
            "expires_at": expires_at,
            "plan_digest": self.digest,
            "role": role.value,
            "workspace": self.workspace,
        }
        return DOMAIN + encode_canonical(fields)


@dataclass(frozen=True, slots=True)
class SignedApproval:
    """A signature by a named key.

    Attributes:
        key_name: name of the key.
        at: time of the signature by the signer's clock; not signed.
        expires_at: end of the validity.
        signature: 64 bytes.
        line: line in the approvals file; 0 elsewhere.
    """

    key_name: str
    at: str
    expires_at: str
    signature: bytes
    line: int = field(default=0, compare=False)

    def document(self) -> dict[str, str]:
        """The line of an approvals file."""
        signature = base64.b64encode(self.signature).decode("ascii")
        return {"key_name": self.key_name, "at": self.at, "expires_at": self.expires_at, "signature": signature}

    def record_fields(self, key: Ed25519PublicKey) -> dict[str, str]:
        """The signature in the field `approval` of `run.started`."""
        return {**self.document(), "key_id": key_id(key)}

    @classmethod
    def from_document(cls, document: object, line: int = 0) -> Self:
        """Parse the result of `document` or `record_fields`, perhaps with further fields.

        Raises:
            ValueError: when the document has another form.
        """
        fields = document if isinstance(document, Mapping) else {}
        texts = [fields.get(name) for name in ("key_name", "at", "expires_at", "signature")]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("key_name, at, expires_at or signature is missing")
        key_name, at, expires_at, encoded = map(str, texts)
        for text in (at, expires_at):
            if timestamp(parse_timestamp(text)) != text:
                raise ValueError(f"{text!r} is not a time of this format")
        try:
            signature = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("the signature is not base64") from None
        return cls(key_name, at, expires_at, signature, line)

    def is_by(self, key: Ed25519PublicKey, subject: Signable, role: Role = Role.APPROVE) -> bool:
        """Return True if this key signed this subject in this role."""
        return is_signed(key, self.signature, subject.build_statement(role, self.expires_at))


def sign(
    key: Ed25519PrivateKey, key_name: str, subject: Signable, role: Role, *, at: datetime, expires_at: datetime
) -> SignedApproval:
    """Sign a plan or a question."""
    until = timestamp(expires_at)
    return SignedApproval(key_name, timestamp(at), until, key.sign(subject.build_statement(role, until)))


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """The terms of an approved plan.

    Attributes:
        keys: the public keys of the settings, by name; every key has one name.
        at_least: number of people who have to approve.
        not_the_starter: whether the starter has to sign, and is no approver.
        valid_for: longest validity of an approval.
    """

    keys: Mapping[str, Ed25519PublicKey]
    at_least: int
    not_the_starter: bool
    valid_for: timedelta

    def find_name(self, key: Ed25519PublicKey) -> str | None:
        """Return the name of a key; None for an unknown key."""
        wanted = key_id(key)
        return next((name for name, each in self.keys.items() if key_id(each) == wanted), None)


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision over the approvals of a plan.

    Attributes:
        counted: the valid approvals, one for each person.
        ignored: the other approvals, each with its line and the reason.
        wrong: the lines with a wrong signature.
        needed: the number of valid approvals still missing.
    """

    counted: tuple[SignedApproval, ...] = ()
    ignored: tuple[tuple[int, str], ...] = ()
    wrong: tuple[int, ...] = ()
    needed: int = 0

    @property
    def is_approved(self) -> bool:
        """True for enough approvals without a wrong signature."""
        return not self.needed and not self.wrong

    @property
    def expires_at(self) -> datetime:
        """The earliest end of a counted approval."""
        return min(parse_timestamp(each.expires_at) for each in self.counted)


def decide_approvals(
    approvals: Sequence[SignedApproval], plan: SignedPlan, terms: ApprovalTerms, starter: str | None, now: datetime
) -> Decision:
    """Decide about the approvals of a plan: enough people, and no wrong signature.

    Args:
        approvals: the approvals, in the order of the file.
        plan: the plan.
        terms: the terms of the settings.
        starter: name of the starter's key; None without a key.
        now: the time of day.
    """
    counted: dict[str, SignedApproval] = {}
    ignored: list[tuple[int, str]] = []
    wrong: list[int] = []
    for number, each in enumerate(approvals, 1):
        line = each.line or number
        key = terms.keys.get(each.key_name)
        if key is None:
            ignored.append((line, f"the settings have no key {each.key_name!r}"))
        elif not each.is_by(key, plan):
            wrong.append(line)
        elif (fault := _find_fault(each, terms, now)) is not None:
            ignored.append((line, f"the approval by {each.key_name!r} {fault}"))
        elif terms.not_the_starter and each.key_name == starter:
            ignored.append((line, f"{each.key_name!r} starts the run, so another person has to approve"))
        else:
            # Of two approvals by one person, the longer one counts.
            earlier = counted.get(each.key_name)
            if earlier is None or earlier.expires_at < each.expires_at:
                counted[each.key_name] = each
    needed = max(0, terms.at_least - len(counted))
    return Decision(tuple(counted.values()), tuple(ignored), tuple(wrong), needed)


def _find_fault(approval: SignedApproval, terms: ApprovalTerms, now: datetime) -> str | None:
    """Return the reason not to count an approval with a right signature; None for a valid approval."""
    at, expires_at = parse_timestamp(approval.at), parse_timestamp(approval.expires_at)
    if now >= expires_at:
        return f"expired at {approval.expires_at}"
    if at > now + CLOCKS_DIFFER:
        return "is from the future by this machine's clock; check the clocks"
    if expires_at > min(now, at) + terms.valid_for + CLOCKS_DIFFER:
        return f"is valid for longer than approval.valid_for ({format_duration(terms.valid_for.total_seconds())})"
    return None
