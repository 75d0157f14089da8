"""The simulator on a socket: in the foreground for a terminal, in a thread for tests and demonstrations."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import uvicorn

from orchestrator.simulator.app import Simulator
from orchestrator.simulator.operations.table import PREFIX
from orchestrator.simulator.protocol import ReachableProtocol
from orchestrator.simulator.record import RequestRecord
from orchestrator.simulator.settings import SimulatorSettings
from orchestrator.simulator.workspaces import SimulatedWorkspaces
from orchestrator.simulator.world import World

LOOPBACK = "127.0.0.1"
_TICK_SECONDS = 0.01
_GRACE_SECONDS = 0.2


class _Server(uvicorn.Server):
    """A uvicorn server with fast start and stop: a signal ends the serving, and hanging requests are cancelled."""

    def __init__(self, app: SimulatedWorkspaces, ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=ReachableProtocol,
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                timeout_keep_alive=60,
            )
        )
        self._ready = ready

    async def main_loop(self) -> None:
        """Serve until `should_exit` is set."""
        counter = 0
        await self.on_tick(counter)
        self._ready()
        while not self.should_exit:
            await asyncio.sleep(_TICK_SECONDS)
            counter += 1
            if counter * _TICK_SECONDS >= 1:
                counter = 0
                await self.on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Give requests a moment to finish, then cut every connection."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        deadline = asyncio.get_running_loop().time() + _GRACE_SECONDS
        while (state.tasks or state.connections) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(_TICK_SECONDS / 2)
        tasks = list(state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM end the serving; unlike the parent, do not raise the signals again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _open_listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}{PREFIX}" if ":" in host else f"http://{host}:{port}{PREFIX}"


def serve(
    settings: SimulatorSettings,
    host: str = LOOPBACK,
    port: int = 0,
    on_ready: Callable[[str, SimulatedWorkspaces], None] = lambda _base_url, _workspaces: None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: the cloud to simulate.
        host: the address to listen on.
        port: the port; 0 takes a free port.
        on_ready: called once the server is ready, with the base URL (ending in `/api/v1`) and the workspaces.

    Raises:
        OSError: the address can't be listened on.
    """
    with _open_listener(host, port) as listener:
        app = SimulatedWorkspaces(settings, epoch=datetime.now(UTC))
        server = _Server(app, lambda: on_ready(_base_url(listener), app))
        app.begin()
        asyncio.run(server.serve(sockets=[listener]))


class BackgroundSimulator:
    """The simulator on a socket in its own thread: `with BackgroundSimulator(settings) as sim: …`.

    Attributes:
        url: the base URL, ending in `/api/v1`.
        workspaces: all workspaces, with their keys.
        app: the first workspace, with its request records and its faults.
        world: the state of the first workspace. Change a world from other threads only while no request is under way.
        api_key: the key of the first workspace.
    """

    def __init__(self, settings: SimulatorSettings | None = None, *, host: str = LOOPBACK, port: int = 0) -> None:
        self.workspaces = SimulatedWorkspaces(settings or SimulatorSettings(), epoch=datetime.now(UTC))
        self.app: Simulator = self.workspaces.first
        self.world: World = self.app.world
        self.api_key = self.world.api_key
        self.url = ""
        self._address = (host, port)
        self._ready = threading.Event()
        self._server = _Server(self.workspaces, self._ready.set)
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)
        self._listener: socket.socket | None = None

    def __repr__(self) -> str:
        return f"<BackgroundSimulator at {self.url or 'no address yet'}>"

    @property
    def requests(self) -> list[RequestRecord]:
        """The record of every request to the first workspace so far."""
        return self.app.requests

    def now(self) -> float:
        """Seconds since the world began."""
        return self.app.now()

    def __enter__(self) -> Self:
        self._listener = _open_listener(*self._address)
        self.url = _base_url(self._listener)
        self.workspaces.begin()
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._listener] if self._listener else None))
        finally:
            self._ready.set()
