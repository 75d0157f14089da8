"""The options of a measurement, and the print of its progress."""

import sys
from dataclasses import dataclass

from bench.work_folder import WorkFolder


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The number of runs, the size of the fleets, and the work folder.

    Attributes:
        runs: number of measurements.
        quick: use about a tenth of the CVMs: shows that a case works, not its speed.
        work_folder: folder for the files of a measurement.
    """

    runs: int
    quick: bool
    work_folder: WorkFolder

    def choose_size(self, whole: int, quick: int) -> int:
        """Choose the whole size, or the quick size with `--quick`."""
        return quick if self.quick else whole

    def print_progress(self, case: str, run: int, what: str) -> None:
        """Print the next step to stderr; runs count from 0."""
        print(f"[{case} {run + 1}/{self.runs}] {what}", file=sys.stderr, flush=True)
