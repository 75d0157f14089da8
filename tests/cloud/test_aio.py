"""What holds for aiohttp alone."""

import subprocess
import sys

import pytest

from tests.cloud.fakes import REF
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
            reply = await cloud.stop(REF)
            assert reply.value is not None
            assert reply.value.status == "stopping"
    assert (server.connections, len(server.requests)) == (3, 3)


@pytest.mark.anyio
async def test_a_server_that_speaks_first_is_asked_once_and_not_connected_to_again_and_again() -> None:
    async def talk(peer: Peer) -> None:
        await peer.write(b"220 smtp.example ESMTP\r\n")
        await peer.gone()

    async with serving(talk) as server, reaching(server.port, many=True) as cloud:
        reply = await cloud.stop(REF)
    assert reply.value is None
    assert reply.problem
    assert server.connections == 1


def test_it_is_not_loaded_before_many_requests_are_to_come() -> None:
    code = "import orchestrator.cloud.client, sys; print('aiohttp' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "False\n"
