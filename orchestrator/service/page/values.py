"""The values between the process of the service and the process of the page. Light to import."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.service.overview import Overview


@dataclass(frozen=True, slots=True)
class Frame:
    """The facts about the viewer and the service around a page.

    Attributes:
        visitor: the name of the token; None without a token.
        role: the role of the token.
        form_key: the hidden field of forms; None outside a session.
        has_tokens: whether the service has tokens, so that viewers can log in and act.
        notice: a sentence about the last action.
        version: the version of this program.
    """

    visitor: str | None = None
    role: str | None = None
    form_key: str | None = field(default=None, repr=False)
    has_tokens: bool = False
    notice: str | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """The facts of the service's own process, for the overview.

    Attributes:
        overview: the state of the schedules.
        key: the state of the API key, in words.
        troubles: problems beside those of the overview.
        last_reply_at: time of the last answer of the API to a run of this process; None before an answer.
        last_status: its HTTP status; None without an answer, or after a broken connection.
        down: the present outage of the API, in words; None without an outage.
        can_cancel: ids of the runs that this process can cancel.
    """

    overview: Overview
    key: str = "-"
    troubles: tuple[str, ...] = ()
    last_reply_at: datetime | None = None
    last_status: int | None = None
    down: str | None = None
    can_cancel: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request.

    Attributes:
        body: the page, or the JSON document.
        status: the HTTP status.
    """

    body: bytes
    status: int = 200


@dataclass(frozen=True, slots=True)
class Update:
    """The changes of a page.

    Attributes:
        version: the version of the page after these changes.
        parts: the parts of the page by id; an unchanged part changes nothing.
        rows: the changed rows by id, each with its version.
        is_outdated: whether viewers have to load the page again.
        cost: processor seconds of the reading and rendering.
    """

    version: int
    parts: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    is_outdated: bool = False
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """The result of an action.

    Attributes:
        path: the next page.
        notice: the name of the notice on the next page.
        fault: the fault of a refused action; None for an action that was carried out.
    """

    path: str = "/"
    notice: str = ""
    fault: str | None = None


NOTICES = {
    "approved": "Approved: the run continues.",
    "refused": "Refused: the run ends.",
    "cancelled": "Cancelled: the run sends nothing more, and ends once the sent requests have settled.",
    "snoozed": "Snoozed: it shows here within seconds.",
    "awake": "The snooze has ended: it shows here within seconds.",
    "kept": "Kept: the CVM shows here within seconds.",
}
"""The notices after actions, by name."""
