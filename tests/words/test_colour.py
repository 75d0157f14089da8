"""Whether text is coloured: the option first, then the environment, then the stream."""

from collections.abc import Iterator
from io import StringIO

import pytest

from orchestrator.cli.consoles import choose, colour, is_coloured, redraws


class Screen(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restore_choice() -> Iterator[None]:
    yield
    choose([])


@pytest.mark.parametrize(
    ("args", "environment", "on_terminal", "in_pipe"),
    [
        ([], {}, True, False),
        ([], {"NO_COLOR": "1"}, False, False),
        ([], {"NO_COLOR": ""}, True, False),
        ([], {"TERM": "dumb"}, False, False),
        (["run", "--color", "always"], {"NO_COLOR": "1", "TERM": "dumb"}, True, True),
        (["--color=always", "run"], {}, True, True),
        (["--color=always", "run", "--color", "never"], {}, False, False),
        (["--color=auto", "run"], {}, True, False),
        ([], {"FORCE_COLOR": "1"}, True, True),
        ([], {"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ([], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ([], {"FORCE_COLOR": "0"}, True, False),
        ([], {"FORCE_COLOR": ""}, True, False),
        (["--color", "never"], {"FORCE_COLOR": "1"}, False, False),
        (["run", "--", "--color", "always"], {}, True, False),
    ],
)
def test_the_option_wins_over_the_environment_and_that_over_the_stream(
    args: list[str],
    environment: dict[str, str],
    on_terminal: bool,
    in_pipe: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    choose(args)
    assert (is_coloured(Screen()), is_coloured(StringIO())) == (on_terminal, in_pipe)
    assert colour() is not None or on_terminal
    assert redraws(Screen()) is (environment.get("TERM") != "dumb")
    assert not redraws(StringIO())
