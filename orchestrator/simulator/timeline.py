"""One CVM's statuses over time, past and foreseen.

An action writes down all that will follow from it, so nothing has to tick: the status at any moment is looked up, a
read that lags looks a little further back, and a later action strikes out what was still to come.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

GONE = "(gone)"
"""The status of a CVM that was deleted; never sent, such a CVM answers 404."""

BEFORE_ALL = float("-inf")

_when = attrgetter("at")


@dataclass(frozen=True, slots=True)
class Operation:
    """Something asked of a CVM: `type` in the API's words, `target` the status it aims at, `started` in seconds."""

    correlation_id: str
    type: str
    target: str
    started: float


@dataclass(frozen=True, slots=True)
class Phase:
    """What a CVM is from `at` (seconds) on, until its next phase.

    Attributes:
        at: when it begins.
        status: the status shown.
        operation: the operation that holds the CVM; None if none is in progress.
        metered: whether its compute is being billed.
    """

    at: float
    status: str
    operation: Operation | None = None
    metered: bool = False

    @property
    def in_progress(self) -> bool:
        """Whether an operation holds the CVM."""
        return self.operation is not None


class Timeline:
    """The phases of one CVM in order."""

    def __init__(self, first: Phase) -> None:
        self._phases = [first]

    def __repr__(self) -> str:
        return f"Timeline({' → '.join(f'{phase.status}@{phase.at:g}' for phase in self._phases)})"

    def __iter__(self) -> Iterator[Phase]:
        return iter(self._phases)

    def phase_at(self, now: float) -> Phase:
        """The phase at that moment; the first one for any moment before it."""
        return self._phases[max(0, bisect_right(self._phases, now, key=_when) - 1)]

    def replace_after(self, now: float, phases: Iterable[Phase]) -> None:
        """Strike out what was foreseen after `now`, and foresee these phases instead."""
        del self._phases[bisect_right(self._phases, now, key=_when) :]
        self._phases.extend(phases)

    def status_since(self, now: float) -> float:
        """When the status shown at that moment began."""
        current = self.phase_at(now)
        begun = current.at
        for phase in reversed(self._phases):
            if phase.at > begun:
                continue
            if phase.status != current.status:
                break
            begun = phase.at
        return begun
