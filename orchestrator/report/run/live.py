"""The progress of a run: a live view on a terminal, plain lines elsewhere. Both read the same replayed state."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil

import anyio
from rich.console import Console, ConsoleRenderable, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from orchestrator.audit.replay import RunState
from orchestrator.report.run.progress import describe_wave, time_left
from orchestrator.report.run.text import STYLES, describe_wait
from orchestrator.text import safe_text
from orchestrator.times import format_duration

_REFRESH = 0.25
_PLAIN_EVERY = 5.0
_PLAIN_WAITING = 60.0
"""Seconds between lines during an open question: nothing changes meanwhile."""
_WINDOW = 5.0
_ORDER = ("waiting", "sending", "unknown", "settling", *STYLES)
_DONE = frozenset(STYLES)
_WAITING, _UNDER_WAY = "waiting", ("sending", "unknown", "settling")


class _View(Live):
    """A live view with complete removal from the screen, also after the terminal became narrower."""

    _widths: tuple[int, ...] = ()
    _drawn_at = 0

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Redraw the view below other output."""
        width = max(self.console.width, 1)
        if width < self._drawn_at:
            rows = sum(max(1, ceil(drawn / width)) for drawn in self._widths)
            self._live_render._shape = (width, rows)  # noqa: SLF001 - how many rows are wiped out
        found = super().process_renderables(renderables)
        lines = self.console.render_lines(self.get_renderable(), pad=False)
        self._widths, self._drawn_at = tuple(map(Segment.get_line_length, lines)), width
        return found


def format_bar(done: int, total: int, remaining: str) -> Table:
    """Format a line of the view: a bar, the number of finished targets, and the remaining time."""
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    line.add_row(ProgressBar(total=max(total, 1), completed=done), Text(f"{done}/{total}  {remaining}"))
    return line


async def show_view(build: Callable[[], RenderableType], console: Console) -> None:
    """Show a view and redraw it a few times a second, until cancelled."""
    with _View(build(), console=console, auto_refresh=False, transient=True) as view:
        while True:
            view.update(build(), refresh=True)
            await anyio.sleep(_REFRESH)


