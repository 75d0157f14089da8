"""A session: the limits of the run, the profile of the API, and the hint of an unreachable cloud."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.engine.rate.adaptive import START
from orchestrator.errors import CloudError
from orchestrator.playbook.limits import Limits
from orchestrator.runs.session import Endpoint, limits_of, open_session
from orchestrator.settings.load import Settings
from orchestrator.settings.model import AuditSection, RateSection
from tests.engine.fakes import FakeCloud
from tests.runs.sessions import LIMITS, session_of

pytestmark = pytest.mark.anyio
WHERE = Endpoint("http://127.0.0.1:9/api", "key")


@pytest.fixture
def anyio_backend() -> str:
    """The clock of a session is the clock of asyncio."""
    return "asyncio"


def settings_of(folder: Path) -> Settings:
    return Settings(audit=AuditSection(state_dir=folder))


async def known_settle(folder: Path, where: Endpoint) -> Mapping[str, float]:
    """The settle times known to a new session."""
    async with open_session(settings_of(folder), where, LIMITS) as session:
        return session.settle_seconds


def save(folder: Path, where: Endpoint, *, batch_size: int = 1000, settle: Mapping[str, float] | None = None) -> None:
    """Save a profile at the end of a session."""
    session = replace(session_of(FakeCloud(1), folder), endpoint=where)
    session.save_profile(batch_size=batch_size, batch_missing=False, settle=settle)


def test_limits_of_the_playbook_win_over_the_settings() -> None:
    settings = Settings(rate=RateSection(requests_per_second=5, burst=7, max_in_flight=9))
    found = limits_of(Limits.model_validate({"burst": "3", "max_failures": "0"}), settings)
    assert (found.requests_per_second, found.burst, found.max_in_flight) == (5, 3, 9)
    assert (str(found.max_failures), found.adaptive) == ("0", False)


def test_a_rate_of_auto_starts_low_and_adapts() -> None:
    found = limits_of(Limits.model_validate({"requests_per_second": "auto"}), Settings())
    assert (found.requests_per_second, found.adaptive) == (START, True)


async def test_a_session_knows_the_profile_of_an_earlier_session_in_the_same_workspace(tmp_path: Path) -> None:
    save(tmp_path, WHERE, batch_size=50, settle={"stop": 7.5})
    async with open_session(settings_of(tmp_path), WHERE, LIMITS) as session:
        assert (session.batch_size, session.settle_seconds) == (50, {"stop": 7.5})
    assert await known_settle(tmp_path, replace(WHERE, api_key="another")) == {}


async def test_a_simulated_cloud_leaves_no_profile_and_uses_none(tmp_path: Path) -> None:
    simulated = replace(WHERE, simulated=True)
    save(tmp_path, simulated, settle={"stop": 7.5})
    assert await known_settle(tmp_path, WHERE) == {}
    save(tmp_path, WHERE, settle={"stop": 7.5})
    assert await known_settle(tmp_path, simulated) == {}


def test_a_session_without_new_facts_writes_no_profile(tmp_path: Path) -> None:
    save(tmp_path, WHERE)
    assert list(tmp_path.iterdir()) == []


async def test_an_error_of_the_cloud_names_the_address(tmp_path: Path) -> None:
    with pytest.raises(CloudError) as raised:
        async with open_session(settings_of(tmp_path), WHERE, LIMITS):
            raise CloudError("unreachable", hint="check the network")
    assert raised.value.hint is not None
    assert raised.value.hint.startswith(f"check the network; cloud.base_url is {WHERE.base_url}; ")
