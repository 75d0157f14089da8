"""The request to undo a run: start the CVMs taken from running to down by the run."""

from hashlib import file_digest
from pathlib import Path

from orchestrator.audit.replay import RunState
from orchestrator.audit.store import is_held
from orchestrator.audit.verify import Reading, Verdict, read_log
from orchestrator.errors import NoMatchError, RunHeldError, SettingsError, UsageError
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.undo import Undo
from orchestrator.runs.records import taken_down
from orchestrator.runs.session import limits_of
from orchestrator.runs.start import RunRequest
from orchestrator.runs.workspace import Workspace
from orchestrator.safe_text import safe_text
from orchestrator.settings.load import Settings


def read_undo(path: Path) -> tuple[Undo, RunState]:
    """Read the CVMs to start from the log of a finished run.

    Raises:
        SettingsError: when the log can't be read, or was altered.
        UsageError: when the run is unfinished, or its cloud has ended.
        RunHeldError: when another process carries the run out.
        NoMatchError: when the run took no CVM from running to down.
    """
    state = RunState()
    try:
        reading = read_log(path, state.apply)
    except OSError as error:
        raise SettingsError(f"the audit log can't be read: {error.strerror or error}", file=path) from error
    _require_finished(reading, state, path)
    undo = Undo(state.run_id, taken_down(state), state.planned.cvms_up)
    if not undo.targets:
        raise NoMatchError("the run stopped no running CVM", file=path, hint="there is nothing to undo")
    return undo, state


def request_undo(
    undo: Undo, state: RunState, path: Path, settings: Settings, *, ignore_running: bool = False
) -> RunRequest:
    """Make the request to undo a run.

    Args:
        undo: the CVMs to start.
        state: the replayed log of the run to undo.
        path: the log of the run to undo.
        settings: the current settings.
        ignore_running: whether to act on CVMs claimed by another run.
    """
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    playbook = undo.playbook
    return RunRequest(
        LoadedPlaybook(playbook, path, digest, b"", {}),
        limits_of(playbook.limits, settings),
        undo,
        origin_fields={"restores": state.run_id},
        ignore_running=ignore_running,
        workspace=Workspace.from_record(state.started.record),
    )


def _require_finished(reading: Reading, state: RunState, path: Path) -> None:
    """Refuse a log unfit to undo a run."""
    if reading.verdict is Verdict.ALTERED:
        raise SettingsError(
            f"the audit log was altered: {reading.reason}",
            file=path,
            line=reading.line,
            hint="an altered log does not prove which CVMs to start; use a playbook with `start` steps",
        )
    if state.cloud_ended:
        raise UsageError("the simulated cloud of this run ended with the run", file=path)
    if state.finished is None:
        if is_held(path):
            raise RunHeldError("another process executes this run", file=path, hint="wait for its end")
        raise UsageError(
            "the run is not finished, so its stops are not certain",
            file=path,
            hint=f"first: orchestrator resume {safe_text(state.run_id)}, or without further requests: "
            f"orchestrator abandon {safe_text(state.run_id)} --reason TEXT",
        )
