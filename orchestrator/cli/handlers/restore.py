"""`orchestrator restore`."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio

from orchestrator.audit.replay import RunState
from orchestrator.cli.handlers.run import open_and_run
from orchestrator.cli.named_runs import find_run_to_change
from orchestrator.playbook.undo import Undo
from orchestrator.report.layout import moment
from orchestrator.runs.restore import read_undo, request_undo
from orchestrator.runs.session import open_endpoint
from orchestrator.runs.stores import run_store
from orchestrator.runs.workspaces import settings_of_run
from orchestrator.settings.load import load_settings
from orchestrator.text import join_names, plural, safe_text


def restore_run(
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
    store = run_store(settings)
    store.prepare()
    run = find_run_to_change(store, run_id)
    undo, state = read_undo(run)
    settings = settings_of_run(settings, state)
    order = replace(
        request_undo(undo, state, run, settings, ignore_running=ignore_running), origin=describe_origin(undo, state)
    )
    with open_endpoint(settings, simulate=False) as where:
        where.require_url(state.started.cloud_url)
        return anyio.run(partial(open_and_run, settings, where, order, yes=yes, expect=expect, as_json=as_json))


def describe_origin(undo: Undo, state: RunState) -> str:
    """Describe the undone run for people."""
    late = undo.late
    text = (
        f"Undo of {safe_text(state.run_id)}, started {safe_text(moment(state.started.ts))} "
        f"by {safe_text(state.started.actor)}; "
        f"the run stopped {plural(len(undo.targets) - len(late), 'running CVM')}\n"
    )
    if late:
        text += (
            f"{plural(len(late), 'more CVM')} asked to stop, but not seen down in time: "
            f"{safe_text(join_names(target.ref.name for target in late), 2000)}\n"
        )
    return text
