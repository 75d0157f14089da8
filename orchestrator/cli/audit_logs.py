"""The logs named for an `audit` command or a report, by path or by run id. A path needs no settings."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.audit.store import FileRun, StoredRun, is_file
from orchestrator.errors import UsageError
from orchestrator.runs.stores import file_run_store, run_store
from orchestrator.settings.load import load_settings


def find_run(name: str, config: Path | None, assignments: tuple[str, ...]) -> StoredRun:
    """Find a run by its id, or a log by its path.

    Raises:
        UsageError: when there is no such run.
    """
    path = Path(name)
    return FileRun(path) if is_file(path) else run_store(load_settings(config, assignments)).find_run(name)


def find_logs(
    names: Sequence[str], config: Path | None, assignments: tuple[str, ...], *, every: bool
) -> tuple[Path, ...]:
    """Find the files of logs by paths and ids without duplicates, or all files, the oldest first.

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
    return tuple(dict.fromkeys(_find_log(name, config, assignments) for name in names))


def _find_log(name: str, config: Path | None, assignments: tuple[str, ...]) -> Path:
    path = Path(name)
    return path if is_file(path) else file_run_store(load_settings(config, assignments)).find_log(name)
