"""The API as seen by a client: keys, versions, lists, errors, limits and lag."""

import json
from email.utils import parsedate_to_datetime
from typing import Any

import anyio
import pytest

from tests.simulator.cloud import CURRENT, LEGACY, NEWEST, cloud

pytestmark = pytest.mark.anyio

STOP_4 = {"stop_seconds": [4, 4]}


async def test_a_wrong_key_reads_only_public_operations() -> None:
    async with cloud() as sky:
        sky.http.headers["X-API-Key"] = "phak_wrong"
        for path in ("/cvms", "/cvms/paginated", "/apps", "/auth/me", "/cvms/x"):
            assert (await sky.http.get(path)).status_code == 401
        for path in ("/instance-types", "/instance-types/gpu", "/attestations/nodes"):
            assert (await sky.http.get(path)).status_code == 200


async def test_every_response_has_its_own_request_id() -> None:
    async with cloud() as sky:
        answers = [await sky.http.get(path) for path in ("/cvms", "/cvms/x", "/nothing")]
        ids = [answer.headers["X-Request-ID"] for answer in answers]
        assert len(set(ids)) == 3
        assert ids == [record.request_id for record in sky.app.requests]


@pytest.mark.parametrize(("version", "identifies"), [(LEGACY, False), (CURRENT, True), (NEWEST, True)])
async def test_the_list_has_the_shape_of_the_version(version: str, identifies: bool) -> None:
    async with cloud(version) as sky:
        item = (await sky.get("/cvms/paginated", page_size=1))["items"][0]
        assert item.get("id", "").startswith("cvm_") is identifies
        assert ("hosted" in item) is not identifies
        assert ("hourly_rate" in item) is (version == NEWEST)


async def test_action_id_is_a_number_and_a_hashid_in_the_newest_version() -> None:
    for version, kind in ((LEGACY, int), (CURRENT, int), (NEWEST, str)):
        async with cloud(version) as sky:
            answer = await sky.post(f"/cvms/{sky.world.cvms[0].hashid}/stop")
            assert isinstance(answer.json()["id"], kind)


async def test_an_unknown_version_is_refused_and_no_version_means_the_default() -> None:
    async with cloud("1999-01-01") as sky:
        assert (await sky.http.get("/cvms")).status_code == 400
        del sky.http.headers["X-Phala-Version"]
        assert "hosted" in (await sky.get("/cvms"))[0]


async def test_all_pages_together_are_the_list_newest_first() -> None:
    async with cloud() as sky:
        pages = [await sky.get("/cvms/paginated", page=page, page_size=5) for page in (1, 2, 3, 4)]
        assert [len(page["items"]) for page in pages] == [5, 5, 2, 0]
        assert {(page["total"], page["pages"]) for page in pages} == {(12, 3)}
        found = [item["id"] for page in pages for item in page["items"]]
        assert found == [item["id"] for item in await sky.get("/cvms")]
        assert found[::-1] == [cvm.hashid for cvm in sky.world.cvms]


async def test_the_filters_of_admins_are_accepted_and_ignored() -> None:
    async with cloud() as sky:
        teepod = str(sky.world.teepods[0].id)
        assert (await sky.get("/cvms/paginated", teepod_id=teepod))["total"] == 12


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/cvms/paginated?page=0", ["query", "page"]),
        ("/cvms/paginated?page_size=101", ["query", "page_size"]),
        ("/cvms/paginated?page=one", ["query", "page"]),
        ("/cvms/paginated?user_id=bob", ["query", "user_id"]),
        ("/cvms/kms-1/state?target=stopped&interval=1", ["query", "interval"]),
        ("/cvms/kms-1/operations?cursor=%21", ["query", "cursor"]),
    ],
)
async def test_a_bad_query_is_a_422_with_the_location(path: str, location: list[str]) -> None:
    async with cloud() as sky:
        answer = await sky.http.get(path)
        problem = answer.json()["detail"][0]
        assert (answer.status_code, problem["loc"]) == (422, location)
        assert {"loc", "msg", "type"} == set(problem)


@pytest.mark.parametrize(
    ("path", "content", "location"),
    [
        ("/status/batch", b"", ["body"]),
        ("/status/batch", b"{", ["body", 1]),
        ("/status/batch", b"{}", ["body", "vm_uuids"]),
        ("/status/batch", b'{"vm_uuids": "x"}', ["body", "vm_uuids"]),
        ("/cvms/batch-stop", json.dumps({"cvm_ids": ["x"] * 51}).encode(), ["body", "cvm_ids"]),
    ],
)
async def test_a_bad_body_is_a_422_with_the_location(path: str, content: bytes, location: list[Any]) -> None:
    async with cloud() as sky:
        answer = await sky.http.post(path, content=content)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, location)


async def test_unknown_paths_are_404_and_unknown_methods_405() -> None:
    async with cloud() as sky:
        assert (await sky.http.get("/nothing")).status_code == 404
        assert (await sky.http.get("/status/batch")).status_code == 405
        assert (await sky.http.get("/cvms/unknown")).json()["error_code"] == "ERR-03-001"


async def test_status_batch_takes_both_forms_of_uuid_and_omits_unknown_uuids() -> None:
    async with cloud() as sky:
        first, second = sky.world.cvms[:2]
        body = {"vm_uuids": [first.uuid, second.uuid.replace("-", ""), "0" * 32]}
        assert set((await sky.post("/status/batch", body)).json()) == {first.uuid, second.uuid}


