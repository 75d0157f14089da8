"""What happens on real sockets: each of these holds for httpx's pool and for aiohttp's."""

import asyncio
import gzip
import socket
import zlib
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from orchestrator.action import Action
from orchestrator.cvm import CvmRef
from orchestrator.engine.send.classify import ReplyClass, classify_reply
from tests.cloud.fakes import KEY, REF
from tests.cloud.raw import STOPPING, Peer, always, answer, every_name_is, reaching, serving

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("many", [False, True], ids=["few", "many"])]

Break = Callable[[Peer], Awaitable[object]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def close(_: Peer) -> None:
    """Leave; the server closes."""


BREAKS: dict[str, Break] = {
    "closed": close,
    "reset": Peer.reset,
    "cut in the head": lambda peer: peer.write(b"HTTP/1.1 200 OK\r\nContent-Le"),
}


async def test_a_stop_is_sent_as_it_should_and_the_connection_is_used_again(*, many: bool) -> None:
    async with serving(always) as server, reaching(server.port, many=many) as cloud:
        for _ in range(3):
            assert (await cloud.act(Action.STOP, REF)).value is not None
        assert (await cloud.read_statuses(["a"])).http_status == 200
        assert (await cloud.list_page(2, 50)).http_status == 200
    assert server.connections == 1
    head = server.requests[0].lower()
    assert head.startswith(b"post /api/v1/cvms/cvm_1/stop http/1.1\r\n")
    for line in (
        f"host: 127.0.0.1:{server.port}",
        f"x-api-key: {KEY}",
        "content-length: 0",
        "accept: application/json",
    ):
        assert head.count(f"\r\n{line.lower()}\r\n".encode()) == 1
    assert b'{"vm_uuids": ["a"]}' in server.requests[3]
    assert b"\r\ncontent-type: application/json\r\n" in server.requests[3].lower()
    assert server.requests[4].startswith(b"GET /api/v1/cvms/paginated?page=2&page_size=50 HTTP/1.1\r\n")


@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize("before", [0, 1], ids=["fresh", "kept alive"])
async def test_a_stop_whose_connection_breaks_without_an_answer_is_unknown_and_not_sent_again(
    before: int, broken: str, *, many: bool
) -> None:
    async def talk(peer: Peer) -> None:
        for _ in range(before):
            await peer.request()
            await peer.write(answer())
        await peer.request()
        await BREAKS[broken](peer)

    async with serving(talk) as server, reaching(server.port, many=many) as cloud:
        for _ in range(before):
            assert (await cloud.act(Action.STOP, REF)).value is not None
        reply = await cloud.act(Action.STOP, REF)
    assert (reply.value, reply.http_status, reply.sent) == (None, None, True)
    assert "the connection broke" in (reply.problem or "")
    assert len(server.requests) == before + 1


@pytest.mark.parametrize("broken", BREAKS)
async def test_a_read_is_not_sent_again_behind_the_back_of_the_rate_limit(broken: str, *, many: bool) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(answer())
        await peer.request()
        await BREAKS[broken](peer)

    async with serving(talk) as server, reaching(server.port, many=many) as cloud:
        assert (await cloud.read_state(REF)).value is not None
        assert (await cloud.read_state(REF)).sent
    assert len(server.requests) == 2


@pytest.mark.parametrize("noticed", [False, True])
async def test_a_connection_that_the_server_closed_while_idle_is_not_used(*, noticed: bool, many: bool) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(answer())

    async with serving(talk) as server, reaching(server.port, many=many) as cloud:
        for _ in range(5):
            assert (await cloud.act(Action.STOP, REF)).value is not None
            # The server's end of it comes with the answer or in a turn of the loop after it.
            await _turns(20 if noticed else 5)
    assert (server.connections, len(server.requests)) == (5, 5)


async def _turns(number: int) -> None:
    for _ in range(number):
        await anyio.lowlevel.checkpoint()


async def test_an_answer_that_comes_unasked_is_not_taken_for_the_next_one_s(*, many: bool) -> None:
    read, strayed = anyio.Event(), anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(answer())
        if server.connections == 1:
            await read.wait()
            await peer.write(answer(b'{"status": "stray"}'))
            strayed.set()
        await always(peer)

    async with serving(talk) as server, reaching(server.port, many=many) as cloud:
        for _ in range(3):
            reply = await cloud.act(Action.STOP, REF)
            assert reply.value is not None
            assert reply.value.status == "stopping"
            read.set()
            await strayed.wait()
    assert (server.connections, len(server.requests)) == (2, 3)


@pytest.mark.parametrize("before", [0, 10, -5], ids=["no answer", "half a head", "half a body"])
async def test_a_cancelled_exchange_leaves_nothing_behind_that_a_later_one_could_read(
    before: int, *, many: bool
) -> None:
    asked, cancelled = anyio.Event(), anyio.Event()
    late = answer(b'{"status": "late"}')

    async def talk(peer: Peer) -> None:
        if b"cvm_late" in await peer.request():
            await peer.write(late[:before])
            asked.set()
            await cancelled.wait()
            await peer.write(late[before:] + late)
        else:
            await peer.write(answer())
        await always(peer)

    async with serving(talk) as server, reaching(server.port, many=many, max_in_flight=1) as cloud:
        async with anyio.create_task_group() as group:
            group.start_soon(cloud.act, Action.STOP, CvmRef("cvm_late", None, "late"))
            await asked.wait()
            await _turns(10)
            group.cancel_scope.cancel()
        cancelled.set()
        for _ in range(2):
            reply = await cloud.act(Action.STOP, REF)
            assert reply.value is not None
            assert reply.value.status == "stopping"
    assert (server.connections, len(server.requests)) == (2, 3)


async def test_what_nobody_listens_for_never_left(*, many: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with reaching(port, many=many) as cloud:
        reply = await cloud.act(Action.STOP, REF)
    assert (reply.http_status, reply.sent) == (None, False)
    assert "no connection" in (reply.problem or "")


async def test_what_has_no_address_never_left(monkeypatch: pytest.MonkeyPatch, *, many: bool) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with reaching(1, many=many, host="cloud.example") as cloud:
        reply = await cloud.act(Action.STOP, REF)
    assert (reply.http_status, reply.sent) == (None, False)
    assert "Name or service not known" in (reply.problem or "")


async def test_what_waits_for_a_tls_handshake_that_never_comes_never_left(*, many: bool) -> None:
    async with (
        serving(Peer.gone) as server,
        reaching(server.port, many=many, scheme="https", host="localhost", timeout=1) as cloud,
    ):
        reply = await cloud.act(Action.STOP, REF)
    assert (reply.http_status, reply.sent) == (None, False)
    assert "no connection" in (reply.problem or "")


async def test_what_waits_for_a_free_connection_never_left(*, many: bool) -> None:
    asked = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.gone()

    async with (
        serving(talk) as server,
        reaching(server.port, many=many, max_in_flight=1, timeout=1) as cloud,
        anyio.create_task_group() as group,
    ):
        group.start_soon(cloud.act, Action.STOP, CvmRef("cvm_first", None, "first"))
        await asked.wait()
        reply = await cloud.act(Action.STOP, REF)
        assert (reply.http_status, reply.sent) == (None, False)
    assert len(server.requests) == 1
    assert b"cvm_first" in server.requests[0]


@pytest.mark.parametrize(
    ("begun", "status", "problem"),
    [
        (b"", None, "no answer within 0.7s"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", None, "no answer within 0.7s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", 200, "HTTP 200, but no whole answer within 0.7s"),
    ],
)
async def test_an_answer_that_does_not_end_in_time_is_unknown_and_its_connection_closed(
    begun: bytes, status: int | None, problem: str, *, many: bool
) -> None:
    closed = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(begun)
        await peer.gone()
        closed.set()

    async with serving(talk) as server, reaching(server.port, many=many, timeout=0.7) as cloud:
        reply = await cloud.act(Action.STOP, REF)
        await closed.wait()
    assert (reply.value, reply.http_status, reply.sent, reply.problem) == (None, status, True, problem)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000 + b"\r\n{}",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n{}",
        b"HTTP/1.1 two hundred\r\n\r\n{}",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/7.0 200 OK\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"\x00" * 1_000,
        b"\xff" * 100_000,
        b"\r\n\r\n\r\n",
        b"<html>\r\n\r\n</html>",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        answer(b"no gzip", "200 OK", "Content-Encoding: gzip"),
        answer(gzip.compress(STOPPING, mtime=0)[:-8], "200 OK", "Content-Encoding: gzip"),
        answer(gzip.compress(STOPPING, mtime=0)[:-1], "200 OK", "Content-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(STOPPING, mtime=0)[:-4],
        answer(zlib.compress(STOPPING)[:-4], "200 OK", "Content-Encoding: deflate"),
        answer(STOPPING, "200 OK", "Content-Encoding: br"),
    ],
)
async def test_what_is_no_proper_answer_is_a_problem_in_words(raw: bytes, *, many: bool) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(raw)

    async with serving(talk) as server, reaching(server.port, many=many) as cloud:
        reply = await cloud.act(Action.STOP, REF)
    assert (reply.value, reply.sent) == (None, True)
    assert reply.problem
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", ["101 Switching Protocols", "300 Multiple Choices", "425 Too Early", "999 Odd"])
async def test_an_odd_status_is_no_answer_of_the_api_and_says_that_the_request_was_sent(
    status: str, *, many: bool
) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(answer(b"<html>", status))

    async with serving(talk) as server, reaching(server.port, many=many) as cloud:
        reply = await cloud.act(Action.STOP, REF)
    assert (reply.value, reply.sent, reply.is_json) == (None, True, False)
    assert classify_reply(reply, 1, 0.5).reply_class is ReplyClass.UNKNOWN


@pytest.mark.parametrize(
    "raw",
    [
        answer(gzip.compress(STOPPING, mtime=0), "200 OK", "Content-Encoding: gzip"),
        answer(zlib.compress(STOPPING), "200 OK", "Content-Encoding: deflate"),
        answer(STOPPING, "200 OK", "Content-Encoding: identity"),
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"status"\r\nd\r\n: "stopping"}\r\n0\r\n\r\n',
        b'HTTP/1.1 200 OK\r\n\r\n{"status": "stopping"}',
        b'HTTP/1.0 200 OK\r\n\r\n{"status": "stopping"}',
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(),
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(),
        answer(b'{"status": "stopping"}', "200 OK", "X-Odd: \xff\xe9\t~", "X-Odd: again"),
        answer(b'{"status": "stopping"}', "200 \xe9"),
        answer(b'{"status": "stopping"}', "200 OK", "X: " + "x" * 30_000),
        answer(b'{"status": "stopping"}', "200 OK", "Connection: close"),
    ],
)
async def test_every_proper_answer_is_read_whatever_its_form(raw: bytes, *, many: bool) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(raw)

    async with serving(talk) as server, reaching(server.port, many=many) as cloud:
        for _ in range(2):
            reply = await cloud.act(Action.STOP, REF)
            assert reply.value is not None, reply.problem
            assert reply.value.status == "stopping"
            await _turns(10)
    assert len(server.requests) == 2


@pytest.mark.parametrize("packed", [False, True])
async def test_an_endless_answer_is_cut_off_and_its_connection_closed(*, packed: bool, many: bool) -> None:
    taken: list[int] = []
    closed = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(b"HTTP/1.1 200 OK\r\n" + (b"Content-Encoding: gzip\r\n" if packed else b"") + b"\r\n")
        piece = gzip.compress(b" " * (64 << 20)) if packed else b" " * 65_536
        try:
            while len(taken) < 10_000:
                await peer.write(piece)
                taken.append(len(piece))
        except ConnectionError:
            closed.set()

    async with serving(talk) as server, reaching(server.port, many=many) as cloud:
        reply = await cloud.act(Action.STOP, REF)
        await closed.wait()
        assert "larger than 4 MiB" in (reply.problem or "")
    assert (reply.value, reply.http_status, reply.sent) == (None, 200, True)
    # What the sockets' buffers hold comes on top.
    assert sum(taken) < 20 << 20


async def test_a_redirect_and_a_cookie_are_left_alone(*, many: bool) -> None:
    async def talk(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.write(answer(b"", "307 Temporary Redirect", "Location: /elsewhere", "Set-Cookie: a=b; Path=/"))

    async with serving(talk) as server, reaching(server.port, many=many, host="localhost") as cloud:
        for _ in range(2):
            reply = await cloud.act(Action.STOP, REF)
            assert (reply.value, reply.http_status) == (None, 307)
            assert "redirect to /elsewhere not followed" in (reply.problem or "")
    assert len(server.requests) == 2
    assert not any(b"cookie" in request.lower() or b"elsewhere" in request for request in server.requests)


@pytest.mark.parametrize(("listens", "asked"), [("127.0.0.1", "localhost"), ("::1", "localhost"), ("::1", "[::1]")])
async def test_localhost_is_reached_at_whichever_of_its_addresses_it_listens(
    monkeypatch: pytest.MonkeyPatch, listens: str, asked: str, *, many: bool
) -> None:
    if ":" in listens and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    every_name_is(monkeypatch, "::1", "127.0.0.1")
    async with serving(always, host=listens) as server, reaching(server.port, many=many, host=asked) as cloud:
        assert (await cloud.act(Action.STOP, REF)).value is not None
    assert len(server.requests) == 1
    assert f"\r\nhost: {asked}:{server.port}\r\n".encode() in server.requests[0].lower()


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


async def test_each_of_many_at_once_gets_its_own_answer(*, many: bool) -> None:
    async def talk(peer: Peer) -> None:
        while True:
            which = (await peer.request()).split(b"/")[4]
            await asyncio.sleep(0)
            await peer.write(answer(b'{"status": "%s"}' % which))

    async with serving(talk) as server, reaching(server.port, many=many, max_in_flight=20) as cloud:

        async def one(number: int) -> None:
            reply = await cloud.act(Action.STOP, CvmRef(f"cvm_{number}", None, "x"))
            assert reply.value is not None
            assert reply.value.status == f"cvm_{number}"

        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(one, number)
    assert server.connections <= 20
    assert len(server.requests) == 200
