"""One CVM's statuses over time, past and foreseen.

An action writes all its later phases at once, so no timer runs: a read looks up the phase at a moment, a lagging read
looks further back, and a later action replaces the phases still ahead.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

GONE = "(gone)"
"""Status of a deleted CVM; never sent, because requests for a deleted CVM answer 404."""

BEFORE_ALL = float("-inf")

_when = attrgetter("at")


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation on a CVM: `type` in the API's words, `target` status, `started` in seconds."""

    correlation_id: str
    type: str
    target: str
    started: float


@dataclass(frozen=True, slots=True)
class CvmPhase:
    """The state of a CVM from `at` (seconds) until its next phase.

    Attributes:
        at: start of the phase, in seconds.
        status: the status shown.
        operation: the operation in progress, or None.
        metered: True if compute is billed during the phase.
    """

    at: float
    status: str
    operation: Operation | None = None
    metered: bool = False

    @property
    def in_progress(self) -> bool:
        """Return True if an operation holds the CVM."""
        return self.operation is not None


class Timeline:
    """The phases of a CVM in order."""

    def __init__(self, first: CvmPhase) -> None:
        self._phases = [first]

    def __repr__(self) -> str:
        return f"Timeline({' → '.join(f'{phase.status}@{phase.at:g}' for phase in self._phases)})"

    def __iter__(self) -> Iterator[CvmPhase]:
        return iter(self._phases)

    def phase_at(self, now: float) -> CvmPhase:
        """Find the phase at a moment; the first phase for any earlier moment."""
        return self._phases[max(0, bisect_right(self._phases, now, key=_when) - 1)]

    def replace_after(self, now: float, phases: Iterable[CvmPhase]) -> None:
        """Replace the phases foreseen after `now`."""
        del self._phases[bisect_right(self._phases, now, key=_when) :]
        self._phases.extend(phases)

    def status_since(self, now: float) -> float:
        """Find the beginning of the status at `now`."""
        current = self.phase_at(now)
        begun = current.at
        for phase in reversed(self._phases):
            if phase.at > begun:
                continue
            if phase.status != current.status:
                break
            begun = phase.at
        return begun
