"""Results of cases for all formats, and as a JSON document."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.runs.cases.check import CaseResult


@dataclass(frozen=True, slots=True)
class FileResult:
    """The results of a cases file.

    Attributes:
        file: the cases file.
        playbook: the name of the playbook's file, without its suffix.
        results: the results of the cases, in order.
        error: the error of a broken file; None for a valid file.
    """

    file: Path
    playbook: str
    results: tuple[CaseResult, ...] = ()
    error: OrchestratorError | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """The number of cases as expected, of failed cases, and of broken files."""

    ok: int
    failed: int
    broken: int

    @classmethod
    def count(cls, files: Sequence[FileResult]) -> "Totals":
        """Count the results of all files."""
        results = [each.is_ok for file in files for each in file.results]
        return cls(sum(results), len(results) - sum(results), sum(file.error is not None for file in files))


def tests_document(files: Sequence[FileResult], untested: Sequence[str], exit_code: int) -> dict[str, Any]:
    """Build the document of `test --json`.

    Args:
        files: the results of all files.
        untested: names of the playbooks without cases.
        exit_code: the exit code of the command.
    """
    totals = Totals.count(files)
    return {
        "exit_code": exit_code,
        "counts": {"ok": totals.ok, "failed": totals.failed, "broken_files": totals.broken},
        "files": [
            {
                "file": str(each.file),
                "playbook": each.playbook,
                "cases": [
                    {
                        "name": result.name,
                        "line": result.line,
                        "ok": result.is_ok,
                        "differences": [difference.document() for difference in result.differences],
                    }
                    for result in each.results
                ],
            }
            for each in files
        ],
        "without_cases": list(untested),
    }