class Progress:
    """The current progress of a run.

    Attributes:
        state: the replayed state, updated by the audit log.
        note: a notice for a person; None for nothing.
        trouble: returns the reason why the run can't ask the API now; None for nothing.
        is_ending: returns True once no more requests will be sent.
    """

    def __init__(
        self, state: RunState, rate: Callable[[], float], passed: Callable[[], int], *, adaptive: bool = False
    ) -> None:
        """Set up.

        Args:
            state: the replayed state.
            rate: the current rate limit of the run, in requests per second.
            passed: the number of requests sent so far.
            adaptive: whether the run finds the rate limit by itself.
        """
        self.state = state
        self.note: str | None = None
        self.trouble: Callable[[], str | None] = lambda: None
        self.is_ending: Callable[[], bool] = lambda: False
        self._limit = rate
        self._adaptive = adaptive
        self._passed = passed
        self._samples: deque[tuple[float, int]] = deque()
        self._started = time.monotonic()
        self._live: Live | None = None
        self._is_aside = False

    async def live(self, console: Console) -> None:
        """Show the view and redraw the text a few times a second, until cancelled."""
        while True:
            if self._is_aside:
                await anyio.sleep(_REFRESH)
                continue
            # A stopped view would wipe out the lines above on restart, so every round makes a new view.
            with _View(self._build_view(), console=console, auto_refresh=False, transient=True) as view:
                self._live = view
                while self._live is view:
                    view.update(self._build_view(), refresh=True)
                    await anyio.sleep(_REFRESH)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Hide the view for the length of the block, to free the terminal."""
        view, self._live, self._is_aside = self._live, None, True
        if view is not None:
            view.stop()
        try:
            yield
        finally:
            self._is_aside = False

    async def plain(self, write: Callable[[str], None]) -> None:
        """Write a line every few seconds, until cancelled; fewer lines while only a question is open."""
        question, due = None, time.monotonic() + _PLAIN_EVERY
        while True:
            await anyio.sleep(min(_PLAIN_EVERY, 1.0))
            asked, question = question, self.state.question
            if time.monotonic() >= due or (question is not None and question is not asked):
                write(self.line())
                due = time.monotonic() + (_PLAIN_EVERY if question is None else _PLAIN_WAITING)

    def line(self) -> str:
        """Format the state as a single line."""
        stages = ", ".join(f"{number} {stage}" for stage, number in self._list_stages())
        notes = [note for note in (describe_wave(self.state), describe_wait(self.state), self.trouble()) if note]
        more = "".join(f"; {note}" for note in notes)
        return f"{format_duration(time.monotonic() - self._started)}: {stages}{more}"

    def count_done(self) -> tuple[int, int]:
        """Count the finished targets, and the targets to finish: of an ending run without the unsent targets."""
        done = sum(self.state.stages[stage] for stage in _DONE)
        return done, done + self._to_finish() if self.is_ending() else sum(self.state.stages.values())

    def describe_remaining(self) -> str:
        """Describe the remaining time, or the remaining targets of an ending run."""
        if self.is_ending():
            return f"{self._to_finish()} to finish"
        left = self.seconds_left()
        return "…" if left is None else f"about {format_duration(left)} left"

    def seconds_left(self) -> float | None:
        """Estimate the seconds until the end; None during a wait of unknown length."""
        if describe_wait(self.state) or self.trouble():
            return None
        return time_left(self.state, self._limit(), self._settle_seconds())

    def format_stages(self) -> Text:
        """Format the number of targets at every stage."""
        stages = (Text(f"{number} {stage}", STYLES.get(stage, "cyan")) for stage, number in self._list_stages())
        return Text("  ").join(stages)

    def _list_stages(self) -> list[tuple[str, int]]:
        stages = [(stage, self.state.stages[stage]) for stage in _ORDER if self.state.stages[stage]]
        if not self.is_ending():
            return stages
        unsent = self.state.stages[_WAITING]
        rest = [("not sent", unsent)] if unsent else []
        return [("to finish", self._to_finish()), *(each for each in stages if each[0] in _DONE), *rest]

    def _to_finish(self) -> int:
        """Count the targets with a sent request and without an outcome."""
        return sum(self.state.stages[stage] for stage in _UNDER_WAY)

    def _measure_rate(self) -> float:
        now, passed = time.monotonic(), self._passed()
        self._samples.append((now, passed))
        while now - self._samples[0][0] > _WINDOW:
            self._samples.popleft()
        since, before = self._samples[0]
        return (passed - before) / (now - since) if now > since else 0.0

    def _settle_seconds(self) -> float | None:
        found = self.state.durations
        return sorted(found)[len(found) // 2] if found else None

    def _build_view(self) -> RenderableType:
        state, waiting, trouble = self.state, describe_wait(self.state), self.trouble()
        done, total = self.count_done()
        head = format_bar(done, total, self.describe_remaining())
        tally = self.format_stages()
        elapsed = format_duration(time.monotonic() - self._started)
        limit = f"{self._limit():.1f} (auto)" if self._adaptive else f"{self._limit():g}"
        rate = self._measure_rate()
        burst = " (burst)" if rate > self._limit() else ""
        speed = Text(f"{rate:.1f} requests a second{burst}, limit {limit}, {elapsed}", "dim")
        wave = describe_wave(state)
        if wave:
            speed.append(f", {wave}")
        notes = [
            Text(note.replace(": orchestrator", ":\norchestrator"), "bold yellow")
            for note in (waiting, self.note)
            if note
        ]
        if trouble:
            notes.append(Text(trouble, "bold red"))
        return Group(head, tally, speed, *self._list_troubles(), *notes)

    def _list_troubles(self) -> list[Text]:
        return [
            Text(
                f"{safe_text(target.ref.name, 40)}  {target.stage}: {safe_text(target.reason, 120)}",
                STYLES.get(target.stage, ""),
                no_wrap=True,
                overflow="ellipsis",
            )
            for target in list(self.state.troubles)[-4:]
        ]
