"""One firing of a schedule, claimed for one run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.moment import parse_timestamp, timestamp


@dataclass(frozen=True, slots=True)
class FiringClaim:
    """A firing that is to be carried out, or is being carried out, by the run of this id and by no other.

    Attributes:
        playbook: its name.
        planned: the moment for which it was planned.
        moment: when it was to happen.
        run_id: the run.
        missed: how many missed firings this one stands for.
        run_once: whether it is to be made up for when it is late.
        queued: whether it had to wait for the run before it.
    """

    playbook: str
    planned: datetime
    moment: datetime
    run_id: str
    missed: int = 0
    run_once: bool = False
    queued: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What the firing is known by."""
        return self.playbook, timestamp(self.planned)

    def fields(self) -> dict[str, object]:
        """As the journal has it."""
        return {
            "playbook": self.playbook,
            "planned": timestamp(self.planned),
            "moment": timestamp(self.moment),
            "run_id": self.run_id,
            "missed": self.missed,
            "run_once": self.run_once,
            "queued": self.queued,
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "FiringClaim":
        """The claim that the journal has."""
        return cls(
            record["playbook"],
            parse_timestamp(record["planned"]),
            parse_timestamp(record["moment"]),
            record["run_id"],
            missed=record["missed"],
            run_once=record["run_once"],
            queued=record["queued"],
        )
