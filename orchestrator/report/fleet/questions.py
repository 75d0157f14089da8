"""The open questions of a fleet run, for a person."""

from collections.abc import Mapping
from datetime import datetime

from rich.console import Console
from rich.text import Text

from orchestrator.audit.events import ApprovalRequested
from orchestrator.audit.replay import RunState
from orchestrator.report.layout import Column, print_lines, print_table, prose_lines
from orchestrator.text import safe_text
from orchestrator.times import format_clock, format_duration, parse_timestamp

_MOST_LINES = 10
_WIDTH = 400


def print_questions(console: Console, asked: Mapping[str, tuple[RunState, ApprovalRequested]], now: datetime) -> None:
    """Print every question once, then a row for every waiting run.

    Args:
        console: the console to print on.
        asked: the state and the open question of every waiting run, by workspace.
        now: the current time, in UTC.
    """
    for step, text in dict.fromkeys((each.step, each.question) for _, each in asked.values()):
        print_lines(console, prose_lines(console, Text(f"step {safe_text(step, 60)}", "dim")))
        for line in text.strip().splitlines()[:_MOST_LINES]:
            console.print(Text(f"  {safe_text(line, _WIDTH)}", "bold yellow"))
        console.print()
    columns = [Column("workspace", wraps=True), Column("run", rank=1), Column("step", wraps=True)]
    columns += [Column("so far", rank=2), Column("until")]
    rows: list[list[str | Text]] = []
    for name, (state, question) in asked.items():
        so_far = ", ".join(f"{count} {stage}" for stage, count in state.stages.items() if count and stage != "waiting")
        ends_at = parse_timestamp(question.expires_at)
        left = format_duration(max(0, round((ends_at - now).total_seconds())))
        until = f"{format_clock(ends_at, now)} ({left})"
        place = [safe_text(name, 64), safe_text(state.run_id), safe_text(question.step, 60)]
        rows.append([*place, so_far or "nothing was sent", until])
    print_table(console, columns, rows)
    console.print()
