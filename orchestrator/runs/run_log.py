"""Reading a sound audit log."""

from pathlib import Path

from orchestrator.audit.verify import Reading, Take, Verdict, read_log
from orchestrator.errors import SettingsError


def read_run_log(path: Path, take: Take) -> Reading:
    """Read and check the log of a run.

    Raises:
        SettingsError: when the log cannot be read, or was altered.
    """
    try:
        reading = read_log(path, take)
    except OSError as error:
        raise SettingsError(f"the audit log can't be read: {error.strerror or error}", file=path) from error
    if reading.verdict is Verdict.ALTERED:
        raise SettingsError(f"the audit log was altered: {reading.reason}", file=path, line=reading.line)
    return reading
