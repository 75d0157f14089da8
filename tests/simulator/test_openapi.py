"""Every response of every operation in every version, against the vendor's OpenAPI document."""

import httpx
import pytest

from orchestrator.simulator.operations.table import OPERATIONS
from orchestrator.simulator.settings import VERSIONS
from tests.openapi import SpecChecker, SpecError, needs_spec
from tests.simulator.cloud import LEGACY, Cloud, cloud

pytestmark = needs_spec

_CURRENT_APPS = "teehouse__api__routes__apps__v20260121__schemas__"
_LEGACY_APPS = "teehouse__api__routes__apps__v20251028__schemas__"
_CURRENT_CVM = "teehouse__api__routes__cvms__v20260121__schemas__CVMInfo"
UNDOCUMENTED = {("GET", "/auth/me"), ("GET", "/instance-types/{family}")}

NAMED = {
    "/cvms": ("HostedCvm[]", f"{_CURRENT_CVM}[]"),
    "/cvms/paginated": ("PaginatedHostedCvms", "PaginatedCvmInfos"),
    "/cvms/kms-1": ("teehouse__api__routes__cvms__management__CvmBasicInfo", "CVMInfoDetail"),
    "/apps": (f"{_LEGACY_APPS}DstackAppListResponse", f"{_CURRENT_APPS}DstackAppListResponse"),
    "/apps/APP": (f"{_LEGACY_APPS}DstackAppFullResponse", f"{_CURRENT_APPS}DstackAppFullResponse"),
    "/apps/APP/cvms": ("HostedCvm[]", f"{_CURRENT_CVM}[]"),
}


@pytest.fixture(scope="module")
def spec() -> SpecChecker:
    return SpecChecker.load()


def _check(spec: SpecChecker, answer: httpx.Response) -> None:
    is_json = answer.headers["content-type"] == "application/json"
    spec.check_response(
        answer.request.method, answer.request.url.path, answer.status_code, answer.json() if is_json else answer.text
    )


async def _call_every_operation(sky: Cloud) -> list[httpx.Response]:
    """One good answer of every operation, in several states of the CVMs."""
    first, creating, rental = sky.world.find_by_name("kms-1"), sky.world.cvms[-1], sky.world.cvms[-2]
    sky.world.set_behaviour(creating, "null_uuid")
    sky.world.set_behaviour(rental, "refuses")
    app_id = first.app.app_id
    answers = [await sky.post(f"/cvms/kms-1/{action}") for action in ("stop", "stop")]
    sky.world.set_status(first, "running", sky.app.now())
    answers += [await sky.post("/cvms/kms-1/shutdown")]
    reads = ["", "/state", "/operations", "/operation-status"]
    answers += [await sky.http.get(f"/cvms/kms-1{read}") for read in reads]
    answers += [await sky.http.get("/cvms/kms-1/state?target=stopped")]
    answers += [await sky.http.get(f"/cvms/{creating.hashid}")]
    sky.world.set_status(first, "stopped", sky.app.now())
    answers += [await sky.post("/cvms/kms-1/start")]
    sky.world.set_status(first, "error", sky.app.now())
    answers += [await sky.post("/cvms/kms-1/restart", {"force": True})]
    uuids = [cvm.uuid for cvm in sky.world.cvms]
    answers += [await sky.post("/status/batch", {"vm_uuids": uuids})]
    hashids = [cvm.hashid for cvm in sky.world.cvms]
    answers += [await sky.post("/cvms/batch-stop", {"cvm_ids": [*hashids, "cvm_unknown"]})]
    lists = ["/cvms", "/cvms/paginated", "/apps", "/instance-types", "/attestations/nodes"]
    answers += [await sky.http.get(path) for path in lists]
    answers += [await sky.http.get(f"/apps/{app_id}{rest}") for rest in ("", "/cvms", "/usage")]
    return answers


