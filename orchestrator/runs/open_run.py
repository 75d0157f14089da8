"""A run with an open log: the result of a start or a resume, and the input of `execute`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from orchestrator.audit.claims import Claim
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import StoredRun
from orchestrator.engine.job import Job
from orchestrator.engine.read.status import Observation
from orchestrator.playbook.resolved_steps import AnyPlanned, Question


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run with an open log, ready to be carried out. The plan itself is not kept, to save memory.

    Attributes:
        stored: the run in its store.
        log: the open audit log.
        state: the replayed state of the log, kept up to date by the log.
        jobs: every target.
        steps: the steps in order.
        workspace_size: the number of CVMs in the inventory; 0 when only some apps were read.
        claim: the run's claim on its CVMs; None for a run to abandon.
        fresh: the statuses read just now, by the CVM's key.
    """

    stored: StoredRun
    log: AuditLog
    state: RunState
    jobs: list[Job]
    steps: Sequence[AnyPlanned]
    workspace_size: int
    claim: Claim | None = None
    fresh: Mapping[str, Observation] | None = None

    @property
    def has_questions(self) -> bool:
        """Whether a step asks a person."""
        return any(isinstance(step, Question) for step in self.steps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the log, and release the claim; after the end of the run both are closed already."""
        self.log.close()
        if self.claim is not None:
            self.claim.release(has_ended=False)
