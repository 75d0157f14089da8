"""Load the settings from their sources.

Order: command line, `ORCHESTRATOR_…` in the environment, the vendor's names in the environment, the TOML file, the
defaults.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from platformdirs import user_config_path
from pydantic import BaseModel, Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from orchestrator.errors import SettingsError, UsageError
from orchestrator.playbook.value_types import AUTO
from orchestrator.settings.credentials import Credentials, read_current_profile, read_profile
from orchestrator.settings.error_source import EXCLUSIVE, KEY_SETTINGS, error_at, locate_fault
from orchestrator.settings.key_command import read_key_from_command
from orchestrator.settings.merge import COMMAND_LINE, Origin, merge_sources
from orchestrator.settings.model import (
    ApprovalSection,
    AuditSection,
    BillingSection,
    CloudSection,
    GuardsSection,
    HomeUnknownError,
    KeepSection,
    LogSection,
    NotifySection,
    RateSection,
    ServiceSection,
    SettleSection,
    StoreSection,
    WorkerSection,
)
from orchestrator.settings.secret_file import read_secret
from orchestrator.settings.sources import (
    ADDING_UP,
    SettingPaths,
    list_key_groups,
    list_settings,
    locate_files,
    read_assignments,
    read_short_names,
    read_tree,
    read_variables,
)
from orchestrator.settings.toml import check_owner, drop_untrusted, read_toml
from orchestrator.settings.workspaces import WorkspaceName, WorkspaceSection
from orchestrator.times import format_duration
from orchestrator.validation_messages import Place, suggest_nearest

_MOST_FINDINGS = 50


@dataclass(frozen=True, slots=True)
class SettingsOrigin:
    """The origin of the settings.

    Attributes:
        file: the settings file; None without a file.
        is_found: whether the file was found in the current folder, without `--config`.
        sources: the source of every value that is not a default, by name such as `rate.burst`.
        warnings: sentences about settings without effect.
    """

    file: Path | None = None
    is_found: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def source_of(self, *names: str) -> str | None:
        """Return the source of the first of some settings with a value; None for defaults."""
        return next((self.sources[name] for name in names if name in self.sources), None)


class Settings(BaseSettings):
    """All settings, by section."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    cloud: CloudSection = CloudSection()
    rate: RateSection = RateSection()
    settle: SettleSection = SettleSection()
    guards: GuardsSection = GuardsSection()
    keep: KeepSection = KeepSection()
    approval: ApprovalSection = ApprovalSection()
    audit: AuditSection = Field(default_factory=AuditSection)
    billing: BillingSection = BillingSection()
    notify: NotifySection = NotifySection()
    log: LogSection = LogSection()
    store: StoreSection = StoreSection()
    worker: WorkerSection = WorkerSection()
    service: ServiceSection = ServiceSection()
    workspaces: dict[WorkspaceName, WorkspaceSection] = {}

    _workspace_name: str | None = PrivateAttr(default=None)
    _origin: SettingsOrigin = PrivateAttr(default_factory=SettingsOrigin)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the values of the call alone: `load_settings` merges all sources, with the origin of every value."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @property
    def origin(self) -> SettingsOrigin:
        """The settings file, and the source of every value."""
        return self._origin

    @property
    def workspace_name(self) -> str | None:
        """The workspace of these settings by its name in the settings; None for the default key."""
        return self._workspace_name

    def for_workspace(self, name: str) -> Self:
        """Return the settings of a named workspace: its key, address, rate and guards; the rest is shared.

        Raises:
            UsageError: when the settings have no workspace of this name.
        """
        from orchestrator.playbook.guards import merge_guards  # noqa: PLC0415 - most commands name no workspace

        section = self.workspaces.get(name)
        if section is None:
            hint = suggest_nearest(name, self.workspaces) if self.workspaces else f"add a section [workspaces.{name}]"
            raise UsageError(f"the settings have no workspace {name!r}", hint=hint)
        guards = merge_guards(section.guards, self.guards)
        rate = {key: getattr(section, key) for key in ("requests_per_second", "burst")}
        copied = self.model_copy(
            update={
                "cloud": self.cloud.model_copy(
                    update=dict.fromkeys(KEY_SETTINGS) | {"base_url": section.base_url or self.cloud.base_url}
                ),
                "rate": self.rate.model_copy(update={key: each for key, each in rate.items() if each is not None}),
                "guards": self.guards.model_copy(
                    update={key: getattr(guards, key) for key in type(guards).model_fields}
                ),
            }
        )
        copied._workspace_name = name  # noqa: SLF001 - its own class
        return copied

    @property
    def has_default_key(self) -> bool:
        """Whether there is a key without a workspace name, in the settings or in the vendor's credentials."""
        return any(getattr(self.cloud, name) is not None for name in KEY_SETTINGS) or read_current_profile() is not None

    def credentials(self) -> Credentials:
        """Return the API key and its address. A key of a profile goes only to the address of the profile.

        Raises:
            SettingsError: when there is no key, or its source is unusable.
        """
        cloud = self.cloud
        if self.workspace_name is not None:
            return Credentials(cloud.base_url, *self.workspaces[self.workspace_name].read_key(self.workspace_name))
        if cloud.profile is not None:
            if self.origin.source_of("cloud.base_url") == COMMAND_LINE:
                where = self.origin.source_of("cloud.profile")
                raise UsageError(
                    f"the profile ({where}) and --set cloud.base_url exclude each other",
                    hint="remove one of them: a profile has its own address",
                )
            return read_profile(cloud.profile)
        names = [f"cloud.{name}" for name in KEY_SETTINGS]
        source = self.origin.source_of(*names) or "settings"
        if cloud.api_key is not None:
            key = cloud.api_key.get_secret_value()
        elif cloud.api_key_file is not None:
            key, source = read_secret(cloud.api_key_file, "API key"), f"file {cloud.api_key_file} ({source})"
        elif cloud.api_key_command is not None:
            key, source = read_key_from_command(cloud.api_key_command), f"cloud.api_key_command ({source})"
        else:
            return self._read_current_profile()
        return Credentials(cloud.base_url, key, source)

    def find_base_url(self) -> str:
        """Return the address for messages, also without a usable key."""
        if self.workspace_name is not None:
            return self.cloud.base_url
        if self.cloud.profile is None and any(getattr(self.cloud, name) is not None for name in KEY_SETTINGS):
            return self.cloud.base_url
        try:
            return self.credentials().base_url
        except SettingsError:
            return self.cloud.base_url

    def replace_sections(self, **sections: BaseModel) -> Self:
        """Return settings with other sections, given by the caller of the Python API."""
        copied = self.model_copy(update=sections)
        copied._origin = SettingsOrigin()  # noqa: SLF001 - its own class
        return copied

    def key(self) -> str:
        """Return the API key; see `credentials`."""
        return self.credentials().api_key

    def _read_current_profile(self) -> Credentials:
        found = read_current_profile()
        if found is None:
            ignored = "".join(f"; {each}" for each in self.origin.warnings)
            raise SettingsError(
                "there is no API key",
                hint=f"set PHALA_CLOUD_API_KEY, or cloud.api_key_file in the settings; --simulate needs none{ignored}",
            )
        if "base_url" in self.cloud.model_fields_set and self.cloud.base_url != found.base_url:
            raise SettingsError(
                f"there is no API key for the address {self.cloud.base_url}",
                hint=f"set PHALA_CLOUD_API_KEY, or remove the address to use {found.source} with {found.base_url}",
            )
        return found


