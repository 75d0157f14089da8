"""Replies of a cloud as values, written by the cloud client and read by the engine.

A request never raises because of the other side. The result is a `Reply`: a value, or the problem in enough detail for
a decision. The decision is made elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Generic, TypeVar

from orchestrator.cvm import Cvm, is_down, is_up
from orchestrator.value_class import value_class

T_co = TypeVar("T_co", covariant=True)

NOT_FOUND_CODES = frozenset({"ERR-03-001", "ERR-03-004", "ERR-03-005"})
"""Error codes of the API for an unknown CVM or app."""

AMBIGUOUS_CODE = "ERR-03-010"
"""Error code of the API for an identifier of several CVMs."""


@value_class(frozen=True, slots=True)
class StatusRead:
    """The status of a CVM in a single read.

    Attributes:
        status: the API's word, an open set.
        in_progress: whether an operation holds the CVM; missing from an answer means False.
        error: the API's message about a failed operation or boot, if any.
        uptime: seconds since the CVM began to run; None if unknown.
    """

    status: str
    in_progress: bool = False
    error: str | None = None
    uptime: float | None = None

    @property
    def down(self) -> bool:
        """Whether the CVM is stopped or exited without an operation in progress."""
        return is_down(self.status, in_progress=self.in_progress)

    @property
    def up(self) -> bool:
        """Whether the CVM is running without an operation in progress."""
        return is_up(self.status, in_progress=self.in_progress)


@dataclass(frozen=True, slots=True)
class BatchStopped:
    """The API's answer to a request to stop many CVMs. The answer does not name the skipped CVMs.

    Attributes:
        stopped: the number of accepted CVMs.
        skipped: the number of skipped CVMs: with an operation in progress, without a UUID, or managed by a GPU rental.
        errors: the errors of other CVMs, by the sent hashid.
    """

    stopped: int
    skipped: int
    errors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the CVM list.

    Attributes:
        cvms: the CVMs of the page.
        total: the server's number of CVMs over all pages.
        pages: the number of pages of the requested size.
    """

    cvms: tuple[Cvm, ...]
    total: int
    pages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord:
    """A record of metered usage. Unreadable fields are None.

    Attributes:
        cvm: the UUID of the CVM, in normal form.
        usage_type: `compute`, `storage` or another category, in lower case.
        event_type: the API's word for the cause of the record, an open set.
        cost: US dollars, with exactly the digits of the answer.
        minutes: the duration of the usage.
        at: creation time of the record.
        begin: start of the usage; None also for a day without a time.
        end: end of the usage; None also for a day without a time.
        key: the API's unique key of the record.
    """

    cvm: str
    usage_type: str
    event_type: str
    cost: Decimal | None
    minutes: Decimal | None
    at: datetime | None
    begin: datetime | None
    end: datetime | None
    key: str | None


@dataclass(frozen=True, slots=True)
class UsagePage:
    """A page of an app's metered usage.

    Attributes:
        records: the records of the page.
        total: the server's count; of the page or of all pages (the vendor's document leaves this open).
        ahead: seconds by which the server's clock is ahead of this machine's, to a second; None if unknown.
    """

    records: tuple[UsageRecord, ...]
    total: int | None
    ahead: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRecord:
    """An operation in the history of a CVM. Unreadable fields are None.

    Attributes:
        correlation_id: the API's id of the operation.
        kind: the API's word for the operation, such as `power_off`, an open set.
        target: the status that the operation leads to, in lower case.
        by: the username or the number of the person, never an e-mail address.
        started_at: start of the operation, by the API's clock.
    """

    correlation_id: str
    kind: str
    target: str
    by: str | None
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class OperationsPage:
    """The newest operations of a CVM.

    Attributes:
        operations: the operations, newest first.
        ahead: seconds by which the server's clock is ahead of this machine's, to a second; None if unknown.
    """

    operations: tuple[OperationRecord, ...]
    ahead: float | None = None


@value_class(frozen=True, slots=True, kw_only=True)
class Reply(Generic[T_co]):
    """The answer to a request, or the problem in place of an answer.

    Attributes:
        value: the requested value; None unless the answer was a readable success.
        http_status: the status code; None without a complete response head.
        sent: False only if the request certainly never left (no connection was made, or not permitted).
        permitted: False if the permit of the run had ended before the first byte, so nothing was sent.
        problem: the problem in plain words, with the API's own message if any; None on success.
        error_code: the API's `ERR-MM-NNN` code, if any.
        retry_after: seconds to wait, from the Retry-After header as a number or a date; None without the header.
        request_id: the API's id of the request, for the vendor's support.
        latency: seconds from sending to the end of the answer.
        is_json: False for a body that is not JSON: the page of a gateway, not an answer of the API.
    """

    value: T_co | None = None
    http_status: int | None = None
    sent: bool = True
    permitted: bool = True
    problem: str | None = None
    error_code: str | None = None
    retry_after: float | None = None
    request_id: str | None = None
    latency: float = 0.0
    is_json: bool = True

    @property
    def says_not_found(self) -> bool:
        """Whether the API itself reports an unknown CVM or app; a bare 404 may come from a gateway."""
        return self.http_status == HTTPStatus.NOT_FOUND and self.error_code in NOT_FOUND_CODES

    @property
    def says_no_such_cvm(self) -> bool:
        """Whether the API itself finds no CVM, or several CVMs, for an identifier."""
        is_invalid = self.http_status == HTTPStatus.UNPROCESSABLE_ENTITY
        return self.says_not_found or is_invalid or self.error_code == AMBIGUOUS_CODE

    @property
    def says_key_refused(self) -> bool:
        """Whether the API refuses the key (401)."""
        return self.http_status == HTTPStatus.UNAUTHORIZED


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner of an API key.

    Attributes:
        user: the user's name; None if unknown.
        workspace: the workspace's name; None if unknown.
        workspace_id: the workspace's id; None if unknown.
        clock_ahead: the lead of the API's clock, in seconds; None if unknown.
    """

    user: str | None
    workspace: str | None
    workspace_id: str | None
    clock_ahead: float | None = None
