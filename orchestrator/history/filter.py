"""Which runs a person wants to see. Pure."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase

from orchestrator.history.entry import Json
from orchestrator.history.time_range import TimeRange


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What a run has to be like. Of each kind one is enough, and of a kind that is empty nothing is asked.

    Attributes:
        stretch: when it began.
        playbooks: patterns of its playbook's name, with * and ?.
        outcomes: how some target of it ended.
        exit_codes: how it ended itself.
    """

    stretch: TimeRange = field(default_factory=TimeRange)
    playbooks: Collection[str] = ()
    outcomes: Collection[str] = ()
    exit_codes: Collection[int] = ()

    def takes(self, row: Json) -> bool:
        """Whether a run with this row is one of them."""
        return (
            self._began_then(row.get("started_at"))
            and (not self.playbooks or any(fnmatchcase(row.get("playbook") or "", each) for each in self.playbooks))
            and (not self.outcomes or any(outcome in row["counts"] for outcome in self.outcomes))
            and (not self.exit_codes or row.get("exit_code") in self.exit_codes)
        )

    def _began_then(self, started_at: str | None) -> bool:
        """A log that does not tell when it began, such as an altered one, is in every stretch: it has to be seen."""
        return started_at is None or datetime.fromisoformat(started_at) in self.stretch
