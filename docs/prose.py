"""Measure how plainly the code reads: `make prose` prints the figures for each folder and fails above a limit.

Three figures, in per cent: docstring summaries with a relative clause, docstring summaries with a bare pronoun, and
function names of one word. A summary is the first paragraph of a docstring. The limits hold for the whole package.
"""  # noqa: INP001 - a script, not a package

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "orchestrator"

RELATIVE = re.compile(r"\b(that|what|which|whose|who|whom|where|whether)\b", re.IGNORECASE)
PRONOUN = re.compile(
    r"\b(it|one|them|they|those|each|such|none|nobody|somebody|whoever|everybody)\b",
    re.IGNORECASE,
)

MOST_RELATIVE = 31
MOST_PRONOUNS = 18
MOST_ONE_WORD = 40


@dataclass(slots=True)
class Sample:
    """The docstring summaries and function names of some modules."""

    summaries: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def add(self, other: "Sample") -> None:
        """Add the texts of another sample."""
        self.summaries += other.summaries
        self.names += other.names

    @property
    def relative(self) -> float:
        """Share of summaries with a relative clause, in per cent."""
        return share(self.summaries, RELATIVE)

    @property
    def pronouns(self) -> float:
        """Share of summaries with a bare pronoun, in per cent."""
        return share(self.summaries, PRONOUN)

    @property
    def one_word(self) -> float:
        """Share of function names of one word, in per cent; names with double underscores count as longer."""
        single = sum("_" not in name.strip("_") and not name.startswith("__") for name in self.names)
        return 100 * single / max(1, len(self.names))

    def __str__(self) -> str:
        return f"{self.relative:5.1f} {self.pronouns:5.1f} {self.one_word:5.1f}  {len(self.summaries):5}"


def share(texts: list[str], pattern: re.Pattern[str]) -> float:
    """Share of texts in which a pattern occurs, in per cent."""
    return 100 * sum(bool(pattern.search(text)) for text in texts) / max(1, len(texts))


def read_sample(source: str) -> Sample:
    """Collect the summaries and function names of one module."""
    sample = Sample()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            sample.names.append(node.name)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and (
            text := ast.get_docstring(node)
        ):
            sample.summaries.append(text.strip().split("\n\n")[0].replace("\n", " "))
    return sample


def measure_folders(package: Path) -> Iterator[tuple[str, Sample]]:
    """Measure each folder of a package, and last the package as a whole."""
    total = Sample()
    folders: dict[str, Sample] = {}
    for file in sorted(package.rglob("*.py")):
        sample = read_sample(file.read_text())
        parts = file.relative_to(package).parts
        folders.setdefault(parts[0] if len(parts) > 1 else ".", Sample()).add(sample)
        total.add(sample)
    yield from folders.items()
    yield "all", total


def main() -> int:
    """Print a table; return 1 when the package as a whole is above a limit."""
    print("relative pronoun one-word summaries  folder (per cent)")  # noqa: T201 - the figures are the output
    total = Sample()
    for name, sample in measure_folders(PACKAGE):
        print(f"{sample}  {name}")  # noqa: T201 - the figures are the output
        total = sample
    print(f"limits: {MOST_RELATIVE}, {MOST_PRONOUNS}, {MOST_ONE_WORD}")  # noqa: T201 - the figures are the output
    too_high = total.relative > MOST_RELATIVE or total.pronouns > MOST_PRONOUNS or total.one_word > MOST_ONE_WORD
    return int(too_high)


if __name__ == "__main__":
    sys.exit(main())
