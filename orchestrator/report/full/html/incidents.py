"""The section of unusual events."""

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

from orchestrator.report.formatting import after
from orchestrator.report.full.incidents import happened
from orchestrator.report.html.elements import e, section, table

_MOST = 500


def moments(document: Mapping[str, Any]) -> Element | None:
    """Make the section of unusual events; None without events."""
    found = happened(document)
    if not found:
        return None
    body = [[f"{ts[11:19]} UTC", after(at), words] for ts, at, words in found[:_MOST]]
    head = [("at", "nowrap"), ("after", "num"), ("what", "words")]
    rest = len(found) - len(body)
    more = e("p", f"And {rest:,} more, which the JSON document has.") if rest else None
    caption = "Interruptions, approvals, notices and the like"
    return section("moments", "What else happened", table(caption, head, body), more)
