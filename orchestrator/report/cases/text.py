"""Results of cases for people: a line for every case, and the differences of failed cases."""

import textwrap
from collections.abc import Iterator, Sequence

from orchestrator.report.cases.document import FileResult, Totals
from orchestrator.runs.cases.compare import Difference
from orchestrator.text import plural, safe_text

_INDENT = "    "
_MOST_ENTRIES = 20
_DETAILS = {"targets": "step", "skipped": "code", "guards": "guard"}
_LEGEND = "- expected, but missing   + not expected"


def list_lines(files: Sequence[FileResult], untested: Sequence[str], width: int) -> Iterator[str]:
    """Yield the lines of a report; `ok`, `FAILED`, `-` and `+` begin the lines of interest.

    Args:
        files: the results of all files.
        untested: names of the playbooks without cases.
        width: the width of the terminal, in characters.
    """
    for file in files:
        yield safe_text(file.file, 4096)
        if file.error is not None:
            yield "  broken; see the error below"
        for result in file.results:
            name = safe_text(result.name, 400)
            if result.is_ok:
                yield f"  ok      {name}"
                continue
            yield f"  FAILED  {name} (line {result.line})"
            for difference in result.differences:
                yield from describe_difference(difference, width, _INDENT)
        yield ""
    if Totals.count(files).failed:
        yield _LEGEND
    yield summarize(files)
    if untested:
        text = f"Without cases: {', '.join(safe_text(each, 100) for each in untested)}"
        yield from textwrap.wrap(text, width, break_on_hyphens=False)


def summarize(files: Sequence[FileResult]) -> str:
    """Count the cases: `5 cases: 4 ok, 1 failed`."""
    totals = Totals.count(files)
    broken = f"; {plural(totals.broken, 'broken file')}" if totals.broken else ""
    return f"{plural(totals.ok + totals.failed, 'case')}: {totals.ok} ok, {totals.failed} failed{broken}"


def describe_difference(difference: Difference, width: int, indent: str = "") -> Iterator[str]:
    """Yield the lines about a difference: `-` for a missing entry, `+` for an unexpected entry."""
    kind = _DETAILS.get(difference.key, "")
    detail = f", {kind} {safe_text(difference.detail, 200)}" if difference.detail else ""
    yield from _wrap(f"{difference.key}{detail}", difference.message, width, indent)
    for mark, entries, otherwise in (
        ("-", difference.missing, "expected, but missing"),
        ("+", difference.unexpected, "not expected"),
    ):
        for entry, why in entries[:_MOST_ENTRIES]:
            yield from _wrap(f"{mark} {safe_text(entry, 200)}", why or otherwise, width, f"{indent}  ")
        if len(entries) > _MOST_ENTRIES:
            yield f"{indent}  {mark} and {len(entries) - _MOST_ENTRIES:,} more; `--json` lists all"


def _wrap(head: str, sentence: str, width: int, indent: str) -> list[str]:
    """Wrap a sentence after its head; the head itself stays whole."""
    first = f"{indent}{head}:" if sentence else f"{indent}{head}"
    rest = f"{indent}{_INDENT}"
    room = max(width - len(rest), 20)
    words = safe_text(sentence, 1000)
    if len(first) + 1 + len(words) <= width:
        return [f"{first} {words}".rstrip()]
    lines = textwrap.wrap(words, room, break_on_hyphens=False, break_long_words=False)
    return [first, *(f"{rest}{line}" for line in lines)]
