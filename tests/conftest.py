"""What holds for all tests."""

import pytest
import trio
from hypothesis import HealthCheck, settings

# How long an example takes says something about the machine, and nothing about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _same_order_of_tasks() -> None:
    """Let trio shuffle the tasks that are ready in the same way each time: a test on virtual time never differs."""
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio._core._run._r.seed(0)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a case of bytes after its parameter: the content may differ from one test process to the next."""
    return argname if isinstance(val, bytes) else None
