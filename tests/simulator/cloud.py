"""A simulated cloud inside the test's own event loop, on its clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx

from orchestrator.simulator.app import Simulator, create_app
from orchestrator.simulator.memory import MemoryTransport
from orchestrator.simulator.settings import parse_settings
from orchestrator.simulator.world import World

NEWEST = "2026-06-23"
CURRENT = "2026-01-21"
LEGACY = "2025-10-28"


class Cloud:
    """A client with the right key, and the simulator that it talks to."""

    def __init__(self, app: Simulator, http: httpx.AsyncClient) -> None:
        self.app = app
        self.world = app.world
        self.http = http

    async def get(self, path: str, **query: str | int) -> Any:  # noqa: ANN401 - any JSON value
        return (await self.http.get(path, params=query)).raise_for_status().json()

    async def post(self, path: str, body: object = None) -> httpx.Response:
        return await self.http.post(path) if body is None else await self.http.post(path, json=body)

    async def status(self, name: str) -> str:
        return str((await self.get(f"/cvms/{self.world.find_by_name(name).hashid}"))["status"])


@asynccontextmanager
async def cloud(version: str = NEWEST, **sections: object) -> AsyncIterator[Cloud]:
    """A cloud with these sections in its configuration file."""
    sections.setdefault("fleet", {"cvms": 12, "seed": 3, "stopped_share": 0, "gpu_share": 0})
    app = create_app(World.generate(settings=parse_settings(sections)), clock=anyio.current_time)
    app.now()
    headers = {"X-API-Key": app.world.api_key, "X-Phala-Version": version}
    async with httpx.AsyncClient(
        transport=MemoryTransport(app), base_url="http://simulated/api/v1", headers=headers, timeout=1000
    ) as http:
        yield Cloud(app, http)