@pytest.mark.anyio
@pytest.mark.parametrize("version", VERSIONS)
async def test_every_success_answer_fits_the_document(spec: SpecChecker, version: str) -> None:
    async with cloud(version, api={"action_id": "integer"}) as sky:
        answers = await _call_every_operation(sky)
        assert {answer.status_code for answer in answers} == {200}
        for answer in answers:
            _check(spec, answer)
        documented = {
            operation.name for operation in OPERATIONS if (operation.method, operation.path) not in UNDOCUMENTED
        }
        assert {record.operation for record in sky.app.requests} == documented


@pytest.mark.anyio
@pytest.mark.parametrize("version", VERSIONS)
async def test_every_shape_is_that_of_its_version(spec: SpecChecker, version: str) -> None:
    async with cloud(version) as sky:
        await sky.post("/cvms/kms-1/stop")
        for path, (legacy, current) in NAMED.items():
            answer = await sky.get(path.replace("APP", sky.world.find_by_name("kms-1").app.app_id))
            spec.check_schema(legacy if version == LEGACY else current, answer)


@pytest.mark.anyio
async def test_every_refusal_is_documented(spec: SpecChecker) -> None:
    async with cloud(workspace={"balance": "0"}) as sky:
        sky.world.set_behaviour("kms-1", "refuses")
        sky.world.set_status(sky.world.find_by_name("gateway-1"), "restarting", 0, in_progress=True)
        answers = [await sky.post(f"/cvms/kms-1/{action}") for action in ("stop", "shutdown", "start", "restart")]
        answers += [await sky.post(f"/cvms/gateway-1/{action}") for action in ("shutdown", "start", "restart")]
        answers += [await sky.post(f"/cvms/unknown/{action}") for action in ("stop", "shutdown", "start", "restart")]
        answers += [await sky.post("/status/batch", {}), await sky.post("/cvms/batch-stop", {"cvm_ids": 1})]
        answers += [await sky.http.get(path) for path in ("/cvms/paginated?page=x", "/apps?page=0", "/apps/unknown")]
        sky.http.headers["X-API-Key"] = ""
        answers += [await sky.http.get("/cvms"), await sky.post("/cvms/kms-1/stop")]
        assert {answer.status_code for answer in answers} == {400, 401, 403, 404, 409, 422}
        for answer in answers:
            _check(spec, answer)


def test_every_operation_of_the_document_is_simulated(spec: SpecChecker) -> None:
    simulated = {(operation.method, operation.path) for operation in OPERATIONS}
    assert simulated - UNDOCUMENTED == set(spec.operations())


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("GET", "/cvms/paginated", {"page": "1", "page_size": "100"}, None),
        ("GET", "/api/v1/apps", {"status": ["running", "stopped"], "listed": "true"}, None),
        ("POST", "/cvms/cvm_x/stop", {}, None),
        ("POST", "/status/batch", {}, {"vm_uuids": ["a"]}),
        ("POST", "/cvms/cvm_x/restart", {}, {"force": True}),
    ],
)
def test_good_requests_pass_the_checker(
    spec: SpecChecker, method: str, path: str, query: dict[str, str | list[str]], body: object
) -> None:
    spec.check_request(method, path, query, body)


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("GET", "/cvms/paginated", {"page": "0"}, None),
        ("GET", "/cvms/paginated", {"page": "first"}, None),
        ("GET", "/cvms/paginated", {"per_page": "5"}, None),
        ("PUT", "/cvms/cvm_x", {}, None),
        ("POST", "/cvms/cvm_x/stop", {}, {"force": True}),
        ("POST", "/status/batch", {}, None),
        ("POST", "/status/batch", {}, {"uuids": []}),
        ("GET", "/cvms/cvm_x/stop", {}, None),
    ],
)
def test_bad_requests_do_not_pass_the_checker(
    spec: SpecChecker, method: str, path: str, query: dict[str, str | list[str]], body: object
) -> None:
    with pytest.raises(SpecError):
        spec.check_request(method, path, query, body)


def test_an_undocumented_status_does_not_pass_the_checker(spec: SpecChecker) -> None:
    with pytest.raises(SpecError, match="418 is not documented"):
        spec.check_response("POST", "/cvms/cvm_x/stop", 418, {})
