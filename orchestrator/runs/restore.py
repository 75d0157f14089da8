"""The request to undo a run: start the CVMs taken from running to down by the run."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from orchestrator.action import Action
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import StoredRun, read_sound_run
from orchestrator.errors import NoMatchError, RunHeldError, UsageError
from orchestrator.playbook.load import IN_MEMORY, LoadedPlaybook, load_source
from orchestrator.playbook.source import parse_source
from orchestrator.playbook.undo import Undo
from orchestrator.runs.records import taken_down
from orchestrator.runs.session import WorkspaceIdentity, limits_of
from orchestrator.runs.start import RunRequest
from orchestrator.settings.load import Settings
from orchestrator.text import safe_text


def read_undo(run: StoredRun) -> tuple[Undo, RunState]:
    """Read the CVMs to start from the log of a finished run.

    Raises:
        SettingsError: when the log can't be read, or was altered.
        UsageError: when the run is unfinished, or its cloud has ended.
        RunHeldError: when another process carries the run out.
        NoMatchError: when the run took no CVM from running to down.
    """
    state = RunState()
    hint = "an altered log does not prove which CVMs to start; use a playbook with `start` steps"
    read_sound_run(run, state.apply_record, hint)
    _require_finished(state, run)
    undo = Undo(state.run_id, taken_down(state), state.planned.cvms_up)
    if not undo.targets:
        raise NoMatchError("the run stopped no running CVM", file=run.location, hint="there is nothing to undo")
    return undo, state


def request_undo(
    undo: Undo, state: RunState, run: StoredRun, settings: Settings, *, ignore_running: bool = False
) -> RunRequest:
    """Make the request to undo a run.

    Args:
        undo: the CVMs to start.
        state: the replayed log of the run to undo.
        run: the run to undo.
        settings: the current settings.
        ignore_running: whether to act on CVMs claimed by another run.
    """
    return RunRequest(
        playbook_of(undo, run),
        limits_of(undo.playbook.limits, settings),
        undo,
        origin_fields={"restores": state.run_id},
        ignore_running=ignore_running,
        workspace=WorkspaceIdentity.from_record(state.started.record),
    )


def playbook_for_plan(undo: Undo) -> LoadedPlaybook:
    """Build the playbook of an undo for a plan file, with the CVMs by id."""
    ids = [ref.vm_uuid or ref.address for ref in (target.ref for target in undo.targets) if ref.vm_uuid or ref.address]
    playbook = undo.playbook
    step = {"name": playbook.steps[0].name, "action": Action.START.value, "select": {"id": ids}}
    text = json.dumps({"name": playbook.name, "description": playbook.description, "steps": [step]})
    return replace(load_source(parse_source(text.encode(), Path(IN_MEMORY)), {}), in_memory=True)


def _require_finished(state: RunState, run: StoredRun) -> None:
    """Refuse a log unfit to undo a run."""
    if state.cloud_ended:
        raise UsageError("the simulated cloud of this run ended with the run", file=run.location)
    if state.finished is None:
        refuse_unfinished(run, state.run_id)


def refuse_unfinished(run: StoredRun, run_id: str, noun: str = "run") -> NoReturn:
    """Refuse to undo an unfinished run or fleet run.

    Args:
        run: the run.
        run_id: its id.
        noun: `run` or `fleet run`.

    Raises:
        RunHeldError: when another process carries the run out.
        UsageError: in any other case.
    """
    if run.is_locked():
        raise RunHeldError(f"another process executes this {noun}", file=run.location, hint="wait for its end")
    raise UsageError(
        f"the {noun} is not finished, so its stops are not certain",
        file=run.location,
        hint=f"first: orchestrator resume {safe_text(run_id)}, or without further requests: "
        f"orchestrator abandon {safe_text(run_id)} --reason TEXT",
    )


def playbook_of(undo: Undo, run: StoredRun) -> LoadedPlaybook:
    """Return the playbook of an undo; its digest is the digest of the log of the run to undo."""
    digest = sha256()
    for line in run.read_lines():
        digest.update(line)
    return LoadedPlaybook(undo.playbook, Path(run.location), digest.hexdigest(), b"", {})