def find_config() -> tuple[Path | None, bool]:
    """Find the default TOML file: `./config.toml`, otherwise `config.toml` in the user's config folder.

    Returns:
        The file, if any, and whether the file is in the current folder.
    """
    candidates = [Path("config.toml")]
    with suppress(RuntimeError):  # where the home folder is not known, there is no config folder
        candidates.append(user_config_path("orchestrator") / "config.toml")
    for candidate in candidates:
        try:
            if candidate.exists():
                return candidate, candidate == candidates[0]
        except OSError:
            # The file may exist without read permission: the later read reports the error.
            return candidate, candidate == candidates[0]
    return None, False


def load_settings(config: Path | None = None, assignments: tuple[str, ...] = ()) -> Settings:
    """Load the effective settings.

    Args:
        config: a TOML file; None for the file of `find_config`.
        assignments: `section.field=value` from the command line.

    Raises:
        SettingsError: with the invalid file and line, or with the invalid variable.
        UsageError: when an assignment is invalid.
    """
    lists = SettingPaths(list_settings(Settings))
    given = read_assignments(assignments, Settings, lists)
    variables = read_variables(os.environ, Settings, lists)
    file, is_found = (config, False) if config is not None else find_config()
    if file is not None and is_found:
        check_owner(file)
    text, tree = read_toml(file) if file is not None else ("", {})
    warnings: tuple[str, ...] = ()
    if file is not None and is_found:
        tree, warnings = drop_untrusted(tree, file)
    if file is not None:
        tree = locate_files(tree, file.parent)
    in_file = dict(read_tree(tree, Origin(str(file)), lists, text=text))
    sources = (given, variables, read_short_names(os.environ), in_file)
    merged = merge_sources(sources, ADDING_UP, [*EXCLUSIVE, *list_key_groups(sources)])
    try:
        loaded = Settings(**merged.tree)
    except HomeUnknownError as error:
        hint = "set ORCHESTRATOR_STATE_DIR, or HOME"
        raise SettingsError("the home folder is unknown, so the state folder is unknown too", hint=hint) from error
    except ValidationError as error:
        found = error.errors()
        faults = [locate_fault(fault, Settings, merged.origins, text) for fault in found[:_MOST_FINDINGS]]
        if len(found) > _MOST_FINDINGS:
            faults.append(SettingsError(f"{len(found) - _MOST_FINDINGS:,} more findings are not listed"))
        first, *rest = faults
        first.more = tuple(rest)
        raise first from None
    if loaded.store.url is not None:
        _check_lease(loaded, merged.origins, text)
        _check_shared_rate(loaded, merged.origins, text)
    if loaded.approval.keys:
        _check_approval(loaded, merged.origins, text)
    loaded._origin = SettingsOrigin(file, is_found, merged.sources, warnings)  # noqa: SLF001 - made above
    return loaded


