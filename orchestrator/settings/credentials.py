"""Read the credentials file of the vendor's command line: profiles with a key and an address."""

import json
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr, ValidationError

from orchestrator.errors import SettingsError
from orchestrator.settings.model import CloudSection
from orchestrator.settings.secret_file import read_secret
from orchestrator.state_files import read_regular
from orchestrator.validation_messages import suggest_nearest

_SCHEMA_VERSION = 1
_MOST_BYTES = 1_000_000
_OTHERS_MAY_READ = stat.S_IRWXG | stat.S_IRWXO
_LOGIN_AGAIN = "sign in again with the vendor's `phala` command, or set PHALA_CLOUD_API_KEY"


class Credentials(NamedTuple):
    """An API key, and the address for this key.

    Attributes:
        base_url: the base URL, including `/api/v1`.
        api_key: the key; a secret.
        source: the source of the key, for people.
        workspace: the workspace's name by the source; None if unknown.
        user: the user's name by the source; None if unknown.
    """

    base_url: str
    api_key: str
    source: str
    workspace: str | None = None
    user: str | None = None

    def __repr__(self) -> str:
        """Describe the credentials without the key."""
        return f"Credentials(base_url={self.base_url!r}, source={self.source!r})"


def credentials_folder() -> Path | None:
    """Return the folder of the vendor's credentials: `PHALA_CLOUD_DIR`, or `~/.phala-cloud`; None without a home."""
    folder = os.environ.get("PHALA_CLOUD_DIR")
    try:
        return Path(folder).expanduser() if folder else Path.home() / ".phala-cloud"
    except RuntimeError:
        return None


def read_profile(name: str) -> Credentials:
    """Read a profile of the vendor's credentials file.

    Raises:
        SettingsError: when the file or the profile is missing or unusable.
    """
    folder = credentials_folder()
    file = None if folder is None else folder / "credentials.json"
    if file is None or not _exists(file):
        hint = "profiles come from the vendor's `phala` command; PHALA_CLOUD_DIR names another folder"
        raise SettingsError(
            f"profile {name!r} needs the vendor's credentials file, but the file is missing", file=file, hint=hint
        )
    return _pick_profile(_read_profiles(file), name, file)


def read_current_profile() -> Credentials | None:
    """Read the current profile of the vendor's credentials file, or the old file `api-key`; None without both.

    Raises:
        SettingsError: when the file is unusable.
    """
    folder = credentials_folder()
    if folder is None:
        return None
    file, old_file = folder / "credentials.json", folder / "api-key"
    if _exists(file):
        document = _read_profiles(file)
        name = document.get("current_profile")
        if name is None:
            return None
        if not isinstance(name, str):
            raise _unusable(file, "`current_profile` is not text")
        return _pick_profile(document, name, file)
    if _exists(old_file):
        return Credentials(_default_url(), read_secret(old_file, "API key"), f"file {old_file}")
    return None


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:
        return True  # the later read reports the error


def _read_profiles(file: Path) -> dict[str, Any]:
    """Read the file, and check permissions and version."""
    try:
        mode = file.stat().st_mode
        text = read_regular(file, _MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingsError(f"the credentials can't be read: {reason}", file=file) from error
    if mode & _OTHERS_MAY_READ:
        raise SettingsError("others may read these credentials", file=file, hint=f"chmod 600 {file}")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise _unusable(file, "not valid JSON") from None  # without the cause: its text holds the keys
    if not isinstance(document, dict):
        raise _unusable(file, "not a JSON object")
    version = document.get("schema_version")
    if version != _SCHEMA_VERSION or isinstance(version, bool):
        shown = "missing" if version is None else "unknown"
        raise SettingsError(
            f"`schema_version` is {shown}; this program reads version {_SCHEMA_VERSION}",
            file=file,
            hint="update orchestrator, or set PHALA_CLOUD_API_KEY",
        )
    if not isinstance(document.get("profiles"), dict):
        raise _unusable(file, "`profiles` is missing")
    return document


def _pick_profile(document: dict[str, Any], name: str, file: Path) -> Credentials:
    profiles = document["profiles"]
    found = profiles.get(name)
    if found is None:
        raise SettingsError(f"there is no profile {name!r}", file=file, hint=suggest_nearest(name, profiles))
    if not isinstance(found, dict):
        raise _unusable(file, f"profile {name!r} is not an object")
    token, prefix = found.get("token"), found.get("api_prefix")
    if not isinstance(token, str):
        raise _unusable(file, f"profile {name!r} has no `token`")
    if not isinstance(prefix, str | None):
        raise _unusable(file, f"`api_prefix` of profile {name!r} is not text")
    try:
        cloud = CloudSection(api_key=SecretStr(token), base_url=prefix or _default_url())
    except ValidationError as error:
        fault = error.errors()[0]
        key = "token" if "api_key" in fault["loc"] else "api_prefix"
        why = fault["msg"].removeprefix("Value error, ")
        raise _unusable(file, f"`{key}` of profile {name!r} can't be used: {why}") from None
    assert cloud.api_key is not None  # noqa: S101 - for the type checker
    workspace, user = found.get("workspace"), found.get("user")
    workspace = workspace.get("name") if isinstance(workspace, dict) else None
    return Credentials(
        cloud.base_url,
        cloud.api_key.get_secret_value(),
        f"profile {name!r} of {file}",
        workspace if isinstance(workspace, str) else None,
        user if isinstance(user, str) else None,
    )


def _default_url() -> str:
    return str(CloudSection.model_fields["base_url"].default)


def _unusable(file: Path, why: str) -> SettingsError:
    return SettingsError(f"the credentials can't be read: {why}", file=file, hint=_LOGIN_AGAIN)
