"""What the service says of itself: what there is, what runs, what comes next, and whether it is well. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.moment import timestamp
from orchestrator.playbook.firings import Firing
from orchestrator.playbook.schedule import load_zone
from orchestrator.service.folder import Fault

STUCK_AFTER = 60.0
"""Seconds; a service that has not been round its playbooks for so long is stuck."""


@dataclass(frozen=True, slots=True)
class Row:
    """One playbook.

    Attributes:
        name: the playbook's.
        file: where it was read.
        timezone: of its schedule.
        next: the firing that comes next; None where none does within a year.
        snoozed_until: when its snooze ends, if it has one.
        running: the run that goes on.
        waiting: how many firings wait for it.
        last: how the last firing ended.
        last_success: when a run last ended with exit code 0.
        success_due: the moment of the first firing after that, or after the schedule was enabled.
    """

    name: str
    file: str
    timezone: str
    next: Firing | None
    snoozed_until: datetime | None
    running: str | None
    waiting: int
    last: Mapping[str, Any] | None
    last_success: datetime | None
    success_due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """The service at a moment.

    Attributes:
        now: that moment.
        began: when it was started; None before that.
        rows: the playbooks, by name.
        faults: what is wrong with files in the folder.
        troubles: what keeps the service from doing its work.
        stopping: whether it was told to stop.
        round_at: when it was last round its playbooks, by the event loop's clock; None before the first time.
    """

    now: datetime
    began: datetime | None
    rows: tuple[Row, ...]
    faults: tuple[Fault, ...]
    troubles: tuple[str, ...]
    stopping: bool
    round_at: float | None

    def is_stuck(self, clock: float) -> bool:
        """Whether it has not been round for long, by the event loop's clock."""
        return self.round_at is not None and clock - self.round_at > STUCK_AFTER

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "now": _utc(self.now),
            "began": _utc(self.began),
            "stopping": self.stopping,
            "playbooks": [_row(row) for row in self.rows],
            "invalid": [
                {"file": each.file, "error": each.message, "hint": each.hint, "keeps": each.keeps}
                for each in self.faults
            ],
            "troubles": list(self.troubles),
        }


def _row(row: Row) -> dict[str, Any]:
    firing = row.next
    return {
        "playbook": row.name,
        "file": row.file,
        "timezone": row.timezone,
        "next": None
        if firing is None
        else {
            "planned": _utc(firing.planned),
            "starts": _utc(firing.moment),
            "local": firing.moment.astimezone(load_zone(row.timezone)).isoformat(),
        },
        "snoozed_until": _utc(row.snoozed_until),
        "running": row.running,
        "waiting": row.waiting,
        "last": row.last,
        "last_success": _utc(row.last_success),
        "success_due": _utc(row.success_due),
        "error": None,
    }


def _utc(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)
