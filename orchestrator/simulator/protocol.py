"""uvicorn's HTTP protocol, extended to give the application its connection: needed to cut the connection."""

import asyncio
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.simulator.fault_injection import TRANSPORT


class ReachableProtocol(H11Protocol):
    """Puts the transport of the connection into the state of every request's scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Keep the transport for the requests of this connection."""
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in {socket.AF_INET, socket.AF_INET6}:
            # asyncio sets this only for sockets created with a protocol number; `create_server` gives none.
            # Without TCP_NODELAY every answer waits 40 ms for the client's acknowledgement.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, TRANSPORT: transport}
        super().connection_made(transport)
