"""Text lines of a story of an audit log, with the time of day and the time since the start."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from orchestrator.report.audit.story import Chapter, Line, seconds_between
from orchestrator.report.audit.terms import verb
from orchestrator.text import plural, safe_text
from orchestrator.times import format_duration

_COLOURS = {"good": "green", "bad": "red", "doubtful": "yellow"}
_OFFSET = 9
_NARROWEST = 20


def story_lines(lines: Sequence[Line], start: str, width: int) -> Iterator[str]:
    """Yield the sentences line by line. A date is shown only on a new day.

    Args:
        lines: the story.
        start: the timestamp of the run's first record.
        width: the columns of a line.
    """
    day = start[:10]
    for line in lines:
        if line.ts[:10] != day:
            day = line.ts[:10]
            yield f"  {safe_text(day, 10)}"
        after = seconds_between(start, line.ts)
        offset = f"+{format_duration(after)}" if after is not None and after >= 0 else ""
        head = f"  {safe_text(line.ts[11:21], 10)} {offset:>{_OFFSET}}  "
        colour = _COLOURS.get(line.tone)
        for number, piece in enumerate(_wrap_sentence(line.text, width, len(head))):
            yield (head if number == 0 else " " * len(head)) + (click.style(piece, fg=colour) if colour else piece)


def _wrap_sentence(text: str, width: int, indent: int) -> list[str]:
    return textwrap.wrap(text, max(width - indent, _NARROWEST), break_on_hyphens=False) or [""]


def chapter_head(chapter: Chapter, width: int) -> Iterator[str]:
    """Format the head of a chapter: the CVM and its outcome."""
    cvm = chapter.cvm
    place = f" on {safe_text(cvm['teepod'], 64)}" if cvm.get("teepod") else ""
    name = f"{safe_text(cvm.get('name'), 64)}  {safe_text(cvm.get('id') or cvm.get('vm_uuid'), 64)}{place}"
    if chapter.step is None:
        result = "skipped"
    else:
        outcome = safe_text(chapter.outcome or "no outcome", 40)
        result = f"to {verb(chapter.action)} in step '{safe_text(chapter.step, 80)}': {outcome}"
    if len(name) + len(result) + 2 <= width:
        yield f"{click.style(name, bold=True)}  {result}"
    else:
        yield click.style(name, bold=True)
        yield from (f"  {piece}" for piece in _wrap_sentence(result, width, 2))


def cut(lines: Sequence[Line], limit: int | None) -> tuple[Sequence[Line], int]:
    """Cut a story to a limit: keep the first and the last sentences, and count the sentences left out."""
    if limit is None or len(lines) <= limit:
        return lines, 0
    last = max(limit // 4, 1)
    return [*lines[: limit - last], *lines[-last:]], len(lines) - limit


def left_out(number: int, what: str) -> str:
    """Format the line below a cut story."""
    return f"  {plural(number, what)} more: --limit N or --all shows them"


def document(lines: Iterable[Line], start: str) -> list[dict[str, Any]]:
    """Build the sentences of `audit show --json`."""
    return [line.document(start) for line in lines]
