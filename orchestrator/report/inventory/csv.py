"""The inventory as CSV (RFC 4180), a line for every CVM, safe to open in a spreadsheet."""

import csv
from collections.abc import Iterable, Mapping
from io import StringIO
from typing import Any

from orchestrator.report.cells import cell
from orchestrator.runs.inventory_file import COLUMNS


def build_inventory_csv(cvms: Iterable[Mapping[str, Any]]) -> str:
    """Build the CSV text, with the column names in the first line."""
    out, rows = StringIO(), list(cvms)
    columns = [*COLUMNS, *(["workspace_name"] if any("workspace_name" in row for row in rows) else [])]
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([cell(row[column]) for column in columns] for row in rows)
    return out.getvalue()
