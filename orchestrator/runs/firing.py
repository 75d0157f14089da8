"""A firing of a schedule, claimed for a single run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.times import parse_timestamp, timestamp


@dataclass(frozen=True, slots=True)
class FiringClaim:
    """A firing reserved for the run with this id.

    Attributes:
        playbook: the name of the playbook.
        planned: the planned time of the firing.
        moment: the planned time plus jitter.
        run_id: the id of the run.
        missed: the number of missed firings replaced by this firing.
        run_once: whether to make up for a late firing.
        queued: whether the firing had to wait for an earlier run.
        wakes: the playbook whose stopped CVMs the firing starts; None for a run of the playbook itself.
    """

    playbook: str
    planned: datetime
    moment: datetime
    run_id: str
    missed: int = 0
    run_once: bool = False
    queued: bool = False
    wakes: str | None = None

    @property
    def line(self) -> str:
        """Return the name of the line: stops and wakes of a playbook run one after another."""
        return self.wakes or self.playbook

    @property
    def key(self) -> tuple[str, str]:
        """Return the identity of the firing."""
        return self.playbook, timestamp(self.planned)

    def record_fields(self) -> dict[str, object]:
        """Build the fields for the journal."""
        return {
            "playbook": self.playbook,
            "planned": timestamp(self.planned),
            "moment": timestamp(self.moment),
            "run_id": self.run_id,
            "missed": self.missed,
            "run_once": self.run_once,
            "queued": self.queued,
            **({} if self.wakes is None else {"wakes": self.wakes}),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "FiringClaim":
        """Read a claim from a journal record."""
        return cls(
            record["playbook"],
            parse_timestamp(record["planned"]),
            parse_timestamp(record["moment"]),
            record["run_id"],
            missed=record["missed"],
            run_once=record["run_once"],
            queued=record["queued"],
            wakes=record.get("wakes"),
        )
