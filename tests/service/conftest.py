"""Time in these tests is virtual: nothing sleeps."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from tests.service.house import House


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Opens the one house of a test."""
    opened: list[House] = []

    def open_house(**given: Any) -> House:  # noqa: ANN401 - what a house takes
        opened.append(House(tmp_path, **given))
        return opened[-1]

    yield open_house
    for each in opened:
        assert not each.world.twice, each.world.twice
