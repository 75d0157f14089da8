"""The progress of a fleet run: a line for every workspace on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.report.run.live import Progress, format_bar, show_view
from orchestrator.report.run.text import describe_wait
from orchestrator.text import plural, safe_text
from orchestrator.times import format_duration

_PLAIN_EVERY = 5.0
_SPARE_LINES = 6
"""Lines of the screen without a workspace: the total, the notes, and some lines above."""
_JUSTIFY: tuple[JustifyMethod, ...] = ("left", "right", "right")
"""The alignment of the name, the number of finished targets, and the remaining time."""


@dataclass(frozen=True, slots=True)
class WorkspaceProgress:
    """The progress of one workspace's run.

    Attributes:
        workspace: the name of the workspace.
        progress: the progress of the run.
    """

    workspace: str
    progress: Progress

    @property
    def has_finished(self) -> bool:
        """Whether every target has an outcome."""
        done, total = self.progress.count_done()
        return self.progress.state.finished is not None or done == total

    @property
    def has_begun(self) -> bool:
        """Whether a target has left the first stage."""
        stages = self.progress.state.stages
        return stages["waiting"] < stages.total()

    def describe_remaining(self) -> str:
        """Describe the remaining time; nothing for an ending run, because its stages have the number to finish."""
        if not self.has_begun:
            return "waiting"
        return "ending" if self.progress.is_ending() else self.progress.describe_remaining()

    @property
    def trouble(self) -> str | None:
        """The reason for a wait: an open question, or an unreachable API."""
        return describe_wait(self.progress.state) or self.progress.trouble()


class FleetProgress:
    """The current progress of a fleet run.

    Attributes:
        runs: the progress of every run, in the order of the settings.
        note: a notice for a person; None for nothing.
    """

    def __init__(self, runs: Sequence[WorkspaceProgress]) -> None:
        self.runs = runs
        self.note: str | None = None
        self._started = time.monotonic()

    async def live(self, console: Console) -> None:
        """Show the view and redraw it a few times a second, until cancelled."""
        await show_view(lambda: self.build_view(console.height), console)

    async def plain(self, write: Callable[[str], None]) -> None:
        """Write a line every few seconds, until cancelled."""
        while True:
            await anyio.sleep(_PLAIN_EVERY)
            write(self.line())

    def line(self) -> str:
        """Format the progress as a single line: the total, and the workspaces with trouble."""
        done, total = self._count_done()
        finished = sum(run.has_finished for run in self.runs)
        words = f"{done} of {plural(total, 'CVM')} done, {finished} of {plural(len(self.runs), 'workspace')} finished"
        troubles = "".join(f"; {safe_text(run.workspace, 64)}: {run.trouble}" for run in self.runs if run.trouble)
        return f"{format_duration(time.monotonic() - self._started)}: {words}{troubles}"

    def build_view(self, height: int) -> RenderableType:
        """Build the view: a line for the total, and a line for every workspace as far as the screen suffices.

        Args:
            height: the lines of the screen.
        """
        done, total = self._count_done()
        head = format_bar(done, total, self._describe_remaining())
        shown = self._choose_shown(max(1, height - _SPARE_LINES))
        parts: list[RenderableType] = [head, _format_table([_format_row(run) for run in shown])]
        if len(shown) < len(self.runs):
            hidden = [run for run in self.runs if run not in shown]
            finished = sum(run.has_finished for run in hidden)
            parts.append(Text(f"and {plural(len(hidden), 'more workspace')}: {finished} finished", "dim"))
        if self.note:
            parts.append(Text(self.note, "bold yellow"))
        return Group(*parts)

    def _choose_shown(self, most: int) -> list[WorkspaceProgress]:
        """Choose the workspaces on the screen, in their order: trouble first, then runs under way."""

        def importance(run: WorkspaceProgress) -> int:
            return 0 if run.trouble else 3 if run.has_finished else 1 if run.has_begun else 2

        kept = sorted(self.runs, key=importance)[:most]
        return [run for run in self.runs if run in kept]

    def _count_done(self) -> tuple[int, int]:
        counts = [run.progress.count_done() for run in self.runs]
        return sum(done for done, _ in counts), sum(total for _, total in counts)

    def _describe_remaining(self) -> str:
        """Describe the time until the end of the slowest workspace."""
        if any(run.progress.is_ending() for run in self.runs):
            done, total = self._count_done()
            return f"{total - done} to finish"
        left = [run.progress.seconds_left() for run in self.runs if not run.has_finished]
        known = [seconds for seconds in left if seconds is not None]
        if not known:
            return "…"
        return f"{'about' if len(known) == len(left) else 'at least'} {format_duration(max(known))} left"


def _format_table(cells: list[tuple[Text, Text, Text, Text]]) -> Table:
    """Format the rows; only the last column is cut on a narrow screen."""
    found = Table.grid(padding=(0, 1))
    for number, justify in enumerate(_JUSTIFY):
        least = max((row[number].cell_len for row in cells), default=0)
        found.add_column(no_wrap=True, overflow="ellipsis", justify=justify, min_width=least)
    found.add_column(no_wrap=True, overflow="ellipsis")
    for row in cells:
        found.add_row(*row)
    return found


def _format_row(run: WorkspaceProgress) -> tuple[Text, Text, Text, Text]:
    done, total = run.progress.count_done()
    state = run.progress.state
    is_asking = describe_wait(state) is not None
    trouble = f"waits: orchestrator approve {safe_text(state.run_id)}" if is_asking else run.trouble
    remaining = "finished" if run.has_finished else run.describe_remaining()
    stages = Text(trouble, "bold yellow" if is_asking else "bold red") if trouble else None
    return (
        Text(safe_text(run.workspace, 24), "green" if run.has_finished else ""),
        Text(f"{done}/{total}"),
        Text(remaining, "dim"),
        stages or run.progress.format_stages(),
    )
