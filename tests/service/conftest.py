"""Time in these tests is virtual: nothing sleeps."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from orchestrator.service import journal
from tests.service.host import Host


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip fsync: the simulated crashes of these tests do not lose written data."""
    monkeypatch.setattr(journal, "sync_file", lambda _fd: None)
    monkeypatch.setattr(journal, "sync_folder", lambda _folder: None)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Open the machine of a test."""
    opened: list[Host] = []

    def open_host(**given: Any) -> Host:  # noqa: ANN401 - arguments of Host
        opened.append(Host(tmp_path, **given))
        return opened[-1]

    yield open_host
    for each in opened:
        assert not each.world.twice, each.world.twice
