"""The workspaces of a fleet run, each with its own settings, address and key."""

import resource
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError, SettingsError, UsageError
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.runs.session import (
    Endpoint,
    RunObserver,
    Session,
    count_descriptors,
    limits_of,
    open_session,
    share_connections,
)
from orchestrator.settings.load import Settings
from orchestrator.text import plural

if TYPE_CHECKING:
    from orchestrator.runs.keeping import KeepReader

Observe = Callable[[str], RunObserver]
"""Returns the observer for the run of a workspace, by the workspace's name."""

MOST_HINTS = 3
"""Number of workspaces named in a hint."""
_USUAL_DESCRIPTORS, _MANY_DESCRIPTORS = 1_024, 1_000_000
"""The usual limit of a process; and the descriptors of a process without a limit."""


@dataclass(frozen=True, slots=True)
class Member:
    """A workspace of a fleet run.

    Attributes:
        name: its name in the settings.
        settings: its settings, by `Settings.for_workspace`.
        endpoint: its address and key.
    """

    name: str
    settings: Settings
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An unreachable workspace, or a workspace without a usable key, left out on request.

    Attributes:
        name: the workspace.
        reason: the error.
    """

    name: str
    reason: str

    def document(self) -> dict[str, object]:
        """Build the entry of `left_out` in documents and in `fleet.started`."""
        return {"workspace": self.name, "reason": self.reason}


def read_members(settings: Settings, names: Iterable[str]) -> tuple[Member, ...]:
    """Read the key of every workspace.

    Raises:
        SettingsError: when a key is missing or unusable; the error names the workspace.
        UsageError: when the settings lack a name, or when two names have the same key.
    """
    members = []
    by_key: dict[Endpoint, str] = {}
    for name in names:
        own = settings.for_workspace(name)
        endpoint = Endpoint.from_settings(own)
        if endpoint in by_key:
            raise UsageError(
                f"workspaces {by_key[endpoint]} and {name} have the same API key",
                hint="remove one of these workspaces from the settings, or name a single workspace with --workspace",
            )
        by_key[endpoint] = name
        members.append(Member(name, own, endpoint))
    return tuple(members)


def read_usable_members(
    settings: Settings, names: Sequence[str], skip: Collection[str]
) -> tuple[tuple[Member, ...], tuple[LeftOut, ...]]:
    """Read the key of every workspace; leave the workspaces of `skip` without a usable key out.

    Raises:
        SettingsError: when a key is missing or unusable, and its workspace is not in `skip`, or when all are.
        UsageError: as `read_members`.
    """
    errors: dict[str, SettingsError] = {}
    for name in names:
        try:
            settings.for_workspace(name).credentials()
        except SettingsError as error:
            errors[name] = error
    wrong = [name for name in errors if name not in skip or len(errors) == len(names)]
    if wrong:
        first = errors[wrong[0]]
        more = f"; and the keys of {plural(len(wrong) - 1, 'other workspace')}" if len(wrong) > 1 else ""
        hint = "; or ".join([*([first.hint] if first.hint else []), f"leave out: {skip_options(wrong)}"])
        raise SettingsError(f"{first.message}{more}", file=first.file, line=first.line, hint=hint) from first
    usable = [name for name in names if name not in errors]
    return read_members(settings, usable), tuple(LeftOut(name, error.message) for name, error in errors.items())


def skip_options(names: Sequence[str]) -> str:
    """Return the options to leave the first of these workspaces out."""
    return " ".join(f"--skip-unreachable {name}" for name in names[:MOST_HINTS])


def require_descriptors(workspaces: int) -> int:
    """Return the most open files of this process; raise its own limit where the system permits.

    Args:
        workspaces: the number of workspaces with a run.

    Raises:
        SettingsError: when the limit is too low for this number of workspaces.
    """
    needed = count_descriptors(workspaces)
    soft, hard = (
        _MANY_DESCRIPTORS if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    if soft < needed <= hard:
        wanted = min(hard, max(needed, _USUAL_DESCRIPTORS))
        with suppress(OSError, ValueError):  # the system may know a lower limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            soft = wanted
    if soft < needed:
        raise SettingsError(
            f"{workspaces} workspaces need {needed} open files, but this process may open only {soft}",
            hint=f"nothing was sent; raise the limit (`ulimit -n {needed}`), or name fewer workspaces",
        )
    return soft


def limits_of_members(members: Iterable[Member], loaded: LoadedPlaybook) -> dict[str, RunLimits]:
    """Return the limits of a playbook in every workspace."""
    return {member.name: limits_of(loaded.playbook.limits, member.settings) for member in members}


@asynccontextmanager
async def open_sessions(
    members: Iterable[Member],
    limits: Mapping[str, RunLimits],
    observe: Observe,
    *,
    few: bool = False,
    keeps: "KeepReader | None" = None,
) -> AsyncIterator[dict[str, Session]]:
    """Open a connection to the cloud of every workspace, for the length of the block; share out the descriptors.

    Args:
        members: the workspaces.
        limits: the limits of every run, by workspace.
        observe: returns the observer for the run of a workspace.
        few: whether only few requests are sent, such as for a plan.
        keeps: reads the exemptions; None for a reader that refuses a broken file.

    Raises:
        SettingsError: when the process may open too few files for this number of workspaces.
    """
    members = tuple(members)
    connections = share_connections(len(members), require_descriptors(len(members)))
    rates = sum(limits[member.name].requests_per_second for member in members)
    error: OrchestratorError | None = None
    async with AsyncExitStack() as stack:
        sessions = {}
        for member in members:
            session = open_session(
                member.settings,
                member.endpoint,
                limits[member.name],
                observe(member.name),
                few=few,
                connections=connections,
                beside=rates - limits[member.name].requests_per_second,
                keeps=keeps,
            )
            sessions[member.name] = await stack.enter_async_context(session)
        try:
            yield sessions
        except OrchestratorError as found:  # else every session would add its address to the hint
            error = found
    if error is not None:
        raise error
