"""The page on a real socket, over logs that the test writes line by line."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import anyio.to_thread

from orchestrator.service.page.reader import PageReader
from orchestrator.service.page.routes import Page, PageHost
from orchestrator.service.page.values import ServiceFacts
from orchestrator.service.web import Server, open_listener
from orchestrator.settings.load import Settings
from tests.logs import LogBuilder
from tests.service.page.viewer import held
from tests.service.test_web import CALM


class GrowingLog:
    """The log of a run in progress."""

    def __init__(self, log: LogBuilder, state: Path, stack: ExitStack) -> None:
        self.builder, self._written = log, len(log.lines)
        self.path = log.write(state, old=False)
        self._process = stack.enter_context(ExitStack())
        self._process.enter_context(held(self.path))

    def write(self) -> None:
        """Write the new records."""
        with self.path.open("ab") as file:
            file.write(b"".join(self.builder.lines[self._written :]))
        self._written = len(self.builder.lines)

    def end(self) -> None:
        """End the process of the run."""
        self.write()
        self._process.close()


def _ignore(event: str, /, **facts: object) -> None:
    del event, facts


class ServedPage:
    """The page of a service, in a thread."""

    def __init__(self, settings: Settings) -> None:
        self.facts = ServiceFacts(CALM, key="✓ readable")
        self.cancelled: list[tuple[str, str]] = []
        self._settings, self._reader = settings, PageReader(settings)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._page: Page | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _read(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - as the reader has it
        return await anyio.to_thread.run_sync(lambda: attrgetter(method)(self._reader)(*arguments))

    def _cancel(self, run_id: str, by: str) -> bool:
        self.cancelled.append((run_id, by))
        return True

    def start(self) -> None:
        """Start the server, at the same port as before."""
        listener = open_listener("127.0.0.1", self.port)
        self.port = listener.getsockname()[1]
        host = PageHost(self._settings, True, lambda: self.facts, _ignore, self._cancel)
        self._page = Page(host, self._read)
        self._server = server = Server(self._page.app)
        self._thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        self._thread.start()

    def stop(self) -> None:
        """Stop the server; all connections end."""
        assert self._server is not None
        assert self._thread is not None
        assert self._page is not None
        self._page.close()
        self._server.should_exit = True
        self._thread.join(10)


@contextmanager
def served_page(settings: Settings) -> Iterator[ServedPage]:
    page = ServedPage(settings)
    page.start()
    try:
        yield page
    finally:
        page.stop()
