"""The workspaces of a fleet run, each with its own settings, address and key."""

import resource
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

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

Observe = Callable[[str], RunObserver]
"""Returns the observer for the run of a workspace, by the workspace's name."""

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
                hint="remove one of both from the settings, or name only one with --workspace",
            )
        by_key[endpoint] = name
        members.append(Member(name, own, endpoint))
    return tuple(members)


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
    members: Iterable[Member], limits: Mapping[str, RunLimits], observe: Observe, *, few: bool = False
) -> AsyncIterator[dict[str, Session]]:
    """Open a connection to the cloud of every workspace, for the length of the block; share out the descriptors.

    Args:
        members: the workspaces.
        limits: the limits of every run, by workspace.
        observe: returns the observer for the run of a workspace.
        few: whether only few requests are sent, such as for a plan.

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
            )
            sessions[member.name] = await stack.enter_async_context(session)
        try:
            yield sessions
        except OrchestratorError as found:  # else every session would add its address to the hint
            error = found
    if error is not None:
        raise error
