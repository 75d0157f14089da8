"""Read the inventory: every CVM once, also if the list shifts between its pages."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from random import Random

import anyio

from orchestrator.cvm import Cvm, CvmRef
from orchestrator.engine.protocols import Cloud
from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.read.retry import read_error, read_with_retry
from orchestrator.engine.read.status import PAGE_SIZE
from orchestrator.errors import CloudError
from orchestrator.reply import AMBIGUOUS_CODE, Page

_PASSES = 5
"""The most reads of a shifting list; after the last read, all CVMs found so far are the result."""

_NOT_FOUND = 404
_WHAT = "the list of CVMs"


@dataclass(frozen=True, slots=True)
class Inventory:
    """CVMs from the list, without duplicates, in the order of the list.

    Attributes:
        cvms: the CVMs.
        whole: whether the CVMs are the whole workspace, or only the requested apps.
        stable: False if the list was still shifting at the last read.
        detailed: whether every CVM comes from its own details, so that a further read adds no fact.
        mistaken: identifiers read as another CVM, or as several CVMs.
    """

    cvms: tuple[Cvm, ...]
    whole: bool
    stable: bool = True
    detailed: bool = False
    mistaken: frozenset[str] = frozenset()


class InventoryReader:
    """Reads the inventory through the gate, with retries. Read-only."""

    def __init__(self, cloud: Cloud, gate: Gate, rng: Random) -> None:
        self._cloud, self._gate, self._rng = cloud, gate, rng

    async def read_apps(self, app_ids: Iterable[str]) -> Inventory:
        """Read only the CVMs of these apps; a missing app has no CVMs.

        Raises:
            CloudError: when the CVMs can't be read.
        """
        cvms: list[Cvm] = []
        wanted = frozenset(app_ids)
        for app_id in sorted(wanted):
            reply = await read_with_retry(partial(self._cloud.list_app, app_id), self._gate, self._rng)
            if reply.value is None and reply.http_status == _NOT_FOUND and not reply.says_not_found:
                return await self._read_apps_from_list(wanted)  # the 404 may come from a gateway
            if reply.value is None and not reply.says_not_found:
                raise read_error(reply, _WHAT)
            # An entry without an app id gets the app id of the request.
            of_app = CvmRef(None, None, "", app_id)
            cvms += (replace(cvm, ref=cvm.ref.completed_by(of_app)) for cvm in reply.value or ())
        return Inventory(tuple(_index_by_key(cvms).values()), whole=False)

    async def read_ids(self, ids: Iterable[str]) -> Inventory:
        """Read single CVMs by hashid, UUID or instance id, each once; a missing CVM is left out.

        An identifier of something else, such as an app id, finds no CVM: the identity in the answer is checked.

        Raises:
            CloudError: when a CVM can't be read.
        """
        wanted = list(dict.fromkeys(ids))
        found: dict[str, Cvm] = {}
        left = iter(wanted)

        async def read() -> None:
            """Read CVMs until no id is left or a CVM can't be read."""
            for cvm_id in left:
                reply = await read_with_retry(partial(self._cloud.read_by_id, cvm_id), self._gate, self._rng)
                if reply.value:
                    found[cvm_id] = reply.value[0]
                elif reply.value is not None or reply.error_code == AMBIGUOUS_CODE:
                    mistaken.add(cvm_id)
                elif not reply.says_no_such_cvm:
                    errors.append(read_error(reply, f"the CVM {cvm_id}"))
                    return

        errors: list[CloudError] = []
        mistaken: set[str] = set()
        async with anyio.create_task_group() as group:
            for _ in range(min(self._gate.max_in_flight, len(wanted))):
                group.start_soon(read)
        if errors:
            raise errors[0]
        cvms = _index_by_key(_join_twins(found[cvm_id] for cvm_id in wanted if cvm_id in found))
        return Inventory(tuple(cvms.values()), whole=False, detailed=True, mistaken=frozenset(mistaken))

    async def _read_apps_from_list(self, app_ids: frozenset[str]) -> Inventory:
        everything = await self.read_all()
        return replace(everything, cvms=tuple(cvm for cvm in everything.cvms if cvm.ref.app_id in app_ids), whole=False)

    async def read_all(self) -> Inventory:
        """Read every CVM of the workspace.

        The pages after the first are read concurrently. If the CVMs do not add up to the stated total, the list
        shifted during the read, or has duplicates. The list is then read again until a read adds up, or two reads in
        a row agree. If this never happens, the result has every CVM found in any read.

        Raises:
            CloudError: when the list can't be read.
        """
        gathered: dict[str, Cvm] = {}
        before: tuple[set[str], set[int]] | None = None
        for _ in range(_PASSES):
            pages = await self._read_pages()
            reading = _index_by_key(cvm for page in pages for cvm in page.cvms)
            totals = {page.total for page in pages}
            adds_up = totals == {len(reading)}
            if adds_up or before == (set(reading), totals):
                has_all = adds_up or totals == {sum(len(page.cvms) for page in pages)}
                return Inventory(tuple(reading.values()), whole=True, stable=has_all)
            gathered |= reading
            before = set(reading), totals
        return Inventory(tuple(gathered.values()), whole=True, stable=False)

    async def complete_facts(self, cvms: Sequence[Cvm], lacking: Iterable[Cvm]) -> tuple[Cvm, ...]:
        """Complete the missing facts of CVMs from their details, read by single requests.

        Args:
            cvms: the CVMs from the list.
            lacking: the CVMs to look up. A CVM stays as in the list if its details can't be read.
        """
        found: dict[CvmRef, Cvm] = {}
        left = iter([cvm.ref for cvm in lacking if cvm.ref.address])
        async with anyio.create_task_group() as group:
            for _ in range(self._gate.max_in_flight):
                group.start_soon(self._complete_each, left, found)
        return tuple(cvm.completed_by(found[cvm.ref]) if cvm.ref in found else cvm for cvm in cvms)

    async def _complete_each(self, left: Iterator[CvmRef], found: dict[CvmRef, Cvm]) -> None:
        for ref in left:
            reply = await read_with_retry(partial(self._cloud.read_cvm, ref), self._gate, self._rng)
            if reply.value is not None:
                found[ref] = reply.value

    async def price_list(self) -> Mapping[str, Decimal]:
        """Read the price list: USD per hour by instance type; empty on failure, so rates stay unknown."""
        reply = await read_with_retry(self._cloud.price_list, self._gate, self._rng)
        return reply.value or {}

    async def _read_pages(self) -> list[Page]:
        list_page = partial(self._cloud.list_page, page_size=PAGE_SIZE)
        replies = {1: await read_with_retry(partial(list_page, 1), self._gate, self._rng)}
        first = replies[1].value

        left = iter(range(2, (first.pages if first else 1) + 1))

        async def read() -> None:
            for number in left:
                replies[number] = await read_with_retry(partial(list_page, number), self._gate, self._rng)

        async with anyio.create_task_group() as group:
            for _ in range(min(self._gate.max_in_flight, first.pages if first else 1)):
                group.start_soon(read)
        pages = []
        for number in sorted(replies):
            page = replies[number].value
            if page is None:
                raise read_error(replies[number], _WHAT)
            pages.append(page)
        return pages


def _join_twins(cvms: Iterable[Cvm]) -> list[Cvm]:
    """Join answers about one CVM: a legacy answer to a UUID has no hashid, and an answer to the hashid has both."""
    ordered = list(cvms)
    hashids = {cvm.ref.uuid_key: cvm.ref.id for cvm in ordered if cvm.ref.uuid_key and cvm.ref.id}
    return [
        replace(cvm, ref=replace(cvm.ref, id=hashids.get(cvm.ref.uuid_key or ""))) if cvm.ref.id is None else cvm
        for cvm in ordered
    ]


def _index_by_key(cvms: Iterable[Cvm]) -> dict[str, Cvm]:
    """Remove duplicates; the last read of a CVM wins. CVMs without any identifier are all kept."""
    return {cvm.ref.key or f"?{number}": cvm for number, cvm in enumerate(cvms)}
