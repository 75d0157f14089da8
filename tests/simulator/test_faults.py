"""The faults: the answer to the client, and the effect on the CVM."""

import json
import time
from email.utils import parsedate_to_datetime

import anyio
import httpx
import pytest

from orchestrator.simulator.fault_injection import encode_json
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import SimulatorSettingsError, parse_settings
from tests.simulator.cloud import cloud

asynchronous = pytest.mark.anyio


@asynchronous
@pytest.mark.parametrize(("fault", "stops"), [("error_before", 0), ("error_after", 1)])
async def test_a_server_error_may_come_before_or_after_the_effect(fault: str, stops: int) -> None:
    async with cloud(faults={fault: 1}) as sky:
        assert (await sky.post("/cvms/kms-1/stop")).status_code in {500, 502, 504}
        assert sky.world.find_by_name("kms-1").effective_stops == stops
        record = sky.app.requests[0]
        assert (record.fault, record.effect, record.cvm_hashid) == (
            fault,
            bool(stops),
            sky.world.find_by_name("kms-1").hashid,
        )


@asynchronous
async def test_a_gzip_body_without_trailer_comes_after_the_effect() -> None:
    async with cloud(faults={"gzip_cut": 1}) as sky:
        answer = await sky.post("/cvms/kms-1/stop")
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.json()["status"] == "stopping", "httpx does not notice; a careful client does"
        assert sky.world.find_by_name("kms-1").effective_stops == 1


@asynchronous
async def test_gateway_404_is_an_html_page_without_effect() -> None:
    async with cloud(faults={"gateway_404": 1}) as sky:
        answer = await sky.post("/cvms/kms-1/stop")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert sky.world.find_by_name("kms-1").effective_stops == 0


@asynchronous
@pytest.mark.parametrize(("fault", "stops"), [("odd_before", 0), ("odd_after", 1)])
async def test_an_odd_status_may_come_before_or_after_the_effect(fault: str, stops: int) -> None:
    async with cloud(faults={fault: 1, "odd_statuses": [425, 999]}) as sky:
        assert (await sky.post("/cvms/kms-1/stop")).status_code in {425, 999}
        assert sky.world.find_by_name("kms-1").effective_stops == stops


@asynchronous
@pytest.mark.parametrize(("fault", "stops"), [("reset_before", 0), ("reset_after", 1)])
async def test_a_reset_in_memory_is_a_read_error(fault: str, stops: int) -> None:
    async with cloud(faults={fault: 1}) as sky:
        with pytest.raises(httpx.ReadError):
            await sky.post("/cvms/kms-1/stop")
        assert sky.world.find_by_name("kms-1").effective_stops == stops
        assert sky.app.requests[0].status == 0


@asynchronous
@pytest.mark.parametrize(("fault", "stops"), [("hang_before", 0), ("hang_after", 1)])
async def test_a_hang_outlasts_the_timeout_of_the_client(fault: str, stops: int) -> None:
    async with cloud(faults={fault: 1, "hang_seconds": 60}) as sky:
        with pytest.raises(httpx.ReadTimeout):
            await sky.http.post("/cvms/kms-1/stop", timeout=10)
        assert anyio.current_time() == pytest.approx(10)
        assert sky.world.find_by_name("kms-1").effective_stops == stops


@asynchronous
async def test_a_hang_ends_with_an_answer() -> None:
    async with cloud(faults={"hang_after": 1, "hang_seconds": 60}) as sky:
        assert (await sky.http.post("/cvms/kms-1/stop", timeout=100)).json()["status"] == "stopping"
        assert anyio.current_time() == pytest.approx(60)


@asynchronous
async def test_a_truncated_body_in_memory_is_a_protocol_error_after_the_effect() -> None:
    async with cloud(faults={"truncated": 1}) as sky:
        with pytest.raises(httpx.RemoteProtocolError):
            await sky.post("/cvms/kms-1/stop")
        assert sky.world.find_by_name("kms-1").effective_stops == 1


@asynchronous
async def test_html_and_json_of_another_shape_come_after_the_effect() -> None:
    async with cloud() as sky:
        sky.app.faults.force("not_json", operation="stop_cvm")
        answer = await sky.post("/cvms/kms-1/stop")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        sky.app.faults.force("wrong_shape", times=2)
        assert isinstance((await sky.post("/cvms/gateway-1/stop")).json(), list)
        assert isinstance((await sky.http.get("/cvms")).json(), dict)
        assert [sky.world.find_by_name(name).effective_stops for name in ("kms-1", "gateway-1")] == [1, 1]


@asynchronous
async def test_a_huge_body_has_the_size_in_the_settings() -> None:
    async with cloud(faults={"huge": 1, "huge_bytes": 1_000_000}) as sky:
        assert len((await sky.http.get("/auth/me")).content) > 1_000_000


@asynchronous
async def test_a_redirect_points_to_another_host_and_has_no_effect() -> None:
    async with cloud(faults={"redirect": 1}) as sky:
        answer = await sky.post("/cvms/kms-1/stop")
        assert (answer.status_code, answer.headers["Location"].split("/")[2]) == (307, "elsewhere.invalid")
        assert sky.world.find_by_name("kms-1").effective_stops == 0


