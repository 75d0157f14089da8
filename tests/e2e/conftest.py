"""Every test gets a cloud and a folder of its own; runs that have nothing to do with each other go on side by side."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.e2e.desk import QUICK, STILL, Desk, Ended

OpenDesk = Callable[..., Desk]
Finished = Mapping[str, tuple[Desk, Ended]]
RunAll = Callable[[Mapping[str, Callable[[OpenDesk], tuple[Desk, Ended]]]], Finished]


class _Office:
    """Opens desks, and looks at what was left on them in the end."""

    def __init__(self, stack: ExitStack, folder: Callable[[], Path]) -> None:
        self._stack, self._folder = stack, folder
        self._desks: list[Desk] = []

    def open(self, **sections: Any) -> Desk:  # noqa: ANN401 - whatever a configuration file may hold
        """A desk before a cloud with these sections in its configuration."""
        api = {"simulated_header": False, **sections.pop("api", {})}  # else no run counts as a real one
        settings = parse_settings({**STILL, "timing": QUICK, "api": api, **sections})
        desk = Desk(self._folder(), self._stack.enter_context(BackgroundSimulator(settings)))
        self._desks.append(desk)
        return desk

    def close(self) -> None:
        """The key must be in none of the logs."""
        for desk in self._desks:
            for log in desk.runs.glob("*"):
                assert desk.sim.api_key.encode() not in log.read_bytes(), "the key is in the audit log"


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[OpenDesk]:
    """Opens desks for one test."""
    with ExitStack() as stack:
        office = _Office(stack, lambda: tmp_path)
        yield office.open
        office.close()


@pytest.fixture
def desk(open_desk: OpenDesk) -> Desk:
    """A desk before a cloud in which nothing goes wrong."""
    return open_desk()


@pytest.fixture(scope="module")
def run_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunAll]:
    """Does several things at desks of their own, a few at a time, for the tests of one module to look at."""
    tmp_path_factory.getbasetemp()  # made here, since the first call is not safe for several threads at once
    with ExitStack() as stack:
        office = _Office(stack, lambda: tmp_path_factory.mktemp("desk"))

        def run_all(tasks: Mapping[str, Callable[[OpenDesk], tuple[Desk, Ended]]]) -> Finished:
            with ThreadPoolExecutor(5) as pool:
                return dict(zip(tasks, pool.map(lambda task: task(office.open), tasks.values()), strict=True))

        yield run_all
        office.close()
