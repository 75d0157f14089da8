"""Filters for runs. Pure."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase

from orchestrator.history.entry import Json
from orchestrator.history.time_range import TimeRange


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Conditions for a run. A single match per condition is enough; an empty condition matches every run.

    Attributes:
        time_range: the range of the start time.
        playbooks: patterns of the playbook's name, with * and ?.
        outcomes: outcomes of at least one target.
        exit_codes: exit codes of the run.
        fleet: the id of the fleet run, or its beginning; None for all runs.
    """

    time_range: TimeRange = field(default_factory=TimeRange)
    playbooks: Collection[str] = ()
    outcomes: Collection[str] = ()
    exit_codes: Collection[int] = ()
    fleet: str | None = None

    def takes(self, row: Json) -> bool:
        """Return True if a run with this row matches."""
        return (
            self._began_then(row.get("started_at"))
            and (not self.playbooks or any(fnmatchcase(row.get("playbook") or "", each) for each in self.playbooks))
            and (not self.outcomes or any(outcome in row["counts"] for outcome in self.outcomes))
            and (not self.exit_codes or row.get("exit_code") in self.exit_codes)
            and (self.fleet is None or (row.get("fleet") or "").startswith(self.fleet))
        )

    def _began_then(self, started_at: str | None) -> bool:
        """Return True if the start time matches. A log without a start time, such as an altered log, always matches."""
        return started_at is None or datetime.fromisoformat(started_at) in self.time_range
