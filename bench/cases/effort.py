"""How much a case is to do, and how it tells of its progress."""

import sys
from dataclasses import dataclass

from bench.desk import Desk


@dataclass(frozen=True, slots=True)
class Effort:
    """How often, how much, and where.

    Attributes:
        runs: how often everything is measured.
        quick: a tenth of the CVMs or so: shows that a case works, not how fast anything is.
        desk: where it sits.
    """

    runs: int
    quick: bool
    desk: Desk

    def of(self, whole: int, quick: int) -> int:
        """The one number, or the other when it has to be quick."""
        return quick if self.quick else whole

    def say(self, case: str, run: int, what: str) -> None:
        """Tell on stderr what comes now; runs count from 0."""
        print(f"[{case} {run + 1}/{self.runs}] {what}", file=sys.stderr, flush=True)
