"""State streams, and the list of operations of a CVM."""

import anyio
import pytest

from tests.simulator.cloud import Cloud, cloud

pytestmark = pytest.mark.anyio


async def _events(sky: Cloud, query: str) -> list[str]:
    text = (await sky.http.get(f"/cvms/kms-1/state?{query}")).text
    return [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]


async def test_a_state_stream_ends_at_the_target_a_timeout_or_a_deletion() -> None:
    async with cloud(timing={"stop_seconds": [8, 8]}) as sky:
        await sky.post("/cvms/kms-1/stop")
        assert await _events(sky, "target=stopped&interval=5") == ["state", "state", "state", "complete"]
        assert anyio.current_time() == pytest.approx(10)
        assert await _events(sky, "target=running&interval=5&timeout=10") == ["state", "state", "state", "timeout"]
        async with anyio.create_task_group() as tasks:

            async def deleted_meanwhile() -> None:
                await anyio.sleep(1)
                sky.world.delete_cvm(sky.world.find_by_name("kms-1"), sky.app.now())

            tasks.start_soon(deleted_meanwhile)
            assert await _events(sky, "target=running") == ["state", "error"]


async def test_a_user_has_five_state_streams_at_most() -> None:
    async with cloud() as sky:
        path = "/cvms/kms-1/state?target=stopped&timeout=60"
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(sky.http.get, path)
            await anyio.sleep(1)
            assert sky.app.open_streams == 5
            assert (await sky.http.get(path)).status_code == 429
        assert sky.app.open_streams == 0
        assert (await sky.http.get("/cvms/kms-1/state")).status_code == 200


async def test_operations_are_listed_latest_first_and_by_pages() -> None:
    async with cloud(timing={"stop_seconds": [4, 4]}) as sky:
        for action in ("stop", "start", "restart"):
            await sky.post(f"/cvms/kms-1/{action}")
            await anyio.sleep(60)
        await sky.post("/cvms/kms-1/stop")
        first = await sky.get("/cvms/kms-1/operations", limit=3)
        rest = await sky.get("/cvms/kms-1/operations", limit=3, cursor=first["next_cursor"])
        told = [(item["operation_type"], item["status"]) for item in first["items"] + rest["items"]]
        assert told == [
            ("power_off", "in_progress"),
            ("restart", "completed"),
            ("power_on", "completed"),
            ("power_off", "completed"),
        ]
        assert rest["next_cursor"] is None
        assert (await sky.get("/cvms/kms-1/operation-status"))["operation_type"] == "power_off"
        assert (await sky.get("/cvms/gateway-1/operation-status"))["status"] == "idle"
