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


def recipients(settings: Notify) -> tuple[list[Recipient], list[SettingsError]]:
    """Whom to tell, and why others can't be told: a file that can't be used, or a secret that has nothing to sign.

    Such faults are handed back rather than raised: that somebody can't be told is no reason not to stop anything.
    """
    found: list[Recipient] = []
    faults: list[SettingsError] = []
    for read in (_webhook, _slack):
        try:
            recipient = read(settings)
        except SettingsError as fault:
            faults.append(fault)
        else:
            found += [] if recipient is None else [recipient]
    return found, faults


def _webhook(settings: Notify) -> Recipient | None:
    url = _secret(settings.webhook_url, settings.webhook_url_file, "webhook URL", check_webhook_url)
    key = _secret(settings.webhook_secret, settings.webhook_secret_file, "webhook secret", check_webhook_secret)
    if url is None and key is not None:
        raise SettingsError("notify.webhook_secret has nothing to sign", hint="Slack's messages are not signed")
    return None if url is None else Recipient("webhook", url, key)


def _slack(settings: Notify) -> Recipient | None:
    url = _secret(settings.slack_url, settings.slack_url_file, "Slack URL", check_webhook_url)
    return None if url is None else Recipient("slack", url)


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
