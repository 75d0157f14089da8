"""Named workspaces of the settings: a key, an address, a rate and guards for each; and the choice by patterns."""

import os
import re
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Self

from pydantic import AfterValidator, SecretStr, TypeAdapter, ValidationError, model_validator

from orchestrator.documented_model import DocumentedModel
from orchestrator.errors import SettingsError, UsageError
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.value_types import Count, RateOrAuto
from orchestrator.settings.model import ApiKey, BaseUrl, SecretPath
from orchestrator.settings.secret_file import read_secret
from orchestrator.validation_messages import suggest_nearest

_NAME = re.compile(r"(?!.*__)[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_VARIABLE = re.compile(r"(?!phak_)[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def _check_name(name: str) -> str:
    # A dot separates the parts of a setting, and two underscores separate the parts of a variable.
    if not _NAME.fullmatch(name):
        raise ValueError("a name has at most 64 letters, digits, `-` and single `_`, and begins with a letter or digit")
    return name


def _check_variable(name: str) -> str:
    # The message never repeats the name: a wrong name may be the key itself.
    if not _VARIABLE.fullmatch(name):
        raise ValueError("must be the name of an environment variable, not the key itself")
    return name


WorkspaceName = Annotated[str, AfterValidator(_check_name)]
"""Name of a workspace in settings, options and documents: letters, digits, `_` and `-`."""


class WorkspaceSection(DocumentedModel):
    """Key, address, rate and guards of one workspace: `[workspaces.NAME]`."""

    api_key_file: SecretPath | None = None
    """File with only the workspace's key, readable only by its owner."""
    api_key_env: Annotated[str, AfterValidator(_check_variable)] | None = None
    """Environment variable with the workspace's key."""
    base_url: BaseUrl | None = None
    """The API's address for this workspace; default: `cloud.base_url`."""
    requests_per_second: RateOrAuto | None = None
    """The workspace's rate, shared by all its runs on this machine; default: `rate.requests_per_second`."""
    burst: Count | None = None
    """Requests sent at once after a pause; default: `rate.burst`."""
    guards: Guards = Guards()
    """Guards for this workspace. The stricter of these, the settings' and the playbook's guards hold."""

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if (self.api_key_file is None) == (self.api_key_env is None):
            raise ValueError("needs either api_key_file or api_key_env")
        return self

    def read_key(self, name: str) -> tuple[str, str]:
        """Read the key of the workspace with this name.

        Returns:
            The key, and its source for people.

        Raises:
            SettingsError: when the file or the variable is missing or unusable; the error names the workspace.
        """
        if self.api_key_file is not None:
            key = read_secret(self.api_key_file, f"API key of workspace {name}")
            return key, f"file {self.api_key_file} (workspaces.{name}.api_key_file)"
        assert self.api_key_env is not None  # noqa: S101 - checked by the model
        value = os.environ.get(self.api_key_env, "")
        if not value.strip():
            raise SettingsError(
                f"there is no API key of workspace {name}: environment variable {self.api_key_env} is not set",
                hint=f"set {self.api_key_env}, or name a file: workspaces.{name}.api_key_file",
            )
        try:
            found = TypeAdapter(ApiKey).validate_python(SecretStr(value))
        except ValidationError as error:
            why = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise SettingsError(f"environment variable {self.api_key_env}, key of workspace {name}: {why}") from None
        return found.get_secret_value(), f"environment variable {self.api_key_env} (workspaces.{name}.api_key_env)"


def match_workspaces(
    known: Collection[str], patterns: Iterable[str], source: str, *, place: str = "the settings"
) -> tuple[str, ...]:
    """Return the names matching a pattern, in the order of the settings. Case counts.

    Args:
        known: the names of the settings.
        patterns: names; `*` and `?` are wildcards.
        source: the source of the patterns, for the error.
        place: the place of the names, for the error.

    Raises:
        UsageError: when a pattern matches no name.
    """
    patterns = tuple(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            hint = suggest_nearest(pattern, known) if known else "add a section [workspaces.NAME] to the settings"
            raise UsageError(f"{source} {pattern!r} matches no workspace of {place}", hint=hint)
    return tuple(name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns))
