"""What a case came to: rows of figures, each measured several times, and targets that some of them have to reach."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import Spread

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(slots=True)
class Row:
    """One thing that was measured: the orchestrator in some setting, or a yardstick.

    Attributes:
        label: what it is called.
        figures: the values of every run, by a name that ends with the unit.
    """

    label: str
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **values: float | None) -> None:
        """Take in what one run came to; None is left out."""
        for name, value in values.items():
            if value is not None:
                self.figures.setdefault(name, []).append(value)

    def spread(self, name: str) -> Spread | None:
        """The spread of one figure; None where it was never measured."""
        values = self.figures.get(name)
        return Spread.of(values) if values else None


@dataclass(frozen=True, slots=True)
class Target:
    """What to reach: the median of one figure of one row, at most or at least so much."""

    claim: str
    row: str
    figure: str
    limit: float
    at_most: bool = True

    @property
    def reach(self) -> str:
        """The target in signs."""
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}"

    def reached(self, spread: Spread | None) -> bool | None:
        """Whether the median is where it should be; None where nothing was measured."""
        if spread is None:
            return None
        return spread.median <= self.limit if self.at_most else spread.median >= self.limit


@dataclass(slots=True)
class CaseResult:
    """One case.

    Attributes:
        name: how it is called on the command line.
        title: what it is, in words.
        rows: what was measured.
        targets: what to reach.
        notes: what has to be known beside the figures.
    """

    name: str
    title: str
    rows: list[Row] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def row(self, label: str) -> Row:
        """The row of that label, made when it is asked for first."""
        for row in self.rows:
            if row.label == label:
                return row
        self.rows.append(Row(label))
        return self.rows[-1]

    def spread(self, target: Target) -> Spread | None:
        """What a target's figure came to."""
        return self.row(target.row).spread(target.figure)

    def note(self, text: str) -> None:
        """Keep a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def document(self, machine: dict[str, Any], runs: int) -> dict[str, Any]:
        """The same, ready for JSON."""
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
                    "reached": target.reached(self.spread(target)),
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


def write(document: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write the document of one case; returns its file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{document['case']}.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_all(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The documents of every case that has one, by its name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        found[document["case"]] = document
    return found


def case_from(document: dict[str, Any]) -> CaseResult:
    """A case as its document tells it."""
    return CaseResult(
        document["case"],
        document["title"],
        [Row(row["label"], {n: list(f["values"]) for n, f in row["figures"].items()}) for row in document["rows"]],
        [Target(t["claim"], t["row"], t["figure"], t["limit"], t["at_most"]) for t in document["targets"]],
        list(document["notes"]),
    )
