"""The workspaces of a fleet run, each with its own settings, address and key."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.errors import UsageError
from orchestrator.runs.session import Endpoint
from orchestrator.settings.load import Settings


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
        found = own.credentials()
        endpoint = Endpoint(found.base_url, found.api_key)
        if endpoint in by_key:
            raise UsageError(
                f"workspaces {by_key[endpoint]} and {name} have the same API key",
                hint="remove one of both from the settings, or name only one with --workspace",
            )
        by_key[endpoint] = name
        members.append(Member(name, own, endpoint))
    return tuple(members)
