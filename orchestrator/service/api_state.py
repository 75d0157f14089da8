"""The state of the API as the runs of this process see the API."""

from collections.abc import Callable, Mapping
from datetime import datetime

from orchestrator.reply import Reply
from orchestrator.times import utc_now


class ApiState:
    """The last answer of the API, and its present outage.

    Attributes:
        last_reply_at: time of the last answer; None before an answer.
        last_status: its HTTP status; None after a broken connection.
        down: the present outage in words; None without an outage.
    """

    def __init__(self, wall: Callable[[], datetime] = utc_now) -> None:
        self.last_reply_at: datetime | None = None
        self.last_status: int | None = None
        self.down: str | None = None
        self._wall = wall

    def note_reply(self, reply: Reply[object]) -> None:
        """Note an answer of the API."""
        self.last_reply_at, self.last_status = self._wall(), reply.http_status

    def note_warning(self, event: str, facts: Mapping[str, object]) -> None:
        """Note the begin or the end of an outage."""
        if event == "api.down":
            self.down = str(facts.get("note"))
        elif event == "api.up":
            self.down = None
