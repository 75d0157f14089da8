"""Whom the settings name to be told, with their secrets read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from orchestrator.errors import SettingsError
from orchestrator.settings.load import read_secret
from orchestrator.settings.model import Notify, check_webhook_secret, check_webhook_url


@dataclass(frozen=True, slots=True)
class Recipient:
    """One place that is told.

    Attributes:
        name: `webhook` or `slack`: what it is called in warnings, and in which form it is told.
        url: where to; a secret.
        secret: what is signed with; None where nothing is.
    """

    name: Literal["webhook", "slack"]
    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)


def recipients(settings: Notify) -> tuple[Recipient, ...]:
    """Whom to tell.

    Raises:
        SettingsError: when a file can't be used, or a secret has nothing to sign.
    """
    webhook = _secret(settings.webhook_url, settings.webhook_url_file, "webhook URL", check_webhook_url)
    key = _secret(settings.webhook_secret, settings.webhook_secret_file, "webhook secret", check_webhook_secret)
    slack = _secret(settings.slack_url, settings.slack_url_file, "Slack URL", check_webhook_url)
    if key is not None and webhook is None:
        raise SettingsError(
            "notify.webhook_secret has nothing to sign", hint="set notify.webhook_url; Slack's messages are not signed"
        )
    found: list[Recipient] = []
    if webhook is not None:
        found.append(Recipient("webhook", webhook, key))
    if slack is not None:
        found.append(Recipient("slack", slack))
    return tuple(found)


def _secret(
    given: SecretStr | None, file: Path | None, what: str, check: Callable[[SecretStr], SecretStr]
) -> str | None:
    if given is not None:
        return given.get_secret_value()
    if file is None:
        return None
    text = read_secret(file, what)
    try:
        check(SecretStr(text))
    except ValueError as error:
        raise SettingsError(f"the {what} in it {error}", file=file) from None
    return text
