"""What the engine needs from outside, and nothing more: a cloud, a sink for the audit trail, a clock."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from orchestrator.cvm import Cvm, CvmRef
from orchestrator.reply import BatchStopped, Page, Reply, StatusRead


class Cloud(Protocol):
    """The operations of the API that a run needs. None of them raises for what the other side did."""

    async def list_page(self, page: int, page_size: int) -> Reply[Page]:
        """One page of the CVMs of the workspace; pages count from 1."""
        ...

    async def list_app(self, app_id: str) -> Reply[tuple[Cvm, ...]]:
        """The CVMs of one app."""
        ...

    async def cvm(self, ref: CvmRef) -> Reply[Cvm]:
        """One CVM in detail."""
        ...

    async def price_list(self) -> Reply[Mapping[str, Decimal]]:
        """USD per hour by instance type."""
        ...

    async def stop(self, ref: CvmRef) -> Reply[StatusRead]:
        """Pull the power on one CVM."""
        ...

    async def shutdown(self, ref: CvmRef) -> Reply[StatusRead]:
        """Ask the guest of one CVM to shut down."""
        ...

    async def start(self, ref: CvmRef) -> Reply[StatusRead]:
        """Power one CVM on."""
        ...

    async def restart(self, ref: CvmRef) -> Reply[StatusRead]:
        """Shut one CVM down and power it on again."""
        ...

    async def stop_many(self, hashids: Sequence[str]) -> Reply[BatchStopped]:
        """Pull the power on up to 50 CVMs with one request."""
        ...

    async def statuses(self, uuids: Sequence[str]) -> Reply[Mapping[str, StatusRead]]:
        """The statuses of many CVMs, by UUID in normal form; some may be missing from the answer."""
        ...

    async def state(self, ref: CvmRef) -> Reply[StatusRead]:
        """The status of one CVM."""
        ...


class AuditSink(Protocol):
    """Where the trail of a run goes. Both raise `AuditError` when it can't be written."""

    def record(self, event: str, **fields: object) -> None:
        """Put one record into the trail."""
        ...

    async def flush(self) -> None:
        """Return once everything recorded so far is durable."""
        ...


class Clock(Protocol):
    """Two clocks: one to measure with, one to write down."""

    def now(self) -> float:
        """Seconds of a clock that never goes back; the clock by which the engine sleeps."""
        ...

    def wall(self) -> datetime:
        """The time of day, in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person said to a question.

    Attributes:
        approved: whether the run may go on.
        by: who said it, user@host.
        via: how, such as `terminal` or `approve`.
        comment: what they have to say about it; None for nothing.
    """

    approved: bool
    by: str
    via: str
    comment: str | None = None


class CvmClaim(Protocol):
    """The claim of a run on its CVMs, which keeps other runs away from them."""

    def narrow(self, refs: Iterable[CvmRef]) -> None:
        """Claim only these CVMs while a person is waited for."""
        ...

    async def widen(self) -> bool:
        """Claim all CVMs of the run again, once no other run claims them; True where others acted on them."""
        ...


class Approver(Protocol):
    """Where a run's questions are answered."""

    async def answer(self, step: str, question: str, expires_at: datetime) -> Answer | None:
        """Wait for a person's answer; the run stops waiting by itself.

        Returns:
            The answer; None when by the time of day it is too late for one. A machine that slept does not count that
            time by the engine's clock.
        """
        ...

    def find_answer(self) -> Answer | None:
        """The answer that is there at this moment; asked once more when the run stops waiting."""
        ...
