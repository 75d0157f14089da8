"""The results as tables for the terminal."""

from collections.abc import Iterable, Sequence

from bench.figures import Spread
from bench.result import CaseResult, Target

_HUNDRED, _TEN, _ONE = 100, 10, 1


def format_number(value: float) -> str:
    """Format a figure with its significant digits."""
    if value == int(value) and abs(value) < _HUNDRED:
        return f"{value:.0f}"
    digits = 0 if abs(value) >= _HUNDRED else 1 if abs(value) >= _TEN else 2 if abs(value) >= _ONE else 3
    return f"{value:,.{digits}f}"


def describe_target(target: Target, spread: Spread | None) -> str:
    """Say in a word if a target was reached."""
    return {True: "yes", False: "no", None: "not measured"}[target.is_reached(spread)]


def figures_table(results: Iterable[CaseResult]) -> str:
    """Make a table of every figure of every row."""
    lines: list[tuple[str, ...]] = [("case", "what", "figure", "median", "min", "max")]
    for result in results:
        for row in result.rows:
            for name in row.figures:
                spread = row.spread(name)
                if spread is not None:
                    words = name.replace("_", " ")
                    lines.append(
                        (result.name, row.label, words, *map(format_number, (spread.median, spread.low, spread.high)))
                    )
    return _columns(lines)


def targets_table(results: Iterable[CaseResult]) -> str:
    """Make a table of every target and its result."""
    lines: list[tuple[str, ...]] = [("case", "what", "figure", "median", "min", "max", "reach", "reached")]
    for result in results:
        for target in result.targets:
            spread = result.spread(target)
            values = (
                ("-",) * 3 if spread is None else tuple(map(format_number, (spread.median, spread.low, spread.high)))
            )
            lines.append(
                (result.name, target.row, target.claim, *values, target.limit_text, describe_target(target, spread))
            )
    return _columns(lines)


def _columns(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)
