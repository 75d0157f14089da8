"""Which logs an `audit` command is about."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.audit.store import RunStore, is_file
from orchestrator.errors import UsageError
from orchestrator.settings.load import Settings, load_settings


def find_log(name: str, config: Path | None, assignments: tuple[str, ...]) -> Path:
    """The log that a path or a run's id means.

    Raises:
        UsageError: when there is none.
    """
    path = Path(name)
    return path if is_file(path) else store_of(load_settings(config, assignments)).find(name)


def find_logs(
    names: Sequence[str], config: Path | None, assignments: tuple[str, ...], *, every: bool
) -> tuple[Path, ...]:
    """The logs that paths and ids mean, each once; or all of them, the oldest first.

    Raises:
        UsageError: when there is no such log, or when both or neither are asked for.
    """
    if every == bool(names):
        raise UsageError(
            "name logs, or give --all, not both" if every else "no log was named",
            hint="give run ids or paths, or --all; `orchestrator runs` lists what there is",
        )
    if every:
        return tuple(sorted(store_of(load_settings(config, assignments))))
    return tuple(dict.fromkeys(find_log(name, config, assignments) for name in names))


def store_of(settings: Settings) -> RunStore:
    """The folder of runs that the settings name."""
    return RunStore(settings.audit.state_dir)
