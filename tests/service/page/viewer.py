"""A viewer of the page in tests: the reader in the same process, over logs that the test writes."""

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx

from orchestrator.service.page.reader import PageReader
from orchestrator.service.page.routes import Page, PageHost
from orchestrator.service.page.values import ServiceFacts
from orchestrator.settings.load import Settings
from tests.service.test_web import CALM

ANNA, VERA = "a" * 32, "b" * 32
"""The tokens of an operator and of a viewer."""
HERE = "http://127.0.0.1:8642"


def make_settings(folder: Path, *, tokens: bool = False, **service: object) -> Settings:
    """Make settings with a state folder, and with a token file."""
    if tokens:
        file = folder / "tokens"
        file.write_text(f"anna operator {ANNA}\nvera viewer {VERA}\n")
        file.chmod(0o600)
        service["token_file"] = file
    return Settings.model_validate({"audit": {"state_dir": folder / "state"}, "service": service})


class Viewer:
    """A client of the page."""

    def __init__(self, settings: Settings, *, listens_here: bool = True, address: str = "127.0.0.1") -> None:
        self.reader = PageReader(settings)
        self.facts = ServiceFacts(CALM, key="✓ readable")
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.page = Page(PageHost(settings, listens_here, lambda: self.facts, self._emit), self._read)
        transport = httpx.ASGITransport(self.page.app, client=(address, 5000))
        self.client = httpx.AsyncClient(transport=transport, base_url=HERE)

    def _emit(self, event: str, /, **facts: object) -> None:
        self.events.append((event, facts))

    async def _read(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - as the reader has it
        return await anyio.to_thread.run_sync(lambda: attrgetter(method)(self.reader)(*arguments))

    def show(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the overview
        """Change the state of the schedules."""
        self.facts = replace(self.facts, overview=replace(CALM, **changes))

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def post(self, path: str, fields: dict[str, str], *, origin: str | None = HERE) -> httpx.Response:
        headers = {} if origin is None else {"origin": origin}
        return await self.client.post(path, data=fields, headers=headers)

    async def act(self, path: str, fields: dict[str, str] | None = None) -> httpx.Response:
        """Send the form of a page, as a browser does."""
        page = (await self.get(path)).text
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.partition("<main")[2])
        return await self.post(path.partition("?")[0], {**dict(hidden), **(fields or {})})

    async def log_in(self, token: str) -> httpx.Response:
        return await self.post("/login", {"token": token, "next": "/runs"})


@contextmanager
def held(log: Path) -> Iterator[None]:
    """Hold a log, as the process of its run does."""
    with log.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
