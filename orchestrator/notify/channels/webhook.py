"""The channel to a webhook for programs: a JSON document, signed after Standard Webhooks."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from orchestrator.errors import SettingsError
from orchestrator.notify.channels.channel import encode_json, load_secret
from orchestrator.notify.notice import Notice
from orchestrator.notify.signature import sign_headers
from orchestrator.settings.model import NotifySection, check_webhook_secret, check_webhook_url


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """A webhook for programs.

    Attributes:
        url: the address, a secret.
        secret: the signing key; None for unsigned notices.
    """

    name: ClassVar[str] = "webhook"
    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)

    def write_body(self, notice: Notice) -> bytes:
        """Write the JSON document of a notice."""
        return encode_json({"id": notice.id, "text": notice.text, **notice.facts})

    def write_headers(self, notice_id: str, body: bytes) -> Mapping[str, str]:
        """Write the id, the time and the signature of this attempt."""
        return sign_headers(notice_id, body, at=int(time.time()), secret=self.secret)


def read_webhook(settings: NotifySection) -> WebhookChannel | None:
    """Read the webhook from the settings, if a webhook URL is set.

    Raises:
        SettingsError: a file cannot be used, or a secret is set without a URL.
    """
    url = load_secret(settings.webhook_url, settings.webhook_url_file, "webhook URL", check_webhook_url)
    key = load_secret(settings.webhook_secret, settings.webhook_secret_file, "webhook secret", check_webhook_secret)
    if url is None and key is not None:
        raise SettingsError(
            "notify.webhook_secret has nothing to sign: notify.webhook_url is not set",
            hint="Slack messages are not signed",
        )
    return None if url is None else WebhookChannel(url, key)
