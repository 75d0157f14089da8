"""The choice between one workspace and several workspaces, from `--workspace` and the playbook."""

from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.runs.workspaces import choose_names
from orchestrator.settings.load import Settings


def choose_several(
    settings: Settings,
    options: tuple[str, ...],
    playbook: Sequence[str] | None = None,
    *,
    skip: tuple[str, ...],
    simulate: bool,
) -> tuple[str, ...]:
    """Return the names of several chosen workspaces; nothing for one workspace, and for the default key.

    Args:
        settings: the settings with all workspaces.
        options: the patterns of `--workspace`.
        playbook: the patterns of the playbook.
        skip: the names of `--skip-unreachable`.
        simulate: whether the command has its own simulated cloud.

    Raises:
        UsageError: as `choose_names`; and for `--skip-unreachable` without several workspaces.
    """
    names = choose_names(settings, options, playbook, simulate=simulate)
    if len(names) > 1:
        return names
    require_no_skip(skip)
    return ()


def require_no_skip(skip: tuple[str, ...]) -> None:
    """Refuse `--skip-unreachable` for a single workspace.

    Raises:
        UsageError: when a name is given.
    """
    if skip:
        raise UsageError(
            "--skip-unreachable needs several workspaces",
            hint="leave --skip-unreachable out, or choose more workspaces with --workspace",
        )
