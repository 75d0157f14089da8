"""Every test gets a cloud and a folder of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.e2e.desk import QUICK, STILL, Desk

OpenDesk = Callable[..., Desk]


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[OpenDesk]:
    """A desk before a cloud with these sections in its configuration."""
    with ExitStack() as stack:
        desks: list[Desk] = []

        def opened(**sections: object) -> Desk:
            settings = parse_settings({**STILL, "timing": QUICK, **sections})
            desk = Desk(tmp_path, stack.enter_context(BackgroundSimulator(settings)))
            desks.append(desk)
            return desk

        yield opened
        for desk in desks:
            for log in desk.runs.glob("*"):
                assert desk.sim.api_key.encode() not in log.read_bytes(), "the key is in the audit log"


@pytest.fixture
def desk(open_desk: OpenDesk) -> Desk:
    """A desk before a cloud in which nothing goes wrong."""
    return open_desk()
