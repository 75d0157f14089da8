"""What holds for all tests."""

import gc
from collections.abc import Generator
from pathlib import Path

import pytest
import trio
from _pytest.nodeid import NodeId
from hypothesis import HealthCheck, settings

# How long an example takes says something about the machine, and nothing about the code.
settings.register_profile("short", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", settings.get_profile("short"), max_examples=300)


def pytest_configure(config: pytest.Config) -> None:
    """Try few examples of a property in each run of the tests, and many with the soak tests."""
    settings.load_profile("short" if _leaves_soak_out(config) else "soak")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without searches for garbage, a third of the time, and leave what was collected out of later searches."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def _leaves_soak_out(config: pytest.Config) -> bool:
    return "not soak" in str(config.getoption("markexpr")).replace("soak or not soak", "")


@pytest.fixture(autouse=True)
def _same_order_of_tasks() -> None:
    """Let trio shuffle the tasks that are ready in the same way each time: a test on virtual time never differs."""
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio._core._run._r.seed(0)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a case of bytes after its parameter: the content may differ from one test process to the next."""
    return argname if isinstance(val, bytes) else None


def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> list[pytest.Item] | None:
    """Collect no soak tests only to deselect all of them: a third of all cases, in every test process."""
    marks = getattr(obj, "pytestmark", None) if name.startswith("test") else None
    is_soak = isinstance(marks, list) and any(mark.name == "soak" for mark in marks)
    return [] if is_soak and _leaves_soak_out(collector.config) else None


_SLOW = ("e2e", "docs", "packages", "chaos", "crash", "released", "service")
"""Folders of tests that wait for processes: begun first, and shared out one by one among the test processes."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Share the tests of a file out together, except for slow tests without a common fixture.

    In place of the mark `xdist_group`, without effect as of pytest 9.2: xdist 3.8 changes `_nodeid`, no longer read.
    """
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(here).parts[0] not in _SLOW)
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        path = item.path.relative_to(here)
        if path.parts[0] not in _SLOW or _has_common_fixture(item):
            item._id = NodeId.parse(f"{item.nodeid}@{path}")


def _has_common_fixture(item: pytest.Item) -> bool:
    definitions = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    return any(each.scope == "module" for fixture in definitions.values() for each in fixture)
