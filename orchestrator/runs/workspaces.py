"""The settings of a run's workspace: by `--workspace`, by the playbook, or by the audit log."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.settings.load import Settings
from orchestrator.settings.merge import COMMAND_LINE
from orchestrator.settings.workspaces import match_workspaces
from orchestrator.text import join_names, safe_text
from orchestrator.validation_messages import suggest_nearest

if TYPE_CHECKING:  # `plan` starts without the audit log
    from orchestrator.audit.replay import RunState
    from orchestrator.playbook.schema import Playbook

_MOST_WARNINGS = 3
_MOST_NAMES = 5
"""Enough to recognise a section of the settings."""


def choose_names(
    settings: Settings, options: Sequence[str] = (), playbook: Sequence[str] | None = None, *, simulate: bool = False
) -> tuple[str, ...]:
    """Choose the workspaces of a command.

    Args:
        settings: the settings with all workspaces.
        options: the patterns of `--workspace`.
        playbook: the patterns of the playbook.
        simulate: whether the command has its own simulated cloud, which has no workspaces.

    Returns:
        The names in the order of the settings; empty for the default key.

    Raises:
        UsageError: when a pattern matches no workspace, or when there is neither a choice nor a default key.
    """
    if simulate:
        return ()
    if playbook and not options and settings.origin.source_of("cloud.profile") == COMMAND_LINE:
        hint = "add --workspace NAME, or leave --profile out"
        raise UsageError("--profile and the playbook's `workspaces` exclude each other", hint=hint)
    known = tuple(settings.workspaces)
    try:
        if options:
            return match_workspaces(known, options, "--workspace")
        if playbook:
            return match_workspaces(known, playbook, "the playbook's `workspaces`")
        if known and not settings.has_default_key:
            raise UsageError(  # noqa: TRY301 - explained below, as a pattern without a match
                "no workspace is named, and there is no default API key",
                hint=f"add --workspace NAME (or '*' for all); the settings have {_list_first(known)}",
            )
    except UsageError as error:
        # A warning explains a workspace ignored in a file that was merely found.
        hints = [*([error.hint] if error.hint else []), *settings.origin.warnings[:_MOST_WARNINGS]]
        error.hint = "; ".join(hints)
        raise
    return ()


def explain_mismatch(settings: Settings, playbook: "Playbook") -> str | None:
    """Explain why a playbook's workspaces do not match the settings; None for a playbook without workspaces."""
    if not playbook.workspaces:
        return None
    try:
        names = choose_names(settings, (), playbook.workspaces)
    except UsageError as error:
        return f"{error.message}; {error.hint}" if error.hint else error.message
    first = playbook.fleet.first
    if first is not None and first not in names:
        return f"the playbook's `fleet.first` names {first!r}, but its workspaces are {join_names(names)}"
    return None


def choose_settings(settings: Settings, playbook: Sequence[str] | None = None) -> Settings:
    """Return the settings of the only workspace of a playbook; arguments and further errors as in `choose_names`.

    Raises:
        UsageError: when several workspaces match.
    """
    if settings.workspace_name is not None:
        return settings  # chosen by the caller of the Python API
    names = choose_names(settings, (), playbook)
    if len(names) > 1:
        message = f"{len(names)} workspaces match ({_list_first(names)}), but this command acts in one workspace"
        raise UsageError(message, hint=f"name one workspace, such as --workspace {names[0]}")
    return settings.for_workspace(names[0]) if names else settings


def _list_first(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")


def settings_of_run(settings: Settings, state: "RunState") -> Settings:
    """Return the settings for the workspace of a run; a run of the default key has the settings as they are.

    Raises:
        UsageError: when the settings lack the workspace, or a profile is given for a run of a named workspace.
    """
    return settings_of_name(settings, state.started.workspace_name, "the run")


def settings_of_name(settings: Settings, name: str | None, what: str) -> Settings:
    """Return the settings for a recorded name.

    Args:
        settings: the settings with all workspaces.
        name: the name on record; None for the default key.
        what: the source of the name, such as `the run`.

    Raises:
        UsageError: when the settings lack the workspace, or a profile is given for a named workspace.
    """
    if name is None or name == settings.workspace_name:
        return settings
    shown = safe_text(name, 64)
    if settings.origin.source_of("cloud.profile") == COMMAND_LINE:
        raise UsageError(f"{what} belongs to workspace {shown!r}: leave --profile out")
    if name not in settings.workspaces:
        near = suggest_nearest(name, settings.workspaces, "") if settings.workspaces else ""
        hint = f"add a section [workspaces.{shown}] with the key of the workspace" + (f"; {near}" if near else "")
        raise UsageError(f"{what} belongs to workspace {shown!r}, and the settings have no such workspace", hint=hint)
    return settings.for_workspace(name)


def name_workspace(error: OrchestratorError, name: str | None) -> OrchestratorError:
    """Name the workspace in an error, once; an error about the default key stays as it is."""
    begin = f"workspace {name}: "
    if name is not None and not error.message.startswith(begin):
        error.message = f"{begin}{error.message}"
        error.args = (error.message,)
    return error


@contextmanager
def name_errors(workspace: str) -> Iterator[None]:
    """Name the workspace in the errors of the block."""
    try:
        yield
    except OrchestratorError as error:
        raise name_workspace(error, workspace) from error.__cause__
