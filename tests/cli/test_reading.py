"""The progress of reading logs, on a terminal only."""

import sys
from io import StringIO
from itertools import count
from pathlib import Path

import pytest

from orchestrator.cli.reading import with_progress

PATHS = [Path(str(number)) for number in range(5)]


class Terminal(StringIO):
    """The output on a terminal."""

    def isatty(self) -> bool:
        """Always."""
        return True


@pytest.mark.parametrize(("stream", "taken", "said"), [(Terminal, 5, 2), (Terminal, 3, 1), (StringIO, 5, 0)])
def test_a_line_a_second_is_shown_on_a_terminal_and_taken_away_at_the_end_however_it_ends(
    monkeypatch: pytest.MonkeyPatch, stream: type[StringIO], taken: int, said: int
) -> None:
    screen = stream()
    monkeypatch.setattr(sys, "stderr", screen)
    ticks = count(0, 0.5)
    going = with_progress(PATHS, lambda: next(ticks))
    assert [next(going) for _ in range(taken)] == PATHS[:taken]
    going.close()  # type: ignore[attr-defined] # a generator
    shown = screen.getvalue()
    assert shown.count("logs read") == said
    assert shown.endswith("\x1b[K") == bool(said)