@asynchronous
async def test_throttle_gives_retry_after_and_unavailable_gives_it_at_times() -> None:
    async with cloud() as sky:
        sky.app.faults.force("throttle", times=30)
        throttled = [(await sky.http.get("/auth/me")).headers["Retry-After"] for _ in range(30)]
        dates = [value for value in throttled if not value.isdigit()]
        assert 0 < len(dates) < 30
        assert all(parsedate_to_datetime(value) > sky.world.epoch for value in dates)
        sky.app.faults.force("unavailable", times=30)
        answers = [await sky.http.get("/auth/me") for _ in range(30)]
        assert {answer.status_code for answer in answers} == {503}
        assert 0 < sum("Retry-After" in answer.headers for answer in answers) < 30


@asynchronous
async def test_a_status_batch_can_omit_uuids_be_missing_or_have_a_cap() -> None:
    async with cloud(faults={"batch_cap": 12}) as sky:
        uuids = [cvm.uuid for cvm in sky.world.cvms]
        sky.app.faults.force("missing_uuids", operation="status_batch")
        assert len((await sky.post("/status/batch", {"vm_uuids": uuids})).json()) == 10
        sky.app.faults.force("batch_missing", operation="status_batch")
        assert (await sky.post("/status/batch", {"vm_uuids": uuids})).status_code == 404
        assert len((await sky.post("/status/batch", {"vm_uuids": uuids})).json()) == 12
        over = await sky.post("/status/batch", {"vm_uuids": [*uuids, "x"]})
        assert (over.status_code, over.json()["detail"][0]["type"]) == (422, "too_long")


@asynchronous
async def test_a_list_can_shift_between_pages_and_repeat_an_item() -> None:
    async with cloud(faults={"shifting_list": 1}) as sky:
        pages = [await sky.get("/cvms/paginated", page=page, page_size=6) for page in (1, 2, 3)]
        assert [page["total"] for page in pages] == [12, 13, 12]
        assert pages[1]["items"][0] == pages[0]["items"][-1]
    async with cloud(faults={"duplicates": 1}) as sky:
        first, second = [(await sky.get("/cvms/paginated", page=page, page_size=6))["items"] for page in (1, 2)]
        assert second[0] == first[-1]
        assert len({item["id"] for item in first + second}) == 12


@asynchronous
async def test_a_fault_strikes_only_its_operations_up_to_its_limit() -> None:
    rule = {"probability": 1, "operations": ["stop_cvm"], "limit": 2}
    async with cloud(faults={"error_before": rule}) as sky:
        assert (await sky.http.get("/cvms")).status_code == 200
        codes = [(await sky.post("/cvms/kms-1/stop")).status_code for _ in range(3)]
        assert [code >= 500 for code in codes] == [True, True, False]


async def _run(seed: int) -> list[tuple[object, ...]]:
    chances = dict.fromkeys(("error_before", "error_after", "throttle", "wrong_shape"), 0.2)
    async with cloud(fleet={"cvms": 20, "seed": seed}, faults=chances) as sky:
        for cvm in sky.world.cvms:
            await sky.post(f"/cvms/{cvm.hashid}/stop")
            await anyio.sleep(0.3)
        final = (await sky.http.get("/cvms")).text
        return [(record.fault, record.status, record.request_id) for record in sky.app.requests] + [(final,)]


@asynchronous
async def test_same_requests_at_same_times_get_the_same_answers() -> None:
    assert await _run(5) == await _run(5)
    assert await _run(5) != await _run(6)


def test_a_fault_for_an_unknown_operation_is_refused() -> None:
    document = {"faults": {"huge": {"probability": 1, "operations": ["stop_everything"]}}}
    with pytest.raises(SimulatorSettingsError, match=r"faults\.huge\.operations: unknown operation 'stop_everything'"):
        BackgroundSimulator(parse_settings(document))


@pytest.mark.parametrize(
    ("fault", "error", "stops"),
    [
        ("reset_before", httpx.ReadError, 0),
        ("reset_after", httpx.ReadError, 1),
        ("truncated", httpx.RemoteProtocolError, 1),
        ("hang_after", httpx.ReadTimeout, 1),
    ],
)
def test_a_fault_on_a_socket_breaks_the_connection(fault: str, error: type[Exception], stops: int) -> None:
    document = {"fleet": {"cvms": 4}, "faults": {fault: {"probability": 1, "limit": 1}}}
    with (
        BackgroundSimulator(parse_settings(document)) as sim,
        httpx.Client(base_url=sim.url, headers={"X-API-Key": sim.api_key}, timeout=0.2) as client,
    ):
        cvm = sim.world.cvms[0]
        with pytest.raises(error):
            client.post(f"/cvms/{cvm.hashid}/stop")
        assert cvm.effective_stops == stops
        assert client.get(f"/cvms/{cvm.hashid}").status_code == 200
        begun = time.monotonic()
    assert time.monotonic() - begun < 1


def test_a_name_with_half_a_surrogate_pair_is_answered() -> None:
    assert json.loads(encode_json({"name": "dev-\ud800"})) == {"name": "dev-\ud800"}
