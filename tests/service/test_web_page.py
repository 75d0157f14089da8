"""The page beside health and metrics: made at its first request, and asked about the access to the metrics."""

from pathlib import Path

import httpx
import pytest

from orchestrator.service.metrics import Metrics
from orchestrator.service.page.routes import PageHost
from orchestrator.service.page.values import ServiceFacts
from orchestrator.service.web import LazyPage, create_app
from tests.service.page.viewer import VERA, make_settings
from tests.service.test_web import CALM

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The page needs asyncio."""
    return "asyncio"


async def test_the_page_is_made_at_its_first_request(tmp_path: Path) -> None:
    made = []

    def make_host() -> PageHost:
        made.append("page")
        return PageHost(make_settings(tmp_path, tokens=True), False, lambda: ServiceFacts(CALM), _ignore)

    for is_open, statuses in ((True, (200, 200)), (False, (401, 200))):
        page = LazyPage(make_host, has_open_metrics=is_open)
        app = create_app(lambda: CALM, Metrics(lambda: CALM), list, page)
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
        assert (await client.get("/readyz")).status_code == 200
        await client.get("/healthz")
        assert made == []
        without = await client.get("/metrics")
        token = await client.get("/metrics", headers={"authorization": f"Bearer {VERA}"})
        assert (without.status_code, token.status_code) == statuses
        assert bool(made) is not is_open
        assert (await client.get("/")).status_code == 401
        assert (await client.get("/page.css")).status_code == 200
        page.close()
        made.clear()


def _ignore(event: str, /, **facts: object) -> None:
    del event, facts
