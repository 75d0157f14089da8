"""The runs, fleet runs and logs named on a command line: by id, prefix, `last` or path. A path needs no settings."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.fleet_store import PREFIX
from orchestrator.audit.store import LAST, RunStore, StoredRun, is_file, open_run_file, read_run
from orchestrator.cli.terminal_input import open_terminal
from orchestrator.errors import UsageError
from orchestrator.runs.stores import file_run_store, fleet_store, run_store
from orchestrator.settings.load import load_settings
from orchestrator.text import safe_text


def names_fleet(name: str) -> bool:
    """Return True for the id of a fleet run, or its beginning; a file with this name is a log."""
    return name.startswith(PREFIX) and not is_file(Path(name))


def find_run(name: str, config: Path | None, assignments: tuple[str, ...]) -> StoredRun:
    """Find a run by its id, or a log by its path.

    Raises:
        UsageError: when there is no such run.
    """
    path = Path(name)
    is_path = name != LAST and is_file(path)
    return open_run_file(path) if is_path else run_store(load_settings(config, assignments)).find_run(name)


def find_run_to_change(store: RunStore, name: str) -> StoredRun:
    """Find a run for a command with effects. `last` needs a terminal, and the run is named there first.

    Raises:
        UsageError: when there is no such run, or for `last` without a terminal.
    """
    if name != LAST:
        return store.find_run(name)
    keys = open_terminal()
    if keys is None:
        raise UsageError(
            "`last` needs a terminal here: stdin is not a terminal",
            hint="give the run id; `orchestrator runs` lists the runs",
        )
    run = store.find_run(name)
    keys.screen.write(f"The last run is {_describe_run(run)}.\n")
    keys.screen.flush()
    return run


def _describe_run(run: StoredRun) -> str:
    """Describe a run by its id, and by the first record of its log if the record can be read."""
    run_id = safe_text(run.run_id)
    with suppress(OSError, ValueError, RecursionError, LookupError, TypeError, StopIteration):
        started = json.loads(next(run.read_lines()))
        playbook, actor, moment = started["playbook"]["name"], started["actor"], started["ts"][:19]
        return f"{run_id}: {safe_text(playbook, 100)}, started {safe_text(moment)}Z by {safe_text(actor, 100)}"
    return run_id


def find_logs(
    names: Sequence[str],
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    every: bool,
    to_change: bool = False,
) -> tuple[Path, ...]:
    """Find the files of logs by paths and ids without duplicates, or all files, the oldest first.

    Args:
        names: the paths and ids.
        config: the settings file.
        assignments: the settings of the command line.
        every: whether to return all files.
        to_change: whether the command changes the logs, as in `find_run_to_change`.

    Raises:
        UsageError: when there is no such log, or when both or neither are asked for.
    """
    if every == bool(names):
        raise UsageError(
            "--all excludes named logs" if every else "no log given",
            hint="give run ids or paths, or --all; `orchestrator runs` lists the runs",
        )
    if every:
        return tuple(sorted(file_run_store(load_settings(config, assignments))))
    found = (path for name in names for path in _find_logs(name, config, assignments, to_change=to_change))
    return tuple(dict.fromkeys(found))


def _find_logs(name: str, config: Path | None, assignments: tuple[str, ...], *, to_change: bool) -> list[Path]:
    """Find the log of a run, or all logs of a fleet run: the fleet log, and the log of every run."""
    path = Path(name)
    if name != LAST and is_file(path):
        return [path]
    settings = load_settings(config, assignments)
    store = file_run_store(settings)
    if names_fleet(name):
        fleet, state = fleet_store(settings).find_fleet(name), FleetState()
        read_run(fleet, state.apply_record)
        logs = (store.path_of(run.run_id) for run in state.runs)
        return [Path(fleet.location), *filter(is_file, logs)]  # `audit prune` may have removed a log
    return [Path(find_run_to_change(store, name).location) if to_change else store.find_log(name)]
