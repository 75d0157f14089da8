"""A session: the limits of the run, the profile of the API, and the hint of an unreachable cloud."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.rate.adaptive import START
from orchestrator.engine.rate.adaptive_cloud import AdaptiveCloud
from orchestrator.engine.rate.gate import Priority
from orchestrator.errors import CloudError, UsageError
from orchestrator.playbook.limits import Limits
from orchestrator.reply import Page, Reply
from orchestrator.runs.session import Endpoint, limits_of, name_in_store, open_session, share_connections
from orchestrator.settings.load import Settings
from orchestrator.settings.model import AuditSection, RateSection, StoreSection
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


def count_open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


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


async def test_a_playbook_with_a_rate_of_auto_is_refused_over_a_team_store(tmp_path: Path) -> None:
    settings = settings_of(tmp_path).model_copy(update={"store": StoreSection(url="postgresql://worker@db/store")})
    limits = limits_of(Limits.model_validate({"requests_per_second": "auto"}), settings)
    with pytest.raises(UsageError, match="share a fixed rate"):
        async with open_session(settings, WHERE, limits):
            pass


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


def test_the_rate_of_the_settings_is_an_upper_limit_of_a_playbook() -> None:
    settings = Settings(rate=RateSection(requests_per_second=5))
    assert limits_of(Limits.model_validate({"requests_per_second": 50}), settings).requests_per_second == 5
    assert limits_of(Limits.model_validate({"requests_per_second": 2}), settings).requests_per_second == 2
    assert limits_of(Limits.model_validate({"requests_per_second": 50}), Settings()).requests_per_second == 50


async def test_two_sessions_of_a_workspace_share_its_burst(tmp_path: Path) -> None:
    settings = Settings(audit=AuditSection(state_dir=tmp_path), rate=RateSection(requests_per_second=0.01, burst=6))
    limits = limits_of(Limits(), settings)
    other = replace(WHERE, api_key="another")
    async with (
        open_session(settings, WHERE, limits) as first,
        open_session(settings, WHERE, limits) as second,
        open_session(settings, other, limits) as third,
    ):
        went = [
            [session.gate.try_enter(Priority.READ) for _ in range(number)]
            for session, number in ((first, 2), (second, 3), (third, 3))
        ]
    assert went == [[True, True], [True, False, False], [True, True, True]]


async def test_a_session_at_auto_beside_another_run_keeps_the_known_rate(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    limits = replace(LIMITS, adaptive=True)
    answered: Reply[Page] = Reply(http_status=200, latency=0.01)
    async with open_session(settings, WHERE, limits) as first, open_session(settings, WHERE, limits) as second:
        assert first.gate.try_enter(Priority.READ)
        rate = second.gate.budget.rate
        for _ in range(10):
            assert isinstance(second.cloud, AdaptiveCloud)
            second.cloud._pass_on(answered)
        assert second.gate.budget.rate == rate
    async with open_session(settings, WHERE, limits) as alone:
        assert isinstance(alone.cloud, AdaptiveCloud)
        alone.cloud._pass_on(answered)
        assert alone.gate.budget.rate > rate


async def test_a_session_leaves_no_state_folder_and_no_open_file(tmp_path: Path) -> None:
    before = count_open_files()
    async with open_session(settings_of(tmp_path / "state"), WHERE, LIMITS, few=True) as session:
        assert session.gate.try_enter(Priority.READ)
    async with open_session(settings_of(tmp_path), WHERE, LIMITS, few=True) as session:
        assert session.gate.try_enter(Priority.READ)
    assert count_open_files() == before
    assert not (tmp_path / "state").exists()


async def test_a_session_has_no_more_requests_in_flight_than_connections(tmp_path: Path) -> None:
    async with open_session(settings_of(tmp_path), WHERE, LIMITS, connections=2) as session:
        assert (session.gate.max_in_flight, session.limits.max_in_flight) == (2, 2)


@given(workspaces=st.integers(1, 200), descriptors=st.integers(1024, 100_000))
def test_shared_connections_fit_into_the_descriptors(workspaces: int, descriptors: int) -> None:
    connections = share_connections(workspaces, descriptors)
    assert connections >= 1
    if connections > 1:
        assert workspaces * (connections + 3) < descriptors - 60


def test_a_hundred_workspaces_have_five_connections_each_within_1024_descriptors() -> None:
    assert share_connections(100, 1024) == 5


def test_default_keys_are_workspaces_of_their_own_in_a_team_store() -> None:
    one, other = (name_in_store(Settings(), key) for key in ("phak_one", "phak_other"))
    assert one != other
    assert one.startswith("default:")
    assert "phak" not in one
    named = Settings.model_validate({"workspaces": {"prod": {"api_key_env": "PROD"}}}).for_workspace("prod")
    assert name_in_store(named, "phak_one") == "prod"
