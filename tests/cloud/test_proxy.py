"""What the environment says of proxies holds for the outside world, and never for this machine."""

import socket
from pathlib import Path

import pytest

from orchestrator.action import Action
from tests.cloud.fakes import KEY, REF
from tests.cloud.raw import Peer, always, answer, every_name_is, reaching, serving

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("many", [False, True], ids=["few", "many"])]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def everything_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name is this machine's, and no proxy is named yet."""
    every_name_is(monkeypatch, "127.0.0.1")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
async def test_what_is_sent_to_this_machine_is_never_handed_to_a_proxy(
    monkeypatch: pytest.MonkeyPatch, name: str, host: str, *, many: bool
) -> None:
    async with serving(always) as proxy, serving(always, host="0.0.0.0") as server:  # noqa: S104 - 127.0.0.2 is loopback as well
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with reaching(server.port, many=many, host=host) as cloud:
            assert (await cloud.act(Action.STOP, REF)).value is not None
    assert (len(server.requests), len(proxy.requests)) == (1, 0)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "http_proxy"])
async def test_what_goes_out_goes_through_the_proxy_that_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, *, many: bool
) -> None:
    async with serving(always) as proxy, serving(always) as server:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with reaching(server.port, many=many, host="cloud.example") as cloud:
            assert (await cloud.act(Action.STOP, REF)).value is not None
    assert (len(server.requests), len(proxy.requests)) == (0, 1)
    assert proxy.requests[0].startswith(b"POST http://cloud.example")


@pytest.mark.parametrize(
    "excepted", ["cloud.example", "*", ".example", "other.example, cloud.example", "[::1],cloud.example"]
)
async def test_no_proxy_names_what_is_reached_directly(
    monkeypatch: pytest.MonkeyPatch, excepted: str, *, many: bool
) -> None:
    async with serving(always) as proxy, serving(always) as server:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", excepted)
        async with reaching(server.port, many=many, host="cloud.example") as cloud:
            assert (await cloud.act(Action.STOP, REF)).value is not None
    assert (len(server.requests), len(proxy.requests)) == (1, 0)


async def test_what_a_proxy_refuses_to_carry_never_left_and_the_proxy_never_saw_the_key(
    monkeypatch: pytest.MonkeyPatch, *, many: bool
) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(answer(b"", "407 Proxy Authentication Required"))

    async with serving(talk) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with reaching(443, many=many, scheme="https", host="cloud.example") as cloud:
            reply = await cloud.act(Action.STOP, REF)
    assert (reply.http_status, reply.sent) == (None, False)
    assert "407" in (reply.problem or "")
    assert proxy.requests[0].startswith(b"CONNECT cloud.example:443 ")
    assert not any(KEY.encode() in request for request in proxy.requests)


async def test_what_a_proxy_that_is_not_there_should_carry_never_left(
    monkeypatch: pytest.MonkeyPatch, *, many: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    async with reaching(443, many=many, scheme="https", host="cloud.example") as cloud:
        reply = await cloud.act(Action.STOP, REF)
    assert (reply.http_status, reply.sent) == (None, False)


async def test_a_netrc_file_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, many: bool) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine cloud.example login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with serving(always) as server, reaching(server.port, many=many, host="cloud.example") as cloud:
        assert (await cloud.act(Action.STOP, REF)).value is not None
    assert b"authorization" not in server.requests[0].lower()


@pytest.mark.parametrize("excepted", ["localhost,[::1]", "[::1]", "10.0.0.0/8,localhost"])
async def test_a_bracketed_address_in_no_proxy_does_not_break_the_client(
    monkeypatch: pytest.MonkeyPatch, excepted: str, *, many: bool
) -> None:
    async with serving(always) as proxy, serving(always) as server:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", excepted)
        async with reaching(server.port, many=many, host="cloud.example") as cloud:
            assert (await cloud.act(Action.STOP, REF)).value is not None
    assert (len(server.requests), len(proxy.requests)) == (0, 1)
