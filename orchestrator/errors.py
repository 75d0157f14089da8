"""Every error that a person can meet, each with the exit code it stands for.

    OrchestratorError                 what was wrong, where, and what to do
    ├── UsageError            exit 2  a command line that can't be carried out
    │   ├── PlaybookError             a playbook that can't be used
    │   │   └── MissingVariableError  a variable has no value
    │   ├── SettingsError             settings that can't be used
    │   └── PlanFileError             a plan file that can't be used
    ├── NotConfirmedError     exit 3  nobody said yes
    ├── GuardError            exit 3  a guard refuses the plan
    ├── DriftedError          exit 3  of a plan file's targets, or of a run's to undo, none is as it was
    ├── RunHeldError          exit 3  another process is carrying the run out
    ├── ClaimedError          exit 3  another run is acting on the same CVMs
    ├── NotAskedError         exit 3  a run has no question that could be answered
    ├── NoMatchError          exit 4  the selectors matched no CVM at all
    ├── CloudError            exit 5  the cloud can't be reached, or refuses the key, or makes no sense
    ├── AlteredError          exit 6  an audit log is not what was written
    ├── UnfinishedError       exit 7  an audit log is whole so far, but unfinished or torn
    └── AuditError            exit 8  the audit log can't be written or continued

Anything else that escapes is a bug, and exit 1.
"""

from pathlib import Path

from orchestrator.outcome import Exit


class OrchestratorError(Exception):
    """What went wrong in words for a person.

    Attributes:
        message: what was wrong.
        hint: what to do about it; None where there is nothing sensible to say.
        file: the file the fault is in, if it is in one.
        line: the line in that file, counted from 1.
        code: a short stable name of the error for programs.
        more: further faults of the same file, found in the same reading.
        exit_code: the exit code of a command that ends with it.
    """

    exit_code = Exit.BUG
    code = "error"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        file: Path | str | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.file = str(file) if file is not None else None
        self.line = line
        self.more: tuple[OrchestratorError, ...] = ()

    @property
    def where(self) -> str:
        """`file:line: `, or as much of it as is known."""
        if self.file is None:
            return ""
        return f"{self.file}:{self.line}: " if self.line is not None else f"{self.file}: "

    def __str__(self) -> str:
        return f"{self.where}{self.message}"


class UsageError(OrchestratorError):
    """Raised when a command line can't be carried out as it was given."""

    exit_code = Exit.USAGE
    code = "usage"


class PlaybookError(UsageError):
    """Raised when a playbook is missing, can't be read, or does not follow the schema."""

    code = "playbook"


class MissingVariableError(PlaybookError):
    """Raised when a required variable of a playbook has no value."""


class SettingsError(UsageError):
    """Raised when the settings can't be read or do not hold together."""

    code = "settings"


class PlanFileError(UsageError):
    """Raised when a plan file can't be read or written, is not what `plan --out` wrote, or is for another cloud."""

    code = "plan_file"


class NotConfirmedError(OrchestratorError):
    """Raised when a run was not confirmed: no terminal to ask on, the wrong number typed, or `--expect` not met."""

    exit_code = Exit.GUARD
    code = "not_confirmed"


class GuardError(OrchestratorError):
    """Raised when a guard refuses the plan."""

    exit_code = Exit.GUARD
    code = "guard"


class DriftedError(OrchestratorError):
    """Raised when no target of a plan file, or of a run to undo, is left: all not as wanted already have changed."""

    exit_code = Exit.GUARD
    code = "drifted"


class RunHeldError(OrchestratorError):
    """Raised when another process is carrying the run out."""

    exit_code = Exit.GUARD
    code = "run_held"


class ClaimedError(OrchestratorError):
    """Raised when a live run claims CVMs that this run would touch.

    Attributes:
        run_ids: the live runs.
    """

    exit_code = Exit.GUARD
    code = "claimed"
    run_ids: tuple[str, ...] = ()


class NotAskedError(OrchestratorError):
    """Raised when an answer can't be given: the run asks nothing, or nobody takes it up, or it comes too late."""

    exit_code = Exit.GUARD
    code = "not_asked"


class NoMatchError(OrchestratorError):
    """Raised when the selectors matched no CVM at all, or a run to undo took none down."""

    exit_code = Exit.NO_MATCH
    code = "no_match"


class CloudError(OrchestratorError):
    """Raised when the inventory can't be had: no connection, a refused key, or an answer that can't be read."""

    exit_code = Exit.CLOUD
    code = "cloud"


class AlteredError(OrchestratorError):
    """Raised by the `audit` commands when a log is not what was written, or not what its seal says."""

    exit_code = Exit.FAILED
    code = "altered"


class UnfinishedError(OrchestratorError):
    """Raised by the `audit` commands when a log that has to be finished is whole so far, but is not."""

    exit_code = Exit.UNSETTLED
    code = "unfinished"


class AuditError(OrchestratorError):
    """Raised when the audit log can't be written, so that nothing more may be sent."""

    exit_code = Exit.ENDED_EARLY
    code = "audit"
