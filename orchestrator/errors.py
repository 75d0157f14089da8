"""All errors for people, with their exit codes.

    OrchestratorError                 the error, its place, and the remedy
    ├── UsageError            exit 2  a command line that can't be carried out
    │   ├── PlaybookError             an invalid playbook
    │   │   └── MissingVariableError  a variable has no value
    │   ├── SettingsError             invalid settings
    │   └── PlanFileError             an invalid plan file
    ├── NotConfirmedError     exit 3  no person confirmed
    ├── GuardError            exit 3  a guard refuses the plan
    ├── ApprovalError         exit 3  a signed approval is missing or wrong
    ├── DriftedError          exit 3  all targets of a plan file, or of a run to undo, have changed
    ├── RunHeldError          exit 3  another process carries the run out
    ├── ClaimedError          exit 3  another run is acting on the same CVMs
    ├── NotAskedError         exit 3  a run has no open question
    ├── NoMatchError          exit 4  the selectors matched no CVM at all
    ├── CloudError            exit 5  no connection to the cloud, a refused key, or an unreadable answer
    ├── StoreDownError        exit 5  no connection to the database of the team store
    ├── AlteredError          exit 6  an audit log was altered
    ├── UnfinishedError       exit 7  an audit log is whole so far, but unfinished or torn
    └── AuditError            exit 8  the audit log can't be written or continued

Any other escaping error is a bug, and exit 1.
"""

from pathlib import Path

from orchestrator.outcome import Exit


class OrchestratorError(Exception):
    """An error with a message for people.

    Attributes:
        message: the error.
        hint: the remedy; None without a useful remedy.
        file: the file with the error, if any.
        line: the line in that file, counted from 1.
        code: a short stable name of the error for programs.
        more: further errors of the same file, from the same read.
        exit_code: the exit code of a command that ends with this error.
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
        """`file:line: `, as far as known."""
        if self.file is None:
            return ""
        return f"{self.file}:{self.line}: " if self.line is not None else f"{self.file}: "

    def __str__(self) -> str:
        return f"{self.where}{self.message}"


class UsageError(OrchestratorError):
    """Raised when a command line can't be carried out."""

    exit_code = Exit.USAGE
    code = "usage"


class PlaybookError(UsageError):
    """Raised when a playbook is missing, can't be read, or does not follow the schema."""

    code = "playbook"


class MissingVariableError(PlaybookError):
    """Raised when a required variable of a playbook has no value."""


class SettingsError(UsageError):
    """Raised when the settings can't be read or contradict each other."""

    code = "settings"


class PlanFileError(UsageError):
    """Raised when a plan file can't be read or written, is not the output of `plan --out`, or is for another cloud."""

    code = "plan_file"


class NotConfirmedError(OrchestratorError):
    """Raised when a run was not confirmed: no terminal, a wrong number typed, or `--expect` not met."""

    exit_code = Exit.GUARD
    code = "not_confirmed"


class GuardError(OrchestratorError):
    """Raised when a guard refuses the plan."""

    exit_code = Exit.GUARD
    code = "guard"


class ApprovalError(OrchestratorError):
    """Raised when a signed approval of a plan is missing, wrong, expired or used already."""

    exit_code = Exit.GUARD
    code = "approval"


class DriftedError(OrchestratorError):
    """Raised when no target of a plan file, or of a run to undo, is left, because targets have changed."""

    exit_code = Exit.GUARD
    code = "drifted"


class RunHeldError(OrchestratorError):
    """Raised when another process carries the run out."""

    exit_code = Exit.GUARD
    code = "run_held"


class ClaimedError(OrchestratorError):
    """Raised when a live run claims CVMs of this run.

    Attributes:
        run_ids: the live runs.
    """

    exit_code = Exit.GUARD
    code = "claimed"
    run_ids: tuple[str, ...] = ()


class NotAskedError(OrchestratorError):
    """Raised when an answer is impossible: the run asks nothing, no process reads the answer, or the answer is late."""

    exit_code = Exit.GUARD
    code = "not_asked"


class NoMatchError(OrchestratorError):
    """Raised when the selectors matched no CVM at all, or a run to undo took no CVM down."""

    exit_code = Exit.NO_MATCH
    code = "no_match"


class CloudError(OrchestratorError):
    """Raised when the inventory can't be read: no connection, a refused key, or an unreadable answer."""

    exit_code = Exit.CLOUD
    code = "cloud"


class KeyRefusedError(CloudError):
    """Raised when the API refuses the key."""


class StoreDownError(OrchestratorError):
    """Raised when the database of the team store can't be reached."""

    exit_code = Exit.CLOUD
    code = "store"


class AlteredError(OrchestratorError):
    """Raised by the `audit` commands when a log was altered, or contradicts its seal."""

    exit_code = Exit.FAILED
    code = "altered"


class UnfinishedError(OrchestratorError):
    """Raised by the `audit` commands when a log is whole so far, but must be finished and is not."""

    exit_code = Exit.UNSETTLED
    code = "unfinished"


class AuditError(OrchestratorError):
    """Raised when the audit log can't be written; nothing more may be sent then."""

    exit_code = Exit.ENDED_EARLY
    code = "audit"