async def test_a_setting_shows_uuids_without_dashes() -> None:
    async with cloud(api={"uuid_dashes": False}) as sky:
        assert "-" not in (await sky.get("/cvms"))[0]["vm_uuid"]


async def test_batch_stop_counts_skipped_cvms_and_names_failed_cvms() -> None:
    async with cloud() as sky:
        up, stopping, rental, stuck = sky.world.cvms[-4:]
        await sky.post(f"/cvms/{stopping.hashid}/stop")
        sky.world.set_behaviour(rental, "refuses")
        sky.world.set_behaviour(stuck, "conflict")
        asked = [up.hashid, stopping.hashid, rental.hashid, stuck.hashid, "cvm_unknown"]
        answer = (await sky.post("/cvms/batch-stop", {"cvm_ids": asked})).json()
        assert (answer["total"], answer["stopped"], answer["skipped"]) == (5, 1, 2)
        assert [error["cvm_id"] for error in answer["errors"]] == [stuck.hashid, "cvm_unknown"]


async def test_reads_lag_by_the_seconds_in_the_settings() -> None:
    async with cloud(timing={**STOP_4, "read_lag": 3}) as sky:
        cvm = sky.world.find_by_name("kms-1")
        await anyio.sleep(10)
        assert (await sky.post(f"/cvms/{cvm.hashid}/stop")).json()["status"] == "stopping"

        async def seen() -> set[str]:
            batch = (await sky.post("/status/batch", {"vm_uuids": [cvm.uuid]})).json()[cvm.uuid]
            listed = next(item for item in await sky.get("/cvms") if item["id"] == cvm.hashid)
            state = await sky.get(f"/cvms/{cvm.hashid}/state")
            return {batch["status"], listed["status"], state["status"], await sky.status("kms-1")}

        await anyio.sleep(2.9)
        assert await seen() == {"running"}
        await anyio.sleep(0.2)
        assert await seen() == {"stopping"}
        await anyio.sleep(3.8)
        assert await seen() == {"stopping"}
        await anyio.sleep(0.2)
        assert await seen() == {"stopped"}


async def test_a_vanished_cvm_answers_404_and_is_in_no_list_or_batch() -> None:
    async with cloud(timing=STOP_4) as sky:
        cvm = sky.world.set_behaviour("kms-1", "vanishes")
        await sky.post(f"/cvms/{cvm.hashid}/stop")
        await anyio.sleep(5)
        assert (await sky.http.get(f"/cvms/{cvm.hashid}")).status_code == 404
        assert (await sky.post("/status/batch", {"vm_uuids": [cvm.uuid]})).json() == {}
        assert (await sky.get("/cvms/paginated"))["total"] == 11


async def test_requests_above_the_rate_limit_get_429_and_a_wait() -> None:
    async with cloud(limit={"requests_per_second": 2, "burst": 3}) as sky:
        assert [(await sky.http.get("/auth/me")).status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = await sky.http.get("/auth/me")
        assert refused.headers["Retry-After"] == "1"
        await anyio.sleep(0.5)
        assert [(await sky.http.get("/auth/me")).status_code for _ in range(2)] == [200, 429]


async def test_retry_after_can_be_a_date() -> None:
    async with cloud(limit={"requests_per_second": 0.1, "burst": 1, "retry_after": "date"}) as sky:
        await sky.http.get("/auth/me")
        until = parsedate_to_datetime((await sky.http.get("/auth/me")).headers["Retry-After"])
        assert 10 <= (until - sky.world.epoch).total_seconds() <= 12


@pytest.mark.parametrize("form", ["zero", "past"])
async def test_retry_after_can_give_no_wait(form: str) -> None:
    async with cloud(limit={"requests_per_second": 0.1, "burst": 1, "retry_after": form}) as sky:
        await sky.http.get("/auth/me")
        told = (await sky.http.get("/auth/me")).headers["Retry-After"]
        assert told == "0" if form == "zero" else parsedate_to_datetime(told) < sky.world.epoch


async def test_latency_delays_every_request() -> None:
    async with cloud(timing={"latency": [0.25, 0.25]}) as sky:
        begun = anyio.current_time()
        await sky.http.get("/auth/me")
        assert anyio.current_time() - begun == pytest.approx(0.25)


async def test_apps_are_filtered_by_properties_of_their_cvms() -> None:
    async with cloud() as sky:
        sky.world.set_status(sky.world.find_by_name("kms-1"), "stopped", 0)
        assert [app["name"] for app in (await sky.get("/apps", search="kms"))["dstack_apps"]] == ["kms"]
        assert [app["name"] for app in (await sky.get("/apps", status="stopped"))["dstack_apps"]] == ["kms"]
        app_id = sky.world.find_by_name("kms-1").app.app_id
        assert (await sky.get(f"/apps/0x{app_id}"))["cvm_count"] == 1
        assert len(await sky.get(f"/apps/app_{app_id}/cvms")) == 1
        assert (await sky.http.get("/apps/unknown/cvms")).status_code == 404


@pytest.mark.parametrize("version", [LEGACY, CURRENT, NEWEST])
async def test_current_user_has_the_shape_of_the_version(version: str) -> None:
    async with cloud(version) as sky:
        told = await sky.get("/auth/me")
        assert (told if version == LEGACY else told["user"])["username"] == "operator"
        assert told["team_name" if version == LEGACY else "workspace"]