def _check_approval(settings: Settings, origins: Mapping[Place, Origin], text: str) -> None:
    """Refuse approvals that no group of people can give.

    Raises:
        SettingsError: when there are too few keys.
    """
    section = settings.approval
    needed = section.at_least + section.not_the_starter
    if len(section.keys) >= needed:
        return
    place = next(place for place in (("approval", "at_least"), ("approval", "keys")) if place in origins)
    starter = ", the key of the starter included" if section.not_the_starter else ""
    message = f"approval.at_least = {section.at_least} needs {needed} keys or more{starter}"
    raise error_at(origins[place], place, message, "add the keys of more people to approval.keys", text)


def _check_lease(settings: Settings, origins: Mapping[Place, Origin], text: str) -> None:
    """Refuse a lease too short for a request: another worker would send the request again.

    Raises:
        SettingsError: when the lease is shorter than twice the timeout of a request.
    """
    lease, timeout = settings.store.lease, settings.cloud.timeout
    if lease >= 2 * timeout:
        return
    places: tuple[Place, ...] = (("store", "lease"), ("cloud", "timeout"), ("store", "url"))
    place = next(place for place in places if place in origins)
    message = f"store.lease ({format_duration(lease)}) is shorter than twice cloud.timeout ({format_duration(timeout)})"
    raise error_at(origins[place], place, message, f"set store.lease to {format_duration(2 * timeout)} or more", text)


def _check_shared_rate(settings: Settings, origins: Mapping[Place, Origin], text: str) -> None:
    """Refuse a rate without a possible share for several machines.

    Raises:
        SettingsError: when a rate is `auto`, or when a burst leaves no room for a delay between two machines.
    """
    sections: dict[Place, RateSection | WorkspaceSection] = {("rate",): settings.rate}
    sections |= {("workspaces", name): each for name, each in settings.workspaces.items()}
    for place, section in sections.items():
        name = ".".join(map(str, place))
        if section.requests_per_second == AUTO:
            at: Place = (*place, "requests_per_second")
            message = f"{name}.requests_per_second is `auto`; the machines of a team store share a fixed rate"
            raise error_at(origins[at], at, message, "set a number of requests per second", text)
        if section.burst == 1:
            at = (*place, "burst")
            message = f"{name}.burst is 1; this leaves no room for delays between the machines of a team store"
            raise error_at(origins[at], at, message, "set a burst of 2 or more", text)
