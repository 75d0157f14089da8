"""The budget of a session over the team store: agreed with other machines, then shared with them."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from orchestrator.engine.rate.gcra import Gcra
from orchestrator.errors import SettingsError
from orchestrator.runs.shared_budget import FileGcra, SharedBudget
from orchestrator.runs.store_budget import SessionBudget
from orchestrator.runs.stores import team_store
from orchestrator.settings.load import Settings
from orchestrator.settings.model import RateSection, StoreSection
from tests.postgres.cluster import Cluster
from tests.postgres.conftest import Connect
from tests.postgres.holder import Holder

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The driver is for asyncio."""
    return "asyncio"


@pytest.fixture
def settings(cluster: Cluster, database: str) -> Iterator[Settings]:
    """Settings with a rate of their own."""
    url = f"postgresql://wes_worker@/{database}?host={cluster.folder}&port={cluster.port}"
    settings = Settings(rate=RateSection(requests_per_second=30, burst=9), store=StoreSection(url=url))
    yield settings
    team_store(settings).close()


def own_budget(folder: Path, rate: float = 100) -> SharedBudget:
    """The budget of a session with a rate of its own."""
    gcra = Gcra(rate, 20)
    return SharedBudget(gcra, FileGcra(folder / "rate" / "file.gcra", gcra), max_rate=None)


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - an event has no other thread
            await asyncio.sleep(0.02)


async def test_a_session_warns_of_the_replaced_rate_and_takes_its_turns_from_the_store(
    settings: Settings, connect: Connect, tmp_path: Path
) -> None:
    Holder(connect("wes_worker")).call("set_budget", "default:ab12", 7.0, 4, True, "bob@b")
    warnings: list[str] = []
    session = SessionBudget(
        settings, "default:ab12", lambda event, **facts: warnings.append(f"{event} {facts['note']}")
    )
    budget = own_budget(tmp_path)
    await session.open(budget)
    present, earlier = "30 requests per second, burst 5", "7 requests per second, burst 4"
    assert warnings == [f"rate.replaced workspace default:ab12 has {present} from now on; bob@b had set {earlier}"]
    assert (budget.rate, budget.is_shared(0.0)) == (30, True)
    await wait_until(lambda: budget.take_turn(0.0) <= 0)
    budget.pause(40.0, 0.0)
    viewer, left = connect("vic_viewer"), "SELECT 1 FROM orchestrator.workspaces WHERE paused_until > clock_timestamp()"
    await wait_until(lambda: viewer.execute(left).fetchone() is not None)
    session.hold("no such run")
    session.close()
    assert 0 < budget.take_turn(0.0) < 60


async def test_a_user_without_rights_learns_so_before_anything_is_sent(
    settings: Settings, cluster: Cluster, database: str, tmp_path: Path
) -> None:
    url = f"postgresql://vic_viewer@/{database}?host={cluster.folder}&port={cluster.port}"
    viewer = settings.model_copy(update={"store": StoreSection(url=url)})
    session = SessionBudget(viewer, "default:ab12", lambda *_, **__: None)
    with pytest.raises(SettingsError, match="no rights"):
        await session.open(own_budget(tmp_path))
    session.close()
    team_store(viewer).close()
