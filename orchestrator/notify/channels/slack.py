"""The channel to Slack's incoming webhooks, also understood by Mattermost and Discord.

Names and texts of others cannot notify anyone (`<!channel>`, `@here`) and cannot pass for a link or an image, also in
Mattermost and Discord.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from orchestrator.notify.channels.channel import encode_json, load_secret
from orchestrator.notify.notice import Notice
from orchestrator.settings.model import NotifySection, check_webhook_url

_LONGEST_TEXT = 2000
"""Characters. Discord's limit; Slack and Mattermost accept at least twice as many."""
_LONGEST_BLOCK = 3000
"""Characters. Slack's limit for a block."""
_ZERO_WIDTH = "\u200b"
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


@dataclass(frozen=True, slots=True)
class SlackChannel:
    """An incoming webhook of Slack, Mattermost or Discord.

    Attributes:
        url: the address, a secret.
    """

    name: ClassVar[str] = "slack"
    url: str = field(repr=False)

    def write_body(self, notice: Notice) -> bytes:
        """Write the message: a plain text, and the same text as a block with formatting."""
        text = escape_text(notice.text, _LONGEST_TEXT)
        headline, *rest = (escape_text(line, _LONGEST_BLOCK) for line in (notice.headline, *notice.lines))
        commands = (f"`{escape_text(command, 200)}`" for command in notice.commands)
        formatted = "\n".join([f"*{headline}*", *rest, *commands])
        block = formatted if len(formatted) <= _LONGEST_BLOCK else text
        return encode_json(
            {
                "text": text,
                "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": block, "verbatim": True}}],
                "unfurl_links": False,
                "unfurl_media": False,
            }
        )

    def write_headers(self, _notice_id: str, _body: bytes) -> Mapping[str, str]:
        """Write no headers: Slack messages are not signed."""
        return {}


def read_slack(settings: NotifySection) -> SlackChannel | None:
    """Read the Slack channel from the settings, if a Slack URL is set.

    Raises:
        SettingsError: the file of the URL cannot be used.
    """
    url = load_secret(settings.slack_url, settings.slack_url_file, "Slack URL", check_webhook_url)
    return None if url is None else SlackChannel(url)


def escape_text(text: str, width: int) -> str:
    """Escape mentions and disguised links, and cut the text to a width.

    Args:
        text: any text.
        width: number of characters at most, after escaping.
    """
    parts: list[str] = []
    size, before = 0, ""
    for char in text:
        part = _ESCAPED.get(char, char)
        if char == "@":
            part += _ZERO_WIDTH
        elif char == "(" and before == "]":
            part = _ZERO_WIDTH + part
        size += len(part)
        if size > width - 1:
            return "".join(parts) + "…"
        parts.append(part)
        before = char
    return "".join(parts)
