"""A check of the surroundings of runs: its result, and the exit code of all checks."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.outcome import Exit


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check.

    Attributes:
        name: the subject.
        ok: whether all is well.
        message: the finding, and the remedy of a failure.
        exit_code: the exit code of a failure.
    """

    name: str
    ok: bool
    message: str
    exit_code: Exit = Exit.USAGE

    def document(self) -> dict[str, object]:
        """Build the entry of `checks` in the JSON document."""
        return {"name": self.name, "ok": self.ok, "message": self.message}


def find_exit_code(checks: Iterable[Check]) -> int:
    """Return 0 if all is well; else 2 for settings, before 5 for cloud, key or database."""
    return min((int(check.exit_code) for check in checks if not check.ok), default=0)
