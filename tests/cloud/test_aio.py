"""What holds for aiohttp alone, and when it is taken."""

import subprocess
import sys

import pytest

from orchestrator.action import Action
from orchestrator.cloud.aio import ThroughAiohttp
from orchestrator.cloud.transport import Destination, ThroughHttpx, choose_carrier
from tests.cloud.fakes import KEY, REF
from tests.cloud.raw import Peer, always, answer, reaching, serving


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_a_second_answer_in_one_piece_with_the_first_is_thrown_away() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.write(answer() + answer(b'{"status": "stray"}'))
        await always(peer)

    async with serving(talk) as server, reaching(server.port, many=True) as cloud:
        for _ in range(3):
            reply = await cloud.act(Action.STOP, REF)
            assert reply.value is not None
            assert reply.value.status == "stopping"
    assert (server.connections, len(server.requests)) == (3, 3)


@pytest.mark.anyio
async def test_a_server_that_speaks_first_is_asked_once_and_not_connected_to_again_and_again() -> None:
    async def talk(peer: Peer) -> None:
        await peer.write(b"220 smtp.example ESMTP\r\n")
        await peer.gone()

    async with serving(talk) as server, reaching(server.port, many=True) as cloud:
        reply = await cloud.act(Action.STOP, REF)
    assert reply.value is None
    assert reply.problem
    assert server.connections == 1


def test_it_is_not_loaded_before_many_requests_are_to_come() -> None:
    code = "import orchestrator.cloud.client, sys; print('aiohttp' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "False\n"


def _target(base_url: str) -> Destination:
    return Destination(base_url=base_url, headers={"X-API-Key": KEY}, timeout=10, connections=4)


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:1/api/v1", "https://cloud.example/api/v1"])
def test_it_carries_many_requests_unless_they_have_to_go_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, base_url: str
) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(choose_carrier(_target(base_url), many=True), ThroughAiohttp)
    assert isinstance(choose_carrier(_target(base_url), many=False), ThroughHttpx)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    proxied = base_url.startswith("https")
    assert isinstance(choose_carrier(_target(base_url), many=True), ThroughHttpx if proxied else ThroughAiohttp)


def test_the_key_is_in_no_repr_of_where_requests_go() -> None:
    assert KEY not in repr(_target("https://cloud.example/api/v1"))
