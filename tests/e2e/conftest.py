"""Every test has its own cloud and folder; independent runs go on side by side."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.e2e.site import QUICK, STILL, Ended, Site

OpenSite = Callable[..., Site]
Finished = Mapping[str, tuple[Site, Ended]]
RunAll = Callable[[Mapping[str, Callable[[OpenSite], tuple[Site, Ended]]]], Finished]


class _SiteFactory:
    """Opens sites, and checks their logs in the end."""

    def __init__(self, stack: ExitStack, folder: Callable[[], Path]) -> None:
        self._stack, self._folder = stack, folder
        self._sites: list[Site] = []

    def open(self, **sections: Any) -> Site:  # noqa: ANN401 - whatever a configuration file may hold
        """Open a site with a simulated cloud of this configuration."""
        api = {"simulated_header": False, **sections.pop("api", {})}  # else no run counts as a real one
        settings = parse_settings({**STILL, "timing": QUICK, "api": api, **sections})
        site = Site(self._folder(), self._stack.enter_context(BackgroundSimulator(settings)))
        self._sites.append(site)
        return site

    def close(self) -> None:
        """Check that no log has the key."""
        for site in self._sites:
            for log in site.runs.glob("*"):
                assert site.sim.api_key.encode() not in log.read_bytes(), "the key is in the audit log"


@pytest.fixture
def open_site(tmp_path: Path) -> Iterator[OpenSite]:
    """Opens sites for one test."""
    with ExitStack() as stack:
        factory = _SiteFactory(stack, lambda: tmp_path)
        yield factory.open
        factory.close()


@pytest.fixture
def site(open_site: OpenSite) -> Site:
    """A site with a cloud without faults."""
    return open_site()


@pytest.fixture(scope="module")
def run_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunAll]:
    """Does several things at sites of their own, a few at a time, for the tests of one module to look at."""
    tmp_path_factory.getbasetemp()  # made here, since the first call is not safe for several threads at once
    with ExitStack() as stack:
        factory = _SiteFactory(stack, lambda: tmp_path_factory.mktemp("site"))

        def run_all(tasks: Mapping[str, Callable[[OpenSite], tuple[Site, Ended]]]) -> Finished:
            with ThreadPoolExecutor(5) as pool:
                return dict(zip(tasks, pool.map(lambda task: task(factory.open), tasks.values()), strict=True))

        yield run_all
        factory.close()
