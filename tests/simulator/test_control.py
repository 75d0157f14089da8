"""The control paths under `/__simulator__`."""

import anyio
import pytest

from tests.simulator.cloud import cloud

pytestmark = pytest.mark.anyio

ROOT = "http://simulated/__simulator__"


async def test_request_records_need_no_key_and_are_not_recorded() -> None:
    async with cloud() as sky:
        await sky.post("/cvms/kms-1/stop")
        await sky.http.get("/cvms/unknown")
        del sky.http.headers["X-API-Key"]
        await sky.http.get(f"{ROOT}/requests")
        told = (await sky.http.get(f"{ROOT}/requests")).json()
        assert [(each["seq"], each["operation"], each["status"], each["effect"]) for each in told] == [
            (1, "stop_cvm", 200, True),
            (2, "get_cvm", 404, False),
        ]


async def test_control_shows_the_true_state_and_effective_stops() -> None:
    async with cloud(timing={"read_lag": 100}) as sky:
        await sky.post("/cvms/kms-1/stop")
        told = {each["name"]: each for each in (await sky.http.get(f"{ROOT}/cvms")).json()}
        assert (told["kms-1"]["status"], told["kms-1"]["effective_stops"]) == ("stopping", 1)
        assert (told["gateway-1"]["status"], told["gateway-1"]["effective_stops"]) == ("running", 0)


async def test_control_sets_the_status_or_behaviour_of_a_cvm() -> None:
    async with cloud(timing={"stop_seconds": [4, 4]}) as sky:
        await sky.post("/cvms/kms-1/stop")
        await anyio.sleep(5)
        assert (await sky.http.post(f"{ROOT}/cvms/kms-1", json={"status": "running"})).json()["status"] == "running"
        assert await sky.status("kms-1") == "running"
        change = {"behaviour": {"kind": "busy", "attempts": 1}}
        assert (await sky.http.post(f"{ROOT}/cvms/kms-1", json=change)).json()["behaviour"] == "busy"
        assert [(await sky.post("/cvms/kms-1/stop")).status_code for _ in range(2)] == [409, 200]
        answer = await sky.http.post(f"{ROOT}/cvms/kms-1", json={"behaviour": None})
        assert answer.json()["behaviour"] is None


async def test_control_refuses_unknown_paths_and_bodies() -> None:
    async with cloud() as sky:
        for change in ({"state": "running"}, {"behaviour": "sulks"}):
            assert (await sky.http.post(f"{ROOT}/cvms/kms-1", json=change)).status_code == 422
        assert (await sky.http.post(f"{ROOT}/cvms/unknown", json={})).status_code == 404
        assert (await sky.http.get(f"{ROOT}/elsewhere")).status_code == 404
