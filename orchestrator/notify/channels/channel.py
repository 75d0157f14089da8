"""The parts common to all channels: their interface, their secrets and their JSON."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from orchestrator.errors import SettingsError
from orchestrator.notify.notice import Notice
from orchestrator.settings.secret_file import read_secret


class Channel(Protocol):
    """An address for notices, with the form of its messages."""

    @property
    def name(self) -> str:
        """The name in warnings. Never the URL: the URL is a secret."""
        ...

    @property
    def url(self) -> str:
        """The address, a secret."""
        ...

    def write_body(self, notice: Notice) -> bytes:
        """Write the JSON body for a notice."""
        ...

    def write_headers(self, notice_id: str, body: bytes) -> Mapping[str, str]:
        """Write the extra headers for a notice id and a body."""
        ...


def load_secret(
    given: SecretStr | None, file: Path | None, description: str, check: Callable[[SecretStr], SecretStr]
) -> str | None:
    """Read a secret from its setting, else from its file, if any is set.

    Args:
        given: the value of the setting.
        file: the file of the other setting.
        description: the name of the secret in errors.
        check: raises `ValueError` for an invalid value from the file.

    Raises:
        SettingsError: the file cannot be used, or its value is invalid.
    """
    if given is not None:
        return given.get_secret_value()
    if file is None:
        return None
    text = read_secret(file, description)
    try:
        check(SecretStr(text))
    except ValueError as error:
        raise SettingsError(f"the {description} in it {error}", file=file) from None
    return text


def encode_json(document: Mapping[str, Any]) -> bytes:
    """Encode a document as JSON in ASCII."""
    return json.dumps(document).encode("ascii")
