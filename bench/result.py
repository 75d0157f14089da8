"""The result of a case: rows of figures, measured several times each, and targets for some figures."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import Spread

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(slots=True)
class Row:
    """One measured thing: the orchestrator in some setting, or a yardstick.

    Attributes:
        label: its name.
        figures: the values of every run, by the name of the figure, which ends with the unit.
    """

    label: str
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add_values(self, **values: float | None) -> None:
        """Add the figures of one run; None is left out."""
        for name, value in values.items():
            if value is not None:
                self.figures.setdefault(name, []).append(value)

    def spread(self, name: str) -> Spread | None:
        """The spread of one figure; None without measurements."""
        values = self.figures.get(name)
        return Spread.of(values) if values else None


@dataclass(frozen=True, slots=True)
class Target:
    """A target: the median of one figure of one row, at most or at least `limit`."""

    claim: str
    row: str
    figure: str
    limit: float
    at_most: bool = True

    @property
    def limit_text(self) -> str:
        """The limit with its sign."""
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}"

    def is_reached(self, spread: Spread | None) -> bool | None:
        """Tell if the median meets the limit; None without measurements."""
        if spread is None:
            return None
        return spread.median <= self.limit if self.at_most else spread.median >= self.limit


@dataclass(slots=True)
class CaseResult:
    """The result of one case.

    Attributes:
        name: its name on the command line.
        title: its description.
        rows: the measurements.
        targets: the targets.
        notes: facts needed to read the figures.
    """

    name: str
    title: str
    rows: list[Row] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def row(self, label: str) -> Row:
        """Find the row of that label, or add the row."""
        for row in self.rows:
            if row.label == label:
                return row
        self.rows.append(Row(label))
        return self.rows[-1]

    def spread(self, target: Target) -> Spread | None:
        """The spread of a target's figure."""
        return self.row(target.row).spread(target.figure)

    def add_note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def to_document(self, machine: dict[str, Any], runs: int) -> dict[str, Any]:
        """Make the JSON document of the result."""
        return {
            "case": self.name,
            "title": self.title,
            "runs": runs,
            "machine": machine,
            "rows": [
                {
                    "label": row.label,
                    "figures": {name: _spread_document(values) for name, values in row.figures.items()},
                }
                for row in self.rows
                if row.figures
            ],
            "targets": [
                {
                    "claim": target.claim,
                    "row": target.row,
                    "figure": target.figure,
                    "limit": target.limit,
                    "at_most": target.at_most,
                    "reached": target.is_reached(self.spread(target)),
                }
                for target in self.targets
            ],
            "notes": self.notes,
        }


def _spread_document(values: list[float]) -> dict[str, Any]:
    spread = Spread.of(values)
    return {
        "median": round(spread.median, 4),
        "min": round(spread.low, 4),
        "max": round(spread.high, 4),
        "values": [round(value, 4) for value in values],
    }


def write_document(document: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write the document of one case; return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{document['case']}.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_documents(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Read the documents of all cases, by name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        found[document["case"]] = document
    return found


def read_case(document: dict[str, Any]) -> CaseResult:
    """Make a case from its document."""
    return CaseResult(
        document["case"],
        document["title"],
        [Row(row["label"], {n: list(f["values"]) for n, f in row["figures"].items()}) for row in document["rows"]],
        [Target(t["claim"], t["row"], t["figure"], t["limit"], t["at_most"]) for t in document["targets"]],
        list(document["notes"]),
    )
