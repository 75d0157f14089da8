"""Load the settings from their sources, and locate errors.

Order: command line, `ORCHESTRATOR_…` in the environment, the vendor's names in the environment, the TOML file, the
defaults.
"""

import difflib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, get_origin

from platformdirs import user_config_path
from pydantic import BaseModel, Field, PrivateAttr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as SourceError

from orchestrator.errors import SettingsError, UsageError
from orchestrator.settings.credentials import Credentials, read_current_profile, read_profile
from orchestrator.settings.error_source import PREFIX, SECRETS, SHORT_NAMES, Given, error_at, locate_fault
from orchestrator.settings.key_command import read_key_from_command
from orchestrator.settings.model import (
    AuditSection,
    BillingSection,
    CloudSection,
    GuardsSection,
    HomeUnknownError,
    LogSection,
    NotifySection,
    RateSection,
    SettleSection,
)
from orchestrator.settings.secret_file import read_secret
from orchestrator.settings.sources import (
    ADDING_UP,
    KEY_SETTINGS,
    NotAListError,
    SettingsOrigin,
    as_list,
    check_owner,
    drop_untrusted,
    get_value,
    list_settings,
    list_sources,
    merge_lists,
    with_value,
)
from orchestrator.settings.toml import read_toml
from orchestrator.validation_messages import format_path, suggest_nearest

_MOST_FINDINGS = 50
_COMMAND_LINE = "command line"


class Settings(BaseSettings):
    """All settings, by section."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    cloud: CloudSection = CloudSection()
    rate: RateSection = RateSection()
    settle: SettleSection = SettleSection()
    guards: GuardsSection = GuardsSection()
    audit: AuditSection = Field(default_factory=AuditSection)
    billing: BillingSection = BillingSection()
    notify: NotifySection = NotifySection()
    log: LogSection = LogSection()

    _origin: SettingsOrigin = PrivateAttr(default_factory=SettingsOrigin)

    @property
    def origin(self) -> SettingsOrigin:
        """The settings file, and the source of every value."""
        return self._origin

    def credentials(self) -> Credentials:
        """Return the API key and its address. A key of a profile goes only to the address of the profile.

        Raises:
            SettingsError: when there is no key, or its source is unusable.
        """
        cloud = self.cloud
        if cloud.profile is not None:
            if self.origin.source_of("cloud.base_url") == _COMMAND_LINE:
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


class _ShortNames(PydanticBaseSettingsSource):
    """The environment variables with short names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Unused: `__call__` returns all values at once."""
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the values, by section."""
        found: dict[str, dict[str, str]] = {}
        for variable, (section, name) in SHORT_NAMES.items():
            if os.environ.get(variable):
                found.setdefault(section, {})[name] = os.environ[variable]
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
    given = _parse_assignments(assignments)
    _refuse_unknown_variables()
    _refuse_two_forms()
    file, is_found = (config, False) if config is not None else find_config()
    if file is not None and is_found:
        check_owner(file)
    text, tree = read_toml(file) if file is not None else ("", {})
    warnings: tuple[str, ...] = ()
    if file is not None and is_found:
        tree, warnings = drop_untrusted(tree, file)
    sources: dict[str, str] = {}
    blame = Given(given, tree, text, file)

    class _Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del init_settings, env_settings, dotenv_settings, file_secret_settings
            environment = _Environment(settings_cls), _ShortNames(settings_cls)
            trees = [given, *(source() for source in environment), tree]
            trees[1], trees[3] = _with_lists(trees[1], blame, 1), _with_lists(trees[3], blame, 3)
            names = (_COMMAND_LINE, "environment", "environment", str(file))
            sources.update(list_sources(list(zip(names, trees, strict=True))))
            together, blame.origins = merge_lists(trees)
            ranked = [_Tree(settings_cls, each) for each in (together, *trees)]
            return tuple(_OneSecret(settings_cls, tuple(ranked[: rank + 1])) for rank in range(len(ranked)))

    try:
        loaded = _Loaded()
    except SourceError as error:
        # Without the cause, because its message repeats the value.
        message = f"the environment can't be read as settings: {error}"
        raise SettingsError(message, hint="write sections and lists as JSON in the environment") from None
    except HomeUnknownError as error:
        hint = "set ORCHESTRATOR_STATE_DIR, or HOME"
        raise SettingsError("the home folder is unknown, so the state folder is unknown too", hint=hint) from error
    except ValidationError as error:
        found = error.errors()
        faults = [locate_fault(fault, Settings, blame) for fault in found[:_MOST_FINDINGS]]
        if len(found) > _MOST_FINDINGS:
            faults.append(SettingsError(f"{len(found) - _MOST_FINDINGS:,} more findings are not listed"))
        first, *rest = faults
        first.more = tuple(rest)
        raise first from None
    loaded._origin = SettingsOrigin(file, is_found, sources, warnings)  # noqa: SLF001 - made above
    return loaded


class _Tree(PydanticBaseSettingsSource):
    """The values of a TOML document already read."""

    def __init__(self, settings_cls: type[BaseSettings], tree: Mapping[str, Any]) -> None:
        super().__init__(settings_cls)
        self._tree = tree

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Unused: `__call__` returns all values at once."""
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the document."""
        return dict(self._tree)


def _with_lists(tree: Mapping[str, Any], blame: Given, source: int) -> dict[str, Any]:
    """Parse the lists in the values of a source.

    Raises:
        SettingsError: when a value is no list.
    """
    found = dict(tree)
    for path in list_settings(Settings):
        value = get_value(found, path)
        if value is not None:
            try:
                found = with_value(found, path, as_list(value))
            except NotAListError as error:
                why, hint = error.args
                raise error_at(path, f"{format_path(path)} {why}", hint, blame, source) from None
    return found


