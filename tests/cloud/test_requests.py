"""What the client sends: to the right place, as the vendor's document has it, and nowhere else."""

import json
from collections.abc import Callable

import httpx
import pytest

from orchestrator import __version__
from orchestrator.action import Action
from orchestrator.cloud.client import PhalaCloud, connect
from orchestrator.cvm import CvmRef
from orchestrator.errors import CloudError
from orchestrator.reply import Reply
from tests.cloud.fakes import KEY, OPERATIONS, REF, UUID, Server, ask, client
from tests.openapi import SpecChecker, needs_spec

pytestmark = pytest.mark.anyio

USAGE = "start_date=2026-11-22T07%3A30%3A00Z&end_date=2026-11-24T09%3A00%3A00Z&limit=5000&offset=10000"


def _empty(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={})


@needs_spec
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_request_is_one_of_the_vendor_s_document(operation: str) -> None:
    spec, server = SpecChecker.load(), Server(_empty)
    async with client(server) as cloud:
        await OPERATIONS[operation](cloud)
    (request,) = server.requests
    body = json.loads(request.content) if request.content else None
    spec.check_request(request.method, request.url.path, dict(request.url.params), body)


@pytest.mark.parametrize(
    ("operation", "method", "target"),
    [
        ("list_page", "GET", "/api/v1/cvms/paginated?page=1&page_size=100"),
        ("list_app", "GET", "/api/v1/apps/ab12/cvms"),
        ("price_list", "GET", "/api/v1/instance-types"),
        (
            "usage_page",
            "GET",
            f"/api/v1/apps/ab12/usage?{USAGE}",
        ),
        ("stop", "POST", "/api/v1/cvms/cvm_1/stop"),
        ("shutdown", "POST", "/api/v1/cvms/cvm_1/shutdown"),
        ("start", "POST", "/api/v1/cvms/cvm_1/start"),
        ("restart", "POST", "/api/v1/cvms/cvm_1/restart"),
        ("statuses", "POST", "/api/v1/status/batch"),
        ("state", "GET", "/api/v1/cvms/cvm_1/state"),
    ],
)
async def test_each_operation_is_one_request_with_key_version_and_agent(
    operation: str, method: str, target: str
) -> None:
    server = Server(_empty)
    async with client(server) as cloud:
        await OPERATIONS[operation](cloud)
    (request,) = server.requests
    assert (request.method, request.url.raw_path.decode(), request.url.host) == (method, target, "cloud.example")
    assert request.headers["x-api-key"] == KEY
    assert request.headers["x-phala-version"] == "2026-06-23"
    assert request.headers["user-agent"] == f"orchestrator/{__version__}"
    if operation == "statuses":
        assert json.loads(request.content) == {"vm_uuids": [UUID]}
        assert request.headers["content-type"] == "application/json"
    else:
        assert request.content == b""


async def test_a_cvm_without_a_hashid_is_addressed_by_its_uuid() -> None:
    server = Server(_empty)
    async with client(server) as cloud:
        await cloud.act(Action.STOP, CvmRef(None, UUID, "dev-1", "a1"))
    assert server.requests[0].url.path == f"/api/v1/cvms/{UUID}/stop"


@pytest.mark.parametrize(
    "bad", ["", "..", "../apps", "a/b", "a?b", "a#b", "a%2Fb", "a b", "é", "a\0", "x" * 1_000_000, "\ud800"]
)
@pytest.mark.parametrize(
    "call",
    [
        lambda c, bad: c.act(Action.STOP, CvmRef(bad, None, "n")),
        lambda c, bad: c.act(Action.START, CvmRef(bad, None, "n")),
        lambda c, bad: c.read_state(CvmRef(bad, None, "n")),
        lambda c, bad: c.list_app(bad),
    ],
    ids=["stop", "start", "state", "list_app"],
)
async def test_what_is_no_identifier_is_never_put_into_a_request(
    call: Callable[[PhalaCloud, str], object], bad: str
) -> None:
    server = Server(_empty)
    async with client(server) as cloud:
        reply = await call(cloud, bad)  # type: ignore[misc] # one of several coroutines
    assert isinstance(reply, Reply)
    assert (server.requests, reply.value, reply.sent) == ([], None, False)
    assert reply.problem
    assert len(reply.problem) < 600


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", ["https://elsewhere.example/", "http://cloud.example/api/v1/", "//elsewhere.example/x"]
)
async def test_a_redirect_is_not_followed_so_the_key_goes_nowhere_else(status: int, location: str) -> None:
    server = Server(lambda _: httpx.Response(status, headers={"location": location}))
    async with client(server) as cloud:
        reply = await cloud.act(Action.STOP, REF)
    assert len(server.requests) == 1
    assert (reply.value, reply.http_status) == (None, status)
    assert f"redirect to {location}" in (reply.problem or "")


async def test_a_location_of_anything_else_is_no_redirect() -> None:
    reply = await ask("stop", 409, b'{"detail": "busy"}', {"location": "/x"})
    assert reply.problem == "HTTP 409: busy"


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTPS_PROXY", "gopher://x"), ("ALL_PROXY", "http://x:port"), ("SSL_CERT_FILE", "/nowhere/ca.pem")],
)
@pytest.mark.parametrize("many", [False, True])
async def test_an_environment_that_can_not_be_used_is_a_cloud_error(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, *, many: bool
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(CloudError, match="no connection can be set up") as caught:
        async with connect("https://cloud.example", KEY, api_version="x", timeout=1, max_in_flight=1, many=many):
            pass
    assert name in (caught.value.hint or "")


async def test_the_key_is_in_no_reply() -> None:
    reply = await ask("stop", 401, b'{"detail": "Invalid API key"}')
    assert reply.problem == "HTTP 401: Invalid API key"
    assert KEY not in repr(reply)
