"""`orchestrator show`."""

from functools import partial
from pathlib import Path

import click

from orchestrator.audit.fleet_store import is_void
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import read_sound_run
from orchestrator.cli.consoles import stdout_console
from orchestrator.outcome import Ending, Exit, exit_code
from orchestrator.report.run.text import print_run
from orchestrator.runs.documents import run_document, write_document
from orchestrator.runs.stores import fleet_store, run_store
from orchestrator.settings.load import load_settings


def show_run(run_id: str, config: Path | None, assignments: tuple[str, ...], *, as_json: bool) -> None:
    """Print the summary of a run, from its audit log."""
    settings = load_settings(config, assignments)
    run = run_store(settings).find_run(run_id)
    state = RunState()
    reading = read_sound_run(run, state.apply_record)
    going_on = state.finished is None and run.is_locked()
    code = None if going_on else find_exit_code(state)
    if as_json:
        document = run_document(state, code, run.location)
        document["log"] = {"verdict": reading.verdict.value, "running": going_on}
        write_document(document, partial(click.echo, nl=False))
    else:
        fleet_id = state.started.fleet if state.finished is None and not going_on else None
        void = fleet_id is not None and is_void(fleet_store(settings).get_fleet(fleet_id))
        print_run(stdout_console(), state, code, run.location, unfinished=state.finished is None, is_void=void)


def find_exit_code(state: RunState) -> int:
    """Return the exit code of the run; for an unended run, the exit code of an interrupted run."""
    if state.finished is not None:
        return int(state.finished.exit_code)
    if state.interrupted is not None:
        return int(exit_code(Ending(state.interrupted.reason), {}, anything_sent=state.anything_sent))
    return int(Exit.SIGINT)
