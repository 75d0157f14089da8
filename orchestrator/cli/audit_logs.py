"""The logs named for an `audit` command."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.audit.store import FileRunStore, is_file
from orchestrator.errors import UsageError
from orchestrator.settings.load import Settings, load_settings


def find_log(name: str, config: Path | None, assignments: tuple[str, ...]) -> Path:
    """Find a log by its path or by a run's id.

    Raises:
        UsageError: when there is no such log.
    """
    path = Path(name)
    return path if is_file(path) else store_of(load_settings(config, assignments)).find(name)


def find_logs(
    names: Sequence[str], config: Path | None, assignments: tuple[str, ...], *, every: bool
) -> tuple[Path, ...]:
    """Find logs by paths and ids without duplicates, or all logs, the oldest first.

    Raises:
        UsageError: when there is no such log, or when both or neither are asked for.
    """
    if every == bool(names):
        raise UsageError(
            "--all excludes named logs" if every else "no log given",
            hint="give run ids or paths, or --all; `orchestrator runs` lists the runs",
        )
    if every:
        return tuple(sorted(store_of(load_settings(config, assignments))))
    return tuple(dict.fromkeys(find_log(name, config, assignments) for name in names))


def store_of(settings: Settings) -> FileRunStore:
    """Return the directory of runs from the settings."""
    return FileRunStore(settings.audit.state_dir)
