"""The section of the bill by app and by teepod: ended rates, continuing rates, and charges."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from orchestrator.report.formatting import dollars, per_hour
from orchestrator.report.full.phrases import CHARGES, amount_charged, amount_expected, charged_words, named
from orchestrator.report.html.elements import Cell, Content, e, section, table
from orchestrator.safe_text import safe_text

_OPEN_SHOWN = 50
_GROUPS_SHOWN = 40


def billing(document: Mapping[str, Any]) -> Element:
    """Make the section of the bill."""
    bill = document["billing"]
    total = bill["total"]
    if not total["stops"] and not total["starts"]:
        return section("billing", "Billing", e("p", "Nothing was accepted, so the bill is as it was."))
    return section(
        "billing",
        "Billing",
        e("p", CHARGES),
        e("p", f"Charged: {charged_words(total['charged'])}.") if total["stops"] else None,
        *_groups("app", bill["by_app"], total),
        *_groups("teepod", bill["by_teepod"], total),
        *_pending(bill["not_charged_yet"]),
        _notes(bill["notes"]),
    )


def _groups(by: str, groups: Sequence[Mapping[str, Any]], total: Mapping[str, Any]) -> list[Content]:
    head = [
        (by, ""),
        ("stops", "num"),
        ("compute ended, an hour (estimated)", "num"),
        ("compute of CVMs not seen down, an hour (estimated)", "num"),
        ("storage goes on, an hour (estimated)", "num"),
        ("charge expected (estimated)", "num"),
        ("charged (observed)", "num"),
        ("pending or not asked", "num"),
    ]
    if total["starts"]:
        head.append(("compute begun, an hour (estimated)", "num"))
    rows = [_row(safe_text(each["name"] or each["key"] or f"no {by}", 64), each, total) for each in groups]
    contents: list[Content] = [e("h3", f"By {by}")]
    contents.append(table(f"Billing by {by}", head, rows[:_GROUPS_SHOWN], _row("all", total, total)))
    if len(rows) > _GROUPS_SHOWN:
        rest = table(f"Billing by {by}, the others", head, rows[_GROUPS_SHOWN:])
        contents.append(e("details", e("summary", f"The other {len(rows) - _GROUPS_SHOWN:,} {by}s"), rest))
    return contents


def _row(name: str, sums: Mapping[str, Any], total: Mapping[str, Any]) -> list[Cell]:
    charged = sums["charged"]
    cells: list[Cell] = [
        name,
        f"{sums['stops']:,}",
        per_hour(sums["ended"], "compute"),
        per_hour(sums["pending"], "compute"),
        per_hour(sums["ended"], "storage"),
        amount_expected(charged),
        amount_charged(charged),
        f"{charged['pending'] + charged['not_asked']:,}",
    ]
    return [*cells, per_hour(sums["begun"], "compute")] if total["starts"] else cells


def _pending(waiting: Sequence[Mapping[str, Any]]) -> list[Content]:
    pending = [each for each in waiting if each["state"] == "pending"]
    if not pending:
        return []
    head = [("CVM", ""), ("expected (estimated)", "num"), ("why", "words")]
    rows: list[list[Cell]] = [
        [safe_text(named(each), 120), dollars(each["expected_usd"]), safe_text(each["reason"], 300)] for each in pending
    ]
    rest = len(rows) - _OPEN_SHOWN
    return [
        e("h3", "Charges still pending"),
        table("Stops whose charge has not come yet", head, rows[:_OPEN_SHOWN]),
        e("p", f"And {rest:,} more, which the JSON document has.") if rest > 0 else None,
    ]


def _notes(notes: Sequence[Mapping[str, Any]]) -> Element | None:
    if not notes:
        return None
    rows: list[list[Cell]] = [[each["meaning"] or each["code"], f"{each['count']:,}"] for each in notes]
    heading = [("what the notes of the accepted actions say", "words"), ("CVMs", "num")]
    return table("Billing notes", heading, rows)
