"""The sections of failures, of guards, and of the CVMs left alone."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from orchestrator.report.full.phrases import done, guard_words, left_alone, named, troubled, why
from orchestrator.report.html.elements import Cell, Content, e, section, table
from orchestrator.safe_text import safe_text

_SHOWN = 100
_NAMES = 20


def failures(document: Mapping[str, Any]) -> Element:
    """Make the section of failed targets, in the API's own words if available, and of targets not sent."""
    found = troubled(document)
    unsent = [target for target in document["targets"] if target["stage"] == "not_sent"]
    contents: list[Content] = []
    if found:
        contents.append(_failed("CVMs that did not end as wanted", found[:_SHOWN]))
    for first in range(_SHOWN, len(found), _SHOWN):
        part = found[first : first + _SHOWN]
        title = f"{first + 1:,} to {first + len(part):,} of {len(found):,}"
        contents.append(e("details", e("summary", f"CVMs that did not end as wanted, {title}"), _failed(title, part)))
    if unsent:
        contents.append(e("p", f"{len(unsent):,} CVMs were not sent: {_names([named(each) for each in unsent])}."))
    if not contents:
        contents.append(e("p", "None."))
    return section("failures", "Failures", *contents)


def _failed(caption: str, targets: Sequence[Mapping[str, Any]]) -> Element:
    head = [
        ("CVM", ""),
        ("teepod", ""),
        ("outcome", "nowrap"),
        ("why, in the API's words where it said some", "words"),
        ("last seen", ""),
        ("action", ""),
        ("request", "id"),
    ]
    return table(caption, head, map(_failure, targets))


def _failure(target: Mapping[str, Any]) -> list[Cell]:
    cvm = target["cvm"]
    return [
        [safe_text(named(target), 120), e("span", safe_text(cvm["id"] or cvm["vm_uuid"], 40), cls="sub mono")],
        safe_text(cvm["teepod"], 64),
        f"✗ {target['stage']}",
        safe_text(why(target), 600),
        safe_text(target["status"], 40),
        done(target),
        safe_text(target["request_id"], 64),
    ]


def guards(document: Mapping[str, Any]) -> Element:
    """Make the section of the plan's guards and warnings."""
    rows = [
        [guard["name"], guard_words(guard), "✓ kept" if guard["ok"] else "✗ broken"] for guard in document["guards"]
    ]
    head = [("guard", ""), ("value and limit", ""), ("verdict", "nowrap")]
    warnings = [e("li", safe_text(each, 400)) for each in document["warnings"]]
    return section(
        "guards",
        "Guards",
        table("Guards of the plan", head, rows) if rows else e("p", "No guard was set."),
        *((e("h3", "Warnings of the plan"), e("ul", *warnings)) if warnings else ()),
    )


def skipped(document: Mapping[str, Any]) -> Element:
    """Make the section of CVMs left alone, by reason."""
    groups = left_alone(document)
    if not groups:
        return section("skipped", "Left alone", e("p", "No CVM that was read was left alone."))
    rows: list[list[Cell]] = [
        [safe_text(reason, 300), f"{count:,}", _names(names, count)] for reason, count, names in groups
    ]
    total = sum(count for _, count, _ in groups)
    head = [("reason", "words"), ("CVMs", "num"), ("names", "words")]
    return section("skipped", "Left alone", table("CVMs that were left alone", head, rows, ["all", f"{total:,}", ""]))


def _names(names: Sequence[str], count: int | None = None) -> str:
    listed = ", ".join(safe_text(name, 64) for name in names[:_NAMES])
    rest = (count or len(names)) - min(_NAMES, len(names))
    return f"{listed} and {rest:,} more" if rest else listed
