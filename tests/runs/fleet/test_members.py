"""The workspaces of a fleet run: the descriptors for their runs."""

import resource
from collections.abc import Iterator

import pytest

from orchestrator.errors import SettingsError
from orchestrator.runs.fleet.members import require_descriptors
from orchestrator.runs.session import share_connections


@pytest.fixture
def low_limit() -> Iterator[int]:
    """The process may open 256 files; the hard limit stays."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    yield 256
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_low_limit_is_raised_for_many_workspaces_and_kept_for_few(low_limit: int) -> None:
    assert require_descriptors(3) == low_limit
    assert require_descriptors(100) == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1024
    assert share_connections(100, 1024) > 1


def test_more_workspaces_than_descriptors_are_refused_with_the_limit_to_set() -> None:
    with pytest.raises(SettingsError, match="100000000 workspaces need 500000064 open files") as refused:
        require_descriptors(100_000_000)
    assert "ulimit -n 500000064" in (refused.value.hint or "")
