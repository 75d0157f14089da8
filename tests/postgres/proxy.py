"""A way to a server in tests: cuts off answers, or refuses connections, as a broken network does."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread


class Proxy:
    """Carries bytes between clients and the socket of a server, in threads.

    Attributes:
        port: port of this machine for clients.
        is_down: whether connections are refused.
        is_stalled: whether no byte passes, as behind a firewall that drops packets.
        cut_after: cut the connection off in place of the answer to the next bytes that contain this text.
        cuts: the number of answers cut off.
    """

    def __init__(self, server: Path) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.is_down = self.is_stalled = False
        self.cut_after: bytes | None = None
        self.cuts = 0
        self._pause = Event()
        self._start(self._accept)

    def break_off(self) -> None:
        """Refuse connections from now on, and break the present connections off."""
        self.is_down = True
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all threads."""
        self.is_stalled = False
        self._listener.shutdown(socket.SHUT_RDWR)
        self.break_off()
        while self._threads:
            self._threads.pop().join(10)
        for each in (self._listener, *self._sockets):
            each.close()

    def _start(self, work: object, *arguments: object) -> None:
        thread = Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type] # a method
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.is_down:
                    client.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(str(self._server))
                except OSError:  # the server restarts
                    client.close()
                    server.close()
                    continue
                self._sockets += [client, server]
                if self.is_down:  # broken off since the check above
                    self.break_off()
                is_cut = Event()
                self._start(self._carry_questions, client, server, is_cut)
                self._start(self._carry_answers, client, server, is_cut)

    def _stall(self) -> None:
        while self.is_stalled:
            self._pause.wait(0.01)

    def _carry_questions(self, client: socket.socket, server: socket.socket, is_cut: Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                self._stall()
                if self.cut_after is not None and self.cut_after in data:
                    self.cut_after = None
                    is_cut.set()
                server.sendall(data)
        if not is_cut.is_set():  # after a cut the server finishes its statement
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)

    def _carry_answers(self, client: socket.socket, server: socket.socket, is_cut: Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                self._stall()
                if is_cut.is_set():
                    self.cuts += 1
                    break
                client.sendall(data)
        for each in (client, server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextmanager
def start_proxy(folder: Path, port: int) -> Iterator[Proxy]:
    """Start a proxy to the server with its socket in a folder."""
    proxy = Proxy(folder / f".s.PGSQL.{port}")
    try:
        yield proxy
    finally:
        proxy.close()
