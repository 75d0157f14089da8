"""What holds for all tests."""

import ast
import gc
from collections.abc import Generator
from functools import cache
from pathlib import Path
from zlib import crc32

import pytest
import trio
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-not-found, import-untyped, unused-ignore]

# How long an example takes says something about the machine, and nothing about the code.
settings.register_profile("short", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", settings.get_profile("short"), max_examples=300)


def pytest_configure(config: pytest.Config) -> None:
    """Try few examples of a property in each run of the tests, and many with the soak tests."""
    settings.load_profile("short" if _leaves_soak_out(config) else "soak")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without searches for garbage, a third of the time. Later searches leave the collected tests out."""
    gc.disable()
    try:
        return (yield)
    finally:
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


_SLOW = ("docs", "released", "packages", "chaos", "crash", "e2e", "service", "virtual")
"""Folders of slow tests: begun first, the longest before all, and shared out one by one among the test processes."""

_SERVERS = {"postgres": 3}
"""Folders with one costly fixture for the whole session, such as a database server, and how many servers are worth it.

The tests of the folder run in that many test processes, each with a server of its own.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders of few processes, then with the slow tests."""
    first = (*_SERVERS, *_SLOW)
    ranks = {room: number - len(first) for number, room in enumerate(first)}
    items.sort(key=lambda item: ranks.get(_room_of(item.nodeid), 0))


class _FilesAndSlowTests(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Gives a test process all tests of a file, except for slow tests: tests with a common fixture, others one by one.

    `--dist loadgroup` has no effect with pytest 9.2: the groups stood in node ids that can no longer be changed.
    """

    def _split_scope(self, nodeid: str) -> str:
        room = _room_of(nodeid)
        file, _, test = nodeid.partition("::")
        if room in _SERVERS:
            return f"{room} {crc32(nodeid.encode()) % _SERVERS[room]}"
        return nodeid if room in _SLOW and test.partition("[")[0] not in _tests_with_common_fixture(file) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Share tests out as above, whatever `--dist` says."""
    return _FilesAndSlowTests(config, log)


def _room_of(nodeid: str) -> str:
    return nodeid.split("/")[1]


@cache
def _tests_with_common_fixture(file: str) -> frozenset[str]:
    """Names of the functions that need a fixture of the module, directly or through other fixtures."""
    tree = ast.parse((Path(__file__).parent.parent / file).read_text(encoding="utf-8"))
    functions = {each.name: each for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    needed = {name: {arg.arg for arg in (*each.args.args, *each.args.kwonlyargs)} for name, each in functions.items()}
    common = {
        name
        for name, each in functions.items()
        if any("scope='module'" in ast.unparse(decorator) for decorator in each.decorator_list)
    } | {"run_all"}
    while more := {name for name, arguments in needed.items() if arguments & common} - common:
        common |= more
    return frozenset(common)
