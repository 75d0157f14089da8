"""Time in these tests is virtual: nothing sleeps."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from orchestrator.service import journal
from tests.service.house import House


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip fsync: the simulated crashes of these tests do not lose written data."""
    monkeypatch.setattr(journal, "sync_file", lambda _fd: None)
    monkeypatch.setattr(journal, "sync_folder", lambda _folder: None)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Open the machine of a test."""
    opened: list[House] = []

    def open_house(**given: Any) -> House:  # noqa: ANN401 - what a house takes
        opened.append(House(tmp_path, **given))
        return opened[-1]

    yield open_house
    for each in opened:
        assert not each.world.twice, each.world.twice
