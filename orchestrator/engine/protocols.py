"""The engine's interfaces to the outside: cloud, audit log, clock, CVM claim and approver."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from orchestrator.action import Action
from orchestrator.cvm import Cvm, CvmRef
from orchestrator.reply import BatchStopped, OperationsPage, Page, Reply, StatusRead


class Cloud(Protocol):
    """API operations of a run. A fault of the API or the network comes back as a `Reply`, never as an exception."""

    async def list_page(self, page: int, page_size: int) -> Reply[Page]:
        """Read a page of the workspace's CVMs; pages count from 1."""
        ...

    async def list_app(self, app_id: str) -> Reply[tuple[Cvm, ...]]:
        """Read the CVMs of an app."""
        ...

    async def read_cvm(self, ref: CvmRef) -> Reply[Cvm]:
        """Read the details of a CVM."""
        ...

    async def read_by_id(self, cvm_id: str) -> Reply[tuple[Cvm, ...]]:
        """Read the details of a CVM by hashid, UUID or instance id; empty if the answer is about another CVM."""
        ...

    async def price_list(self) -> Reply[Mapping[str, Decimal]]:
        """Read the price list: USD per hour by instance type."""
        ...

    async def act(self, action: Action, ref: CvmRef) -> Reply[StatusRead]:
        """Send the request of an action on a CVM."""
        ...

    async def stop_many(self, hashids: Sequence[str]) -> Reply[BatchStopped]:
        """Stop up to 50 CVMs with a single request: cut their power."""
        ...

    async def read_statuses(self, uuids: Sequence[str]) -> Reply[Mapping[str, StatusRead]]:
        """Read the statuses of many CVMs, by UUID in normal form; some may be missing from the answer."""
        ...

    async def read_state(self, ref: CvmRef) -> Reply[StatusRead]:
        """Read the status of a CVM."""
        ...

    async def read_operations(self, ref: CvmRef) -> Reply[OperationsPage]:
        """Read the newest operations of a CVM."""
        ...


class AuditSink(Protocol):
    """Audit log of a run. Both methods raise `AuditError` when the log can't be written."""

    def record(self, event: str, **fields: object) -> None:
        """Append a record to the audit log."""
        ...

    async def flush(self) -> None:
        """Return once all records so far are durable."""
        ...


class Clock(Protocol):
    """Two clocks: a monotonic clock to measure with, and the time of day for records."""

    def now(self) -> float:
        """Seconds of a monotonic clock, also used by the engine's sleeps."""
        ...

    def wall(self) -> datetime:
        """The time of day, in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's answer to a question.

    Attributes:
        approved: whether the run may continue.
        by: the person, as user@host.
        via: the way of answering, such as `terminal` or `approve`.
        comment: the person's comment; None without a comment.
        db_user: the person as attested by the database of the team store; None without a team store.
        signatures: the signatures of a signed answer.
    """

    approved: bool
    by: str
    via: str
    comment: str | None = None
    db_user: str | None = None
    signatures: tuple[Mapping[str, str], ...] = ()


class FreezeCalendar(Protocol):
    """Times without stops, shutdowns and restarts."""

    def find_freeze(self, at: datetime) -> str | None:
        """Return the freeze in force at a moment in words; None if requests are allowed."""
        ...


class CvmClaim(Protocol):
    """A run's claim on its CVMs; no other run may act on a claimed CVM."""

    def keep_only(self, refs: Iterable[CvmRef]) -> None:
        """Claim only these CVMs while the run waits for a person."""
        ...

    async def claim_again(self) -> bool:
        """Wait until no other run claims the run's CVMs, then claim all again; True if other runs acted on the CVMs."""
        ...


class Approver(Protocol):
    """Source of answers to a run's questions."""

    async def wait_for_answer(self, step: str, question: str, expires_at: datetime) -> Answer | None:
        """Wait for a person's answer; the run ends the wait at its timeout.

        Returns:
            The answer; None when the time of day is past `expires_at`. The engine's clock does not count the time of
            a machine's sleep.
        """
        ...

    def find_answer(self) -> Answer | None:
        """Return an answer available now, or None; called a last time after the wait."""
        ...
