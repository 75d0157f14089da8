"""Cells of CSV files, safe to open in a spreadsheet: no formulas and no invisible characters."""

from decimal import Decimal

from orchestrator.text import safe_text

_LONGEST = 32_000
"""Characters; a cell of the usual spreadsheets holds 32767."""

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""First characters of a formula in a spreadsheet; the last four are the wide forms of the first."""


def cell(value: object) -> str:
    """Format a value as a CSV cell. Text like a formula gets a leading apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return str(value)
    text = safe_text(value, _LONGEST)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
