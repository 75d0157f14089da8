"""Cells of CSV, of which none can be taken for a formula, and none holds a character that is not shown."""

from decimal import Decimal

from orchestrator.safe_text import safe_text

_LONGEST = 32_000
"""Characters; a cell of the usual spreadsheets holds 32767."""

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What a cell begins with that a spreadsheet may take for a formula; the last four are the wide forms of the first."""


def cell(value: object) -> str:
    """A value for a cell; text that a spreadsheet takes for a formula is led by an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return str(value)
    text = safe_text(value, _LONGEST)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
