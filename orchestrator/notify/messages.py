"""A notice as what goes over the wire: a JSON document for programs, or a message as Slack takes them. Pure.

In a message, what others named can't ping anybody (`<!channel>`, `@here`), nor pose as a link or an image, also where
Mattermost or Discord read it.
"""

import json
from typing import Any

from orchestrator.notify.notice import Notice

_LONGEST_TEXT = 2000
"""Characters; Discord takes no more, Slack and Mattermost twice as many and beyond."""
_LONGEST_BLOCK = 3000
"""Characters that Slack takes in one block."""
_ZERO_WIDTH = "\u200b"
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def webhook_body(notice: Notice) -> bytes:
    """The JSON document for a webhook of one's own."""
    return _json({"id": notice.id, "text": _text(notice), **notice.facts})


def slack_body(notice: Notice) -> bytes:
    """The message for an incoming webhook of Slack's kind."""
    lines = [notice.headline, *notice.lines, *notice.commands]
    text = escaped("\n".join(lines), _LONGEST_TEXT)
    headline, *rest = (escaped(line, _LONGEST_BLOCK) for line in (notice.headline, *notice.lines))
    safe_text = "\n".join([f"*{headline}*", *rest, *(f"`{escaped(command, 200)}`" for command in notice.commands)])
    block = safe_text if len(safe_text) <= _LONGEST_BLOCK else text
    return _json(
        {
            "text": text,
            "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": block, "verbatim": True}}],
            "unfurl_links": False,
            "unfurl_media": False,
        }
    )


def escaped(text: str, width: int) -> str:
    """Text that stays text: no mentions, no links but those that show where they lead; cut to a width.

    Args:
        text: anything.
        width: characters at the most, after escaping.
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


def _text(notice: Notice) -> str:
    return "\n".join([notice.headline, *notice.lines, *notice.commands])


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode("ascii")
