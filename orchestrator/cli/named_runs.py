"""The runs, fleet runs and logs named on a command line: by id, prefix, `last` or path. A path needs no settings."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.fleet_store import PREFIX
from orchestrator.audit.store import (
    LAST,
    MIRRORS,
    FileRun,
    FileRunStore,
    RunStore,
    StoredRun,
    is_file,
    is_run_id,
    open_run_file,
    read_run,
)
from orchestrator.cli.terminal_input import open_terminal
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.runs.stores import file_run_store, fleet_store, run_store
from orchestrator.settings.load import Settings, load_settings
from orchestrator.text import safe_text


def names_fleet(name: str) -> bool:
    """Return True for the id of a fleet run, or its beginning; a file with this name is a log."""
    return name.startswith(PREFIX) and not is_file(Path(name))


def name_order(name: str, config: Path | None, assignments: tuple[str, ...], *, to_change: bool) -> str:
    """Return the id of the fleet run for `last` if the newest order is a fleet run; every other name stays as it is.

    Args:
        name: the name on the command line.
        config: the settings file.
        assignments: the settings of the command line.
        to_change: whether the command has effects, as in `find_run_to_change`.

    Raises:
        UsageError: for `last` without a terminal.
    """
    fleet = _find_last_fleet(load_settings(config, assignments)) if name == LAST else None
    if fleet is None:
        return name
    if to_change:
        _announce_last(fleet)
    return fleet.run_id


def _find_last_fleet(settings: Settings) -> StoredRun | None:
    """Return the newest fleet run, unless a newer run belongs to no fleet run."""
    fleet = next(fleet_store(settings).list_fleets(), None)
    if fleet is None:
        return None
    newest = next((run for run in run_store(settings).list_runs() if is_run_id(run.run_id)), None)
    # The runs of a fleet run begin later than the fleet run, perhaps within the same second.
    if newest is None or newest.run_id < fleet.run_id.removeprefix(PREFIX):
        return fleet
    return fleet if _read_started(newest).get("fleet") == fleet.run_id else None


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
    run = store.find_run(name)
    _announce_last(run)
    return run


def _announce_last(run: StoredRun) -> None:
    """Name the last run on the terminal before a command with effects.

    Raises:
        UsageError: without a terminal.
    """
    keys = open_terminal()
    if keys is None:
        raise UsageError(
            "`last` needs a terminal here: stdin is not a terminal",
            hint="give the run id; `orchestrator runs` lists the runs",
        )
    keys.screen.write(f"The last run is {_describe_run(run)}.\n")
    keys.screen.flush()


def _describe_run(run: StoredRun) -> str:
    """Describe a run by its id, and by the first record of its log if the record can be read."""
    run_id = safe_text(run.run_id)
    started = _read_started(run)
    with suppress(LookupError, TypeError):
        playbook, actor, moment = started["playbook"]["name"], started["actor"], started["ts"][:19]
        return f"{run_id}: {safe_text(playbook, 100)}, started {safe_text(moment)}Z by {safe_text(actor, 100)}"
    return run_id


def _read_started(run: StoredRun) -> dict[str, Any]:
    """Read the first record of a log; empty for an unreadable log."""
    with suppress(OSError, ValueError, RecursionError, StopIteration):
        started = json.loads(next(run.read_lines()))
        return started if isinstance(started, dict) else {}
    return {}


def open_log_file(path: Path, config: Path | None, assignments: tuple[str, ...]) -> FileRun:
    """Return the run of a log found by `find_logs`: for the mirror of a log, the run in the team store."""
    if path.resolve().parent.name != MIRRORS:
        return FileRun(path)
    return file_run_store(load_settings(config, assignments)).find_run(str(path))


def find_logs(
    names: Sequence[str],
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    every: bool,
    to_change: bool = False,
    compare: bool = False,
    report: Callable[[OrchestratorError], object] | None = None,
) -> tuple[Path, ...]:
    """Find the files of logs by paths and ids without duplicates, or all files, the oldest first.

    Args:
        names: the paths and ids.
        config: the settings file.
        assignments: the settings of the command line.
        every: whether to return all files.
        to_change: whether the command changes the logs, as in `find_run_to_change`.
        compare: whether to compare every byte of a mirror with the team store.
        report: called with each difference from the team store for all files; None raises the first.

    Raises:
        AlteredError: when a mirror and the team store differ.
        UsageError: when there is no such log, or when both or neither are asked for.
    """
    if every == bool(names):
        raise UsageError(
            "--all excludes named logs" if every else "no log given",
            hint="give run ids or paths, or --all; `orchestrator runs` lists the runs",
        )
    if every:
        store = file_run_store(load_settings(config, assignments), compare=compare)
        return tuple(sorted(store if report is None else store.list_paths(report)))
    options = {"to_change": to_change, "compare": compare}
    found = (path for name in names for path in _find_logs(name, config, assignments, **options))
    return tuple(dict.fromkeys(found))


def _find_existing(store: FileRunStore, run_ids: Sequence[str]) -> Iterator[Path]:
    """Find the logs of runs, except for logs removed by `audit prune`."""
    for run_id in run_ids:
        run = store.get_run(run_id)
        with suppress(FileNotFoundError):
            run.read_version()
            yield run.path


def _find_logs(
    name: str, config: Path | None, assignments: tuple[str, ...], *, to_change: bool, compare: bool
) -> list[Path]:
    """Find the log of a run, or all logs of a fleet run: the fleet log, and the log of every run."""
    path = Path(name)
    if name != LAST and is_file(path):
        return [path]
    settings = load_settings(config, assignments)
    store = file_run_store(settings, compare=compare)
    name = name_order(name, config, assignments, to_change=to_change)
    if names_fleet(name):
        fleet, state = fleet_store(settings).find_fleet(name), FleetState()
        read_run(fleet, state.apply_record)
        return [Path(fleet.location), *_find_existing(store, [run.run_id for run in state.runs])]
    return [Path(find_run_to_change(store, name).location) if to_change else store.find_log(name)]
