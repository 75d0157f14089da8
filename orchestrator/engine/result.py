"""Result of a run: ending, exit code, and the check of the deadline."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.engine.job import Job
from orchestrator.errors import AuditError
from orchestrator.outcome import Ending, Exit, Outcome


@dataclass(frozen=True, slots=True)
class Deadline:
    """Deadline for the first request of every target. A missed deadline does not end the run.

    Attributes:
        seconds: seconds from the run's start.
        at: the deadline in seconds of the engine's clock.
    """

    seconds: float
    at: float

    def check_jobs(self, jobs: Iterable[Job]) -> dict[str, object]:
        """Check the deadline: count CVMs with a first request after the deadline, or with outcome `not_sent`."""
        asked: dict[str, float] = {}
        for job in jobs:
            if job.first_sent is not None or job.outcome is Outcome.NOT_SENT:
                moment = float("inf") if job.first_sent is None else job.first_sent
                asked[job.ref.key] = min(moment, asked.get(job.ref.key, float("inf")))
        late = sum(moment > self.at for moment in asked.values())
        return {"seconds": self.seconds, "met": not late, "late": late}


@dataclass(frozen=True, slots=True)
class RunResult:
    """Result of a run.

    Attributes:
        ending: why the run ended.
        exit_code: the exit code of the command.
        error: the error of the audit log, if this error ended the run.
    """

    ending: Ending
    exit_code: Exit
    error: AuditError | None = None
