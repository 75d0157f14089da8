"""`orchestrator restore`."""

from functools import partial
from hashlib import file_digest
from pathlib import Path

import anyio

from orchestrator.audit.replay import RunState
from orchestrator.audit.store import RunStore, is_held
from orchestrator.audit.verify import Reading, Verdict, read_log
from orchestrator.cli.handlers.run import open_and_run
from orchestrator.errors import NoMatchError, RunHeldError, SettingsError, UsageError
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.undo import Undo
from orchestrator.plural import names, plural
from orchestrator.report.formatting import moment
from orchestrator.runs.endpoint import endpoint
from orchestrator.runs.records import taken_down
from orchestrator.runs.session import limits_of
from orchestrator.runs.start import RunRequest
from orchestrator.runs.workspace import Workspace
from orchestrator.safe_text import safe_text
from orchestrator.settings.load import load_settings


def restore(
    run_id: str,
    config: Path | None,
    assignments: tuple[str, ...],
    expect: int | None,
    *,
    yes: bool,
    ignore_running: bool,
    as_json: bool,
) -> int:
    """Start the CVMs taken from running to down by a run, unless changed since."""
    settings = load_settings(config, assignments)
    store = RunStore(settings.audit.state_dir)
    store.prepare()
    path = store.find(run_id)
    state = RunState()
    try:
        reading = read_log(path, state.apply)
    except OSError as error:
        raise SettingsError(f"the audit log can't be read: {error.strerror or error}", file=path) from error
    _check(reading, state, path)
    undo = Undo(state.run_id, taken_down(state), state.planned.get("cvms_up"))
    if not undo.targets:
        raise NoMatchError("the run stopped no running CVM", file=path, hint="there is nothing to undo")
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    playbook = undo.playbook
    order = RunRequest(
        LoadedPlaybook(playbook, path, digest, b"", {}),
        limits_of(playbook.limits, settings),
        undo,
        _origin(undo, state),
        {"restores": state.run_id},
        ignore_running=ignore_running,
        workspace=Workspace.recorded(state.started),
    )
    with endpoint(settings, simulate=False) as where:
        where.require_url(state.started["cloud_url"])
        return anyio.run(partial(open_and_run, settings, where, order, yes=yes, expect=expect, as_json=as_json))


def _origin(undo: Undo, state: RunState) -> str:
    """Describe the undone run for people."""
    late = undo.late
    text = (
        f"Undo of {safe_text(state.run_id)}, started {safe_text(moment(state.started['ts']))} "
        f"by {safe_text(state.started['actor'])}; "
        f"the run stopped {plural(len(undo.targets) - len(late), 'running CVM')}\n"
    )
    if late:
        text += (
            f"{plural(len(late), 'more CVM')} asked to stop, but not seen down in time: "
            f"{safe_text(names(target.ref.name for target in late), 2000)}\n"
        )
    return text


def _check(reading: Reading, state: RunState, path: Path) -> None:
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
