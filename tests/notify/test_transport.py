"""The POST of a notice: its content, the meaning of the answer, and the secrecy of the URL."""

from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import httpx
import pytest

from orchestrator.notify.channels.webhook import WebhookChannel
from orchestrator.notify.notice import Notice
from orchestrator.notify.retry import DeliveryResult
from orchestrator.notify.transport import WebhookTransport

pytestmark = pytest.mark.anyio
SECRET = "T0123/B4567/s3cretw0rd"
URL = f"http://localhost:1/hooks/{SECRET}?token=hidden-too"
CHANNEL = WebhookChannel(URL)
NOTICE = Notice("r-1", "run.started", frozenset({"start"}), "nightly started")
Handler = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


async def post(handler: Handler, *, seconds: float = 10.0) -> DeliveryResult:
    transport = httpx.MockTransport(handler)
    way = WebhookTransport(CHANNEL, seconds, transport)
    try:
        return await way(NOTICE)
    finally:
        await way.aclose()


def answering(status: int, body: bytes = b"", **headers: str) -> Handler:
    async def handler(request: httpx.Request) -> httpx.Response:
        del request
        await anyio.lowlevel.checkpoint()
        return httpx.Response(status, content=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return handler


async def test_a_notice_is_posted_as_json_without_headers_of_the_cloud() -> None:
    seen: list[httpx.Request] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return await answering(204)(request)

    assert (await post(handler)).is_accepted
    (request,) = seen
    assert (request.method, str(request.url)) == ("POST", URL)
    assert request.content == CHANNEL.write_body(NOTICE)
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["webhook-id"] == "r-1"
    assert not {"x-api-key", "authorization", "cookie", "x-phala-version"} & set(request.headers)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    seen: list[str] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        return await answering(status, location="http://evil.example/")(request)

    answer = await post(handler)
    assert seen == ["localhost"]
    assert not answer.is_accepted
    assert not answer.is_retryable


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30), ("0", 0), ("1.5", 1.5), ("999999999", 86_400), ("soon", None), ("-1", None), ("", None)],
)
async def test_retry_after_is_read_as_seconds(header: str, seconds: float | None) -> None:
    assert (await post(answering(429, retry_after=header))).retry_after == seconds


async def test_retry_after_is_read_as_a_date() -> None:
    for offset, low, high in ((100, 90, 101), (-100, 0, 0)):
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=offset), usegmt=True)
        waited = (await post(answering(503, retry_after=date))).retry_after
        assert waited is not None
        assert low <= waited <= high


async def test_a_hanging_server_times_out() -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        await anyio.sleep(10_000)
        return await answering(200)(request)

    began = anyio.current_time()
    answer = await post(handler, seconds=7)
    assert anyio.current_time() - began == 7
    assert (answer.status, answer.problem) == (None, "no answer within 7s")


async def test_an_endless_answer_is_cut_off() -> None:
    async def forever() -> AsyncIterator[bytes]:
        while True:
            await anyio.sleep(1)
            yield b"x" * 1000

    async def handler(request: httpx.Request) -> httpx.Response:
        del request
        await anyio.lowlevel.checkpoint()
        return httpx.Response(500, content=forever())

    began = anyio.current_time()
    assert (await post(handler)).problem == "HTTP 500 Internal Server Error"
    assert anyio.current_time() - began == 2


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"channel_not_found", "HTTP 404 channel_not_found"),
        (SECRET.encode(), "HTTP 404 Not Found"),
        (b"\x1b[2Jno", "HTTP 404 Not Found"),
        (b"<html>", "HTTP 404 Not Found"),
        (b"a" * 100, "HTTP 404 Not Found"),
    ],
)
async def test_only_a_plain_word_of_an_answer_is_quoted(body: bytes, says: str) -> None:
    assert (await post(answering(404, body))).problem == says


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError(f"can't reach {URL}"),
        httpx.ReadError(f"broke at /hooks/{SECRET}"),
        httpx.RemoteProtocolError("?token=hidden-too"),
        httpx.InvalidURL(URL),
        OSError(URL),
        ValueError(URL),
    ],
)
async def test_no_error_has_a_part_of_the_url(error: Exception) -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        await answering(200)(request)
        raise error

    answer = await post(handler)
    assert answer.status is None
    assert answer.is_retryable
    for part in (*SECRET.split("/"), "hidden-too", "hooks"):
        assert part not in answer.problem


def test_the_url_is_in_no_repr() -> None:
    way = WebhookTransport(CHANNEL, 5)
    assert "s3cretw0rd" not in repr(way)
