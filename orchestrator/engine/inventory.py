"""Reading the inventory: every CVM once, although the list may shift while its pages are read."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import TypeVar

import anyio

from orchestrator.cvm import Cvm
from orchestrator.engine.decide import backoff, pause_for
from orchestrator.engine.gate import Gate, Lane
from orchestrator.engine.protocols import Cloud
from orchestrator.engine.status import PAGE_SIZE
from orchestrator.errors import CloudError
from orchestrator.reply import Page, Reply

_T = TypeVar("_T")

_PASSES = 5
"""How often a list that keeps shifting is read before what was gathered has to do."""
_ATTEMPTS = 5
_ATTEMPTS_TO_CONNECT = 2
"""Where not even a connection comes about, the address is usually wrong, and a person waits."""

_UNAUTHORIZED, _NOT_FOUND = 401, 404
_PASSING = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True)
class Inventory:
    """The CVMs that were read, each once, in the order of the list.

    Attributes:
        cvms: the CVMs.
        whole: whether they are the whole workspace, or only the apps that were asked for.
        stable: False when the list was still shifting at the last reading.
    """

    cvms: tuple[Cvm, ...]
    whole: bool
    stable: bool = True


class InventoryReader:
    """Reads the inventory through the gate, with retries. Nothing it does changes anything."""

    def __init__(self, cloud: Cloud, gate: Gate, rng: Random) -> None:
        self._cloud, self._gate, self._rng = cloud, gate, rng

    async def read_apps(self, app_ids: Iterable[str]) -> Inventory:
        """The CVMs of these apps alone; an app that is not there has none.

        Raises:
            CloudError: when they can't be had.
        """
        cvms: list[Cvm] = []
        for app_id in sorted(app_ids):
            reply = await self._ask(self._app(app_id))
            if reply.value is None and reply.http_status != _NOT_FOUND:
                raise _explain(reply)
            cvms += reply.value or ()
        return Inventory(tuple(_by_key(cvms).values()), whole=False)

    async def read_all(self) -> Inventory:
        """Every CVM of the workspace.

        The pages after the first are read concurrently. Where they do not add up to the total that each of them
        states, the list shifted under the reading (or holds doubles): it is read again until a reading adds up, or
        two agree. A list that never comes to rest gives everything that was met.

        Raises:
            CloudError: when it can't be had.
        """
        gathered: dict[str, Cvm] = {}
        before: tuple[set[str], set[int]] | None = None
        for _ in range(_PASSES):
            pages = await self._read_pages()
            reading = _by_key(cvm for page in pages for cvm in page.cvms)
            totals = {page.total for page in pages}
            if totals == {len(reading)} or before == (set(reading), totals):
                return Inventory(tuple(reading.values()), whole=True)
            gathered |= reading
            before = set(reading), totals
        return Inventory(tuple(gathered.values()), whole=True, stable=False)

    async def price_list(self) -> Mapping[str, Decimal]:
        """USD per hour by instance type; empty when it can't be had, which leaves rates unknown."""
        reply = await self._ask(self._cloud.price_list)
        return reply.value or {}

    async def _read_pages(self) -> list[Page]:
        replies = {1: await self._ask(self._page(1))}
        first = replies[1].value

        left = iter(range(2, (first.pages if first else 1) + 1))

        async def read() -> None:
            for number in left:
                replies[number] = await self._ask(self._page(number))

        async with anyio.create_task_group() as group:
            for _ in range(min(self._gate.max_in_flight, first.pages if first else 1)):
                group.start_soon(read)
        pages = []
        for number in sorted(replies):
            page = replies[number].value
            if page is None:
                raise _explain(replies[number])
            pages.append(page)
        return pages

    def _page(self, number: int) -> Callable[[], Awaitable[Reply[Page]]]:
        return lambda: self._cloud.list_page(number, PAGE_SIZE)

    def _app(self, app_id: str) -> Callable[[], Awaitable[Reply[tuple[Cvm, ...]]]]:
        return lambda: self._cloud.list_app(app_id)

    async def _ask(self, request: Callable[[], Awaitable[Reply[_T]]]) -> Reply[_T]:
        """Ask until there is an answer that stands, or asking again is of no use."""
        attempt = 0
        while True:
            attempt += 1
            async with self._gate.turn(Lane.READ):
                reply = await request()
            status = reply.http_status
            final = status is not None and 300 <= status < 500 and status not in _PASSING  # noqa: PLR2004 - 3xx, 4xx
            attempts = _ATTEMPTS if reply.sent else _ATTEMPTS_TO_CONNECT
            if reply.value is not None or final or attempt >= attempts:
                return reply
            wait = pause_for(reply, attempt, self._rng.random())
            if wait is not None:
                self._gate.pause(wait)
            else:
                await anyio.sleep(backoff(attempt, self._rng.random()) / 2)


def _by_key(cvms: Iterable[Cvm]) -> dict[str, Cvm]:
    """Each CVM once, the last reading of it winning; one without any identifier can't be told from another."""
    return {cvm.ref.key or f"?{number}": cvm for number, cvm in enumerate(cvms)}


def _explain(reply: Reply[_T]) -> CloudError:
    """The error for a person when the inventory can't be had."""
    request = f" (request {reply.request_id})" if reply.request_id else ""
    problem = f"{reply.problem or 'the answer can not be read'}{request}"
    if reply.http_status == _UNAUTHORIZED:
        hint = "check PHALA_CLOUD_API_KEY, or api_key in the settings; the key may be revoked or of another service"
        return CloudError(f"the API refuses the key: {problem}", hint=hint)
    if not reply.sent:
        return CloudError(
            f"the API can't be reached: {problem}",
            hint="check the network, and cloud.base_url in the settings",
        )
    return CloudError(f"the list of CVMs can't be read: {problem}", hint="nothing was sent; try again later")
