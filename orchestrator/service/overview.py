"""Overview of the service: playbooks, active runs, next firings and problems. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.playbook.firings import Firing
from orchestrator.playbook.keep import KeepEntry, order_entries
from orchestrator.playbook.schedule import load_zone
from orchestrator.service.folder import Fault
from orchestrator.times import timestamp

STUCK_AFTER = 60.0
"""Seconds without a completed round over the playbooks, after which the service counts as stuck."""


@dataclass(frozen=True, slots=True)
class Row:
    """State of a playbook.

    Attributes:
        name: name of the playbook.
        file: path of its file.
        timezone: time zone of its schedule.
        next: the next firing; None without a firing within a year.
        snoozed_until: end of the snooze; None without a snooze.
        running: id of the active run; None without an active run.
        waiting: number of firings in the queue.
        last: result of the last firing.
        last_success: end of the last run with exit code 0.
        success_due: time of the first firing after the last success, or after the schedule was enabled.
        workspaces: patterns of the playbook's workspaces; empty for the default key.
        sha256: digest of the version in force.
        wakes: the playbook, for the row of its wakes; None for any other row.
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
    workspaces: tuple[str, ...] = ()
    sha256: str | None = None
    wakes: str | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """State of the service at a moment.

    Attributes:
        now: the moment.
        began: start of the service; None before the start.
        rows: the playbooks, by name.
        faults: faults of files in the folder.
        troubles: problems of the service itself.
        stopping: whether the service was asked to stop.
        round_at: end of the last round over the playbooks, by the event loop's clock; None before the first round.
            A standby's round is a try to take the duty.
        leader: the process with the duty of the schedules; None without a team store, or while no process is known.
        is_standby: whether another process has the duty of the schedules.
        kept: the exemptions, expired exemptions too.
    """

    now: datetime
    began: datetime | None
    rows: tuple[Row, ...]
    faults: tuple[Fault, ...]
    troubles: tuple[str, ...]
    stopping: bool
    round_at: float | None
    leader: str | None = None
    is_standby: bool = False
    kept: tuple[KeepEntry, ...] = ()

    def is_stuck(self, clock: float) -> bool:
        """Check for a long time without a round, by the event loop's clock."""
        return self.round_at is not None and clock - self.round_at > STUCK_AFTER

    def document(self) -> dict[str, Any]:
        """Return the JSON document."""
        digests = {row.name: row.sha256 for row in self.rows}
        return {
            "now": _format_utc(self.now),
            "began": _format_utc(self.began),
            "stopping": self.stopping,
            "playbooks": [_build_row_document(row) for row in self.rows],
            "invalid": [
                {
                    "file": each.file,
                    "line": each.line,
                    "error": each.message,
                    "hint": each.hint,
                    "keeps": each.keeps,
                    "keeps_sha256": digests.get(each.keeps or ""),
                }
                for each in self.faults
            ],
            "troubles": list(self.troubles),
            "kept": [entry.document(self.now) for entry in order_entries(self.kept, self.now)],
            **({"leader": self.leader, "standby": self.is_standby} if self.leader or self.is_standby else {}),
        }


def _build_row_document(row: Row) -> dict[str, Any]:
    firing = row.next
    return {
        "playbook": row.name,
        "file": row.file,
        "timezone": row.timezone,
        "next": None
        if firing is None
        else {
            "planned": _format_utc(firing.planned),
            "starts": _format_utc(firing.moment),
            "local": firing.moment.astimezone(load_zone(row.timezone)).isoformat(),
        },
        "snoozed_until": _format_utc(row.snoozed_until),
        "running": row.running,
        "waiting": row.waiting,
        "last": row.last,
        "last_success": _format_utc(row.last_success),
        "success_due": _format_utc(row.success_due),
        "error": None,
        "sha256": row.sha256,
        **({"workspaces": list(row.workspaces)} if row.workspaces else {}),
        **({"wakes": row.wakes} if row.wakes is not None else {}),
    }


def _format_utc(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)
