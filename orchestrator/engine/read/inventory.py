"""Reading the inventory: every CVM once, although the list may shift while its pages are read."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from random import Random
from typing import TypeVar

import anyio

from orchestrator.cvm import Cvm, CvmRef
from orchestrator.engine.protocols import Cloud
from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.read.retry import ask, unreadable
from orchestrator.engine.read.status import PAGE_SIZE
from orchestrator.reply import Page, Reply

_T = TypeVar("_T")

_PASSES = 5
"""How often a list that keeps shifting is read before what was gathered has to do."""

_NOT_FOUND = 404
_WHAT = "the list of CVMs"


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
        wanted = frozenset(app_ids)
        for app_id in sorted(wanted):
            reply = await self._ask(self._app(app_id))
            if reply.value is None and reply.http_status == _NOT_FOUND and not reply.says_not_found:
                return await self._read_apps_from_list(wanted)  # a gateway may have said so
            if reply.value is None and not reply.says_not_found:
                raise unreadable(reply, _WHAT)
            # Whose app an entry does not say, the request does.
            of_app = CvmRef(None, None, "", app_id)
            cvms += (replace(cvm, ref=cvm.ref.completed_by(of_app)) for cvm in reply.value or ())
        return Inventory(tuple(_by_key(cvms).values()), whole=False)

    async def _read_apps_from_list(self, app_ids: frozenset[str]) -> Inventory:
        everything = await self.read_all()
        return replace(everything, cvms=tuple(cvm for cvm in everything.cvms if cvm.ref.app_id in app_ids), whole=False)

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

    async def complete(self, cvms: Sequence[Cvm], lacking: Iterable[Cvm]) -> tuple[Cvm, ...]:
        """These CVMs, with facts that the list does not give read one by one.

        Args:
            cvms: the CVMs as the list has them.
            lacking: those of them to look up. One that can't be read stays as it is.
        """
        found: dict[CvmRef, CvmRef] = {}
        left = iter([cvm.ref for cvm in lacking if cvm.ref.address])
        async with anyio.create_task_group() as group:
            for _ in range(self._gate.max_in_flight):
                group.start_soon(self._look_up, left, found)
        return tuple(replace(cvm, ref=found.get(cvm.ref, cvm.ref)) for cvm in cvms)

    async def _look_up(self, left: Iterator[CvmRef], found: dict[CvmRef, CvmRef]) -> None:
        for ref in left:
            reply = await self._ask(partial(self._cloud.cvm, ref))
            if reply.value is not None:
                found[ref] = ref.completed_by(reply.value.ref)

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
                raise unreadable(replies[number], _WHAT)
            pages.append(page)
        return pages

    async def _ask(self, request: Callable[[], Awaitable[Reply[_T]]]) -> Reply[_T]:
        return await ask(request, self._gate, self._rng)

    def _page(self, number: int) -> Callable[[], Awaitable[Reply[Page]]]:
        return lambda: self._cloud.list_page(number, PAGE_SIZE)

    def _app(self, app_id: str) -> Callable[[], Awaitable[Reply[tuple[Cvm, ...]]]]:
        return lambda: self._cloud.list_app(app_id)


def _by_key(cvms: Iterable[Cvm]) -> dict[str, Cvm]:
    """Each CVM once, the last reading of it winning; one without any identifier can't be told from another."""
    return {cvm.ref.key or f"?{number}": cvm for number, cvm in enumerate(cvms)}