class _Environment(EnvSettingsSource):
    """The environment. A value is JSON only if the value looks like a list or a mapping.

    Otherwise an app_id of digits would become a number, and the name `null` would vanish.
    """

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ANN401 - any JSON
        """Decode the value of a section; a list stays text for `_with_lists`."""
        if get_origin(field.annotation) in {list, tuple}:
            return value
        if not str(value).lstrip().startswith(("[", "{")):
            raise ValueError("neither a list nor a mapping")
        return super().decode_complex_value(field_name, field, value)


class _OneSecret(PydanticBaseSettingsSource):
    """The last of several sources, without any secret and secret file that a higher source sets in either form."""

    def __init__(self, settings_cls: type[BaseSettings], sources: tuple[PydanticBaseSettingsSource, ...]) -> None:
        super().__init__(settings_cls)
        *self._higher, self._source = sources

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Unused: `__call__` returns all values at once."""
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the values of the source."""
        found = self._source()
        for section, secret in SECRETS:
            keys = set(KEY_SETTINGS) if secret == "api_key" else {secret, f"{secret}_file"}  # noqa: S105 - a name
            given = found.get(section)
            if isinstance(given, dict) and any(keys & _keys_of(source, section) for source in self._higher):
                found = {**found, section: {name: value for name, value in given.items() if name not in keys}}
        return found


def _keys_of(source: PydanticBaseSettingsSource, section: str) -> set[str]:
    given = source().get(section)
    return set(given) if isinstance(given, dict) else set()


def _refuse_unknown_variables() -> None:
    """Refuse unknown variables with the prefix of the settings, because a misspelt limit would have no effect.

    Other names with the same prefix are ignored: an orchestrator of containers may set its own variables.
    """
    sections = list(Settings.model_fields)
    for variable in os.environ:
        name = variable.upper()
        if not name.startswith(PREFIX) or name in SHORT_NAMES:
            continue
        rest = name.removeprefix(PREFIX).lower()
        section, delimiter, field = rest.partition("__")
        if section == "guards" and not os.environ[variable].strip():
            raise SettingsError(
                f"environment variable {variable} is empty",
                hint="unset the variable, or give it a value; an empty guard would protect nothing",
            )
        if section in sections:
            continue
        known = [_variable_name(each, name) for each in sections for name in _list_fields(each)] + list(SHORT_NAMES)
        looks_ours = any(rest.startswith(f"{each}_") for each in sections)
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if looks_ours or close or (delimiter and field):
            raise SettingsError(f"unknown environment variable {variable}", hint=suggest_nearest(name, known))


def _refuse_two_forms() -> None:
    """Refuse a merged list in two environment variables, because one of the lists would be lost.

    Raises:
        SettingsError: when a list stands in a variable of its own and in a variable with JSON, or in two with JSON.
    """
    given: dict[str, str] = {}
    for name, value in os.environ.items():
        if value and name.upper().startswith(PREFIX):
            if name.upper() in given:
                message = f"environment variable {name.upper()} is set twice, in capitals and in small letters"
                raise SettingsError(message, hint="unset one of them")
            given[name.upper()] = value
    for path in ADDING_UP:
        splits = ((path[:length], path[length:]) for length in range(1, len(path) + 1))
        variables = ((PREFIX + "__".join(above).upper(), below) for above, below in splits)
        holders = [name for name, below in variables if name in given and _holds_list(given[name], below)]
        if len(holders) > 1:
            raise SettingsError(
                f"environment variables {' and '.join(holders)} both set {format_path(path)}",
                hint="put all entries into one of them",
            )


def _holds_list(text: str, path: tuple[str, ...]) -> bool:
    """Check the value of a variable for a list at a path below the variable's own path."""
    if not path:
        return True
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and get_value(found, path) is not None


def _variable_name(section: str, field: str) -> str:
    return f"{PREFIX}{section}__{field}".upper()


def _list_fields(section: str) -> list[str]:
    model = Settings.model_fields[section].annotation
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _parse_assignments(assignments: tuple[str, ...]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        section, *fields = name.split(".")
        if not equals or not all(fields) or not fields:
            raise UsageError(f"--set {name!r} is not an assignment", hint="write --set SECTION.FIELD=VALUE")
        if section not in Settings.model_fields:
            raise UsageError(
                f"--set {name}: unknown section {section!r}", hint=suggest_nearest(section, Settings.model_fields)
            )
        if tuple(name.split(".")) in SECRETS:
            variable = "PHALA_CLOUD_API_KEY" if name == "cloud.api_key" else _variable_name(section, fields[0])
            raise UsageError(
                f"all users of this machine can read {'a key' if name == 'cloud.api_key' else 'a secret'} on the "
                "command line",
                hint=f"set {variable}, or {name}_file in the settings",
            )
        holder = tree
        for depth, part in enumerate((section, *fields[:-1]), start=1):
            if not isinstance(holder.setdefault(part, {}), dict):
                above = ".".join(name.split(".")[:depth])
                hint = f"write {name.rpartition('.')[0]}.FIELD=VALUE for each field"
                raise UsageError(f"--set {above} and --set {name} exclude each other", hint=hint)
            holder = holder[part]
        holder[fields[-1]] = _assigned_value(tuple(name.split(".")), value, holder.get(fields[-1]))
    return tree


def _assigned_value(path: tuple[str, ...], value: str, before: object) -> object:
    """Return the value of an assignment: entries of a list add up, any other value replaces the earlier value."""
    if path not in set(list_settings(Settings)):
        return value
    try:
        return [*(before if isinstance(before, list) else ()), *as_list(value)]
    except NotAListError as error:
        why, hint = error.args
        raise UsageError(f"--set {format_path(path)}: {value[:60]!r} {why}", hint=hint) from None
