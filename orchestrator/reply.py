"""What a cloud answers, as values: the words that the engine reads and the cloud client writes.

A request never raises for what the other side did. It gives a `Reply`: either a value, or what went wrong in enough
detail to decide what follows. Deciding is not done here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Generic, TypeVar

from orchestrator.cvm import Cvm, is_down, is_up

T_co = TypeVar("T_co", covariant=True)

NOT_FOUND_CODES = frozenset({"ERR-03-001", "ERR-03-004", "ERR-03-005"})
"""The error codes with which the API says that it has no such CVM or app."""


@dataclass(frozen=True, slots=True)
class StatusRead:
    """One CVM's status as one read showed it.

    Attributes:
        status: the API's word, an open set.
        in_progress: whether an operation holds the CVM; missing from an answer means False.
        error: the API's own words on a failed operation or boot, if any.
    """

    status: str
    in_progress: bool = False
    error: str | None = None

    @property
    def down(self) -> bool:
        """Whether it is stopped or exited with nothing in progress."""
        return is_down(self.status, in_progress=self.in_progress)

    @property
    def up(self) -> bool:
        """Whether it runs with nothing in progress."""
        return is_up(self.status, in_progress=self.in_progress)


@dataclass(frozen=True, slots=True)
class BatchStopped:
    """What the API says of a request to stop many CVMs at once. Which ones it skipped it does not say.

    Attributes:
        stopped: how many it took.
        skipped: how many it left alone: an operation holds them, they lack a UUID, or a GPU rental manages them.
        errors: why it could not stop some, by the hashid that was sent.
    """

    stopped: int
    skipped: int
    errors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the CVM list.

    Attributes:
        cvms: the CVMs on it.
        total: how many CVMs the server counts over all pages.
        pages: how many pages there are of the size asked for.
    """

    cvms: tuple[Cvm, ...]
    total: int
    pages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord:
    """One record of metered usage. What can't be read in it is None.

    Attributes:
        cvm: the UUID of the CVM, in normal form.
        usage_type: `compute`, `storage` or another category, in lower case.
        event_type: the API's word for why there is this record, an open set.
        cost: US dollars, exactly as many digits as the answer has.
        minutes: how long a usage it is for.
        at: when the record was made.
        begin: when the usage began; None also where the answer has a day without a time.
        end: when it ended; the same.
        key: what the API calls the record's unique key.
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
    """One page of an app's metered usage.

    Attributes:
        records: those on it.
        total: the server's count; of the page or of all pages, the vendor's document leaves that open.
        ahead: by how many seconds the server's clock is ahead of this machine's, to a second; None where it is silent.
    """

    records: tuple[UsageRecord, ...]
    total: int | None
    ahead: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Generic[T_co]):
    """The answer to one request, or what came instead of one.

    Attributes:
        value: what was asked for; None unless the answer was a success that could be read.
        http_status: the status code; None when no complete response head came.
        sent: False only when it is certain that the request never left (no connection could be made).
        problem: in plain words what went wrong, with the API's own words where it gave any; None on success.
        error_code: the API's `ERR-MM-NNN` code, where it gave one.
        retry_after: seconds to wait, from the Retry-After header as a number or a date; None where there was none.
        request_id: the API's id of the request, for its support.
        latency: seconds from sending to the end of the answer.
        is_json: False when the body is not JSON: the page of a gateway, and no answer of the API.
    """

    value: T_co | None = None
    http_status: int | None = None
    sent: bool = True
    problem: str | None = None
    error_code: str | None = None
    retry_after: float | None = None
    request_id: str | None = None
    latency: float = 0.0
    is_json: bool = True

    @property
    def says_not_found(self) -> bool:
        """Whether the API itself says that there is no such thing; a bare 404 may come from a gateway."""
        return self.http_status == HTTPStatus.NOT_FOUND and self.error_code in NOT_FOUND_CODES

    @property
    def latency_ms(self) -> int:
        """The latency in whole milliseconds, as the audit log has it."""
        return round(self.latency * 1000)
