"""Read the statuses of many CVMs with few requests.

The reader first sends batch requests, as large as the server accepts. If the server has no batch request, or the batch
fails or leaves out a UUID, the reader asks for single CVMs, or reads the pages of the list if the pages are fewer.
"""

from collections import Counter, deque
from collections.abc import Sequence
from enum import Enum, auto
from math import ceil
from random import Random
from typing import TypeAlias, TypeVar

import anyio

from orchestrator.cvm import ByCvm, CvmRef
from orchestrator.engine.protocols import Clock, Cloud
from orchestrator.engine.rate.gate import Gate, Priority
from orchestrator.engine.send.classify import pause_seconds
from orchestrator.reply import Reply, StatusRead
from orchestrator.value_class import value_class

PAGE_SIZE = 100
"""CVMs on the largest page of the list."""

_T = TypeVar("_T")
_MISSING = frozenset({404, 405, 501})
TOO_LARGE = frozenset({400, 413, 422})
_SIZES = (5000, 2000, 1000, 500, 200, 100, 50, 20, 10)
"""Batch sizes to try after a batch was too large: a server's limit is usually a round number."""
_MOST_ONE_BY_ONE = 20
"""CVMs to read by single requests in a round, if batch and list do not show them; more if the list has more pages."""
_NOT_FOUND = 404


@value_class(frozen=True, slots=True)
class Observation:
    """Result of a status read for a CVM.

    Attributes:
        read: the status; None if the CVM is gone.
        begun: time of sending the request, in seconds of the engine's clock.
    """

    read: StatusRead | None
    begun: float


class _Chunk(Enum):
    """Result of a batch request."""

    READ = auto()
    TOO_LARGE = auto()  # or the server has no batch request: no CVM of the batch was read
    FAILED = auto()


_Result: TypeAlias = tuple[Sequence[CvmRef], _Chunk]


def _is_missing_from(listed: Sequence[CvmRef], ref: CvmRef) -> bool:
    """Whether a CVM is surely missing from the list, by an identifier of the CVM and of every entry."""
    by_id = ref.id is not None and all(each.id for each in listed)
    by_uuid = ref.uuid_key is not None and all(each.uuid_key for each in listed)
    same = any((by_id and each.id == ref.id) or (by_uuid and each.uuid_key == ref.uuid_key) for each in listed)
    return (by_id or by_uuid) and not same


class StatusReader:
    """Reads statuses, and remembers the limits of the server.

    Attributes:
        batch_size: the most UUIDs in a batch request.
        batch_missing: whether the server has no batch request.
        workspace_size: number of CVMs in the list, used to choose between the list and single reads; 0 if unknown.
    """

    def __init__(
        self,
        *,
        cloud: Cloud,
        gate: Gate,
        clock: Clock,
        rng: Random,
        batch_size: int,
        batch_missing: bool = False,
        workspace_size: int = 0,
    ) -> None:
        self.batch_size, self.batch_missing, self.workspace_size = batch_size, batch_missing, workspace_size
        self._cloud, self._gate, self._clock, self._rng = cloud, gate, clock, rng
        self._size_is_proven = False
        self._failures = 0
        self._left_out: Counter[str] = Counter()
        self._listed: tuple[frozenset[str], frozenset[int]] | None = None

    async def read_statuses(self, refs: Sequence[CvmRef]) -> dict[str, Observation]:
        """Read the statuses of CVMs; the result has no entry for an unreadable status."""
        seen: dict[str, Observation] = {}
        one_by_one = [ref for ref in refs if ref.uuid_key is None]
        by_batch = deque(ref for ref in refs if ref.uuid_key is not None)
        while by_batch and not self.batch_missing:
            # The first batch proves the batch size; then the other batches go concurrently.
            most = len(by_batch) if self._size_is_proven else self.batch_size
            taken = [by_batch.popleft() for _ in range(min(most, len(by_batch)))]
            chunks = [taken[start : start + self.batch_size] for start in range(0, len(taken), self.batch_size)]
            results: list[_Result] = []
            async with anyio.create_task_group() as group:
                for chunk in chunks:
                    group.start_soon(self._read_batch, chunk, seen, results)
            # Concurrent failures count once: they have the same cause at one moment.
            self._failures += any(result is _Chunk.FAILED for _, result in results)
            for asked, result in results:
                if result is _Chunk.READ:
                    one_by_one += self._find_left_out(asked, seen)
                elif result is _Chunk.TOO_LARGE:
                    by_batch.extendleft(reversed(asked))
                elif self._failures > 1:
                    one_by_one += asked
        one_by_one += by_batch
        if one_by_one:
            await self._read_one_by_one(one_by_one, seen)
        return seen

    async def _read_batch(self, chunk: Sequence[CvmRef], seen: dict[str, Observation], results: list[_Result]) -> None:
        async with self._gate.turn(Priority.READ):
            begun = self._clock.now()
            reply = await self._cloud.read_statuses([ref.vm_uuid or "" for ref in chunk])
        if reply.value is None:
            self._apply_backpressure(reply)
            results.append((chunk, self._classify_failure(reply, len(chunk))))
            return
        self._failures = 0
        self._size_is_proven = self._size_is_proven or len(chunk) >= self.batch_size
        for ref in chunk:
            read = reply.value.get(ref.uuid_key or "")
            if read is not None:
                seen[ref.key] = Observation(read, begun)
        results.append((chunk, _Chunk.READ))

    def _classify_failure(self, reply: Reply[_T], size: int) -> _Chunk:
        """Adjust the batch size after a failed batch request, and classify the failure."""
        if reply.http_status in _MISSING and reply.is_json:
            self.batch_missing = True
            return _Chunk.TOO_LARGE
        if reply.http_status in TOO_LARGE and size > self.batch_size:
            return _Chunk.TOO_LARGE  # another batch of the same round has already lowered the batch size
        if reply.http_status in TOO_LARGE:
            self._size_is_proven = False
            smaller = [step for step in _SIZES if step < min(size, self.batch_size)]
            self.batch_size = smaller[0] if smaller else self.batch_size
            self.batch_missing = not smaller
            return _Chunk.TOO_LARGE
        return _Chunk.FAILED

    def _find_left_out(self, chunk: Sequence[CvmRef], seen: dict[str, Observation]) -> list[CvmRef]:
        """Find CVMs left out by the batch twice; the first time may have a passing cause."""
        often = []
        for ref in chunk:
            if ref.key in seen:
                self._left_out.pop(ref.key, None)
            else:
                self._left_out[ref.key] += 1
                if self._left_out[ref.key] > 1:
                    often.append(ref)
        return often

    async def _read_one_by_one(self, refs: Sequence[CvmRef], seen: dict[str, Observation]) -> None:
        pages = ceil(self.workspace_size / PAGE_SIZE)
        if pages and len(refs) > pages:
            await self._read_list(refs, seen)
            refs = [ref for ref in refs if ref.key not in seen][: max(pages, _MOST_ONE_BY_ONE)]
        not_found: list[CvmRef] = []
        async with anyio.create_task_group() as group:
            for ref in refs:
                group.start_soon(self._read_one, ref, seen, not_found)
        if not_found:
            begun = self._clock.now()
            listed = await self._read_list(not_found, seen)
            for ref in not_found:
                if listed is not None and ref.key not in seen and _is_missing_from(listed, ref):
                    seen[ref.key] = Observation(None, begun)

    async def _read_one(self, ref: CvmRef, seen: dict[str, Observation], not_found: list[CvmRef]) -> None:
        """Read the status of a CVM; after a 404 perhaps from a gateway, add the CVM to `not_found` for a list check."""
        async with self._gate.turn(Priority.READ):
            begun = self._clock.now()
            reply = await self._cloud.read_state(ref)
        if reply.value is not None:
            seen[ref.key] = Observation(reply.value, begun)
        elif reply.says_not_found:
            seen[ref.key] = Observation(None, begun)
        elif reply.http_status == _NOT_FOUND:
            not_found.append(ref)
        else:
            self._apply_backpressure(reply)

    async def _read_list(self, refs: Sequence[CvmRef], seen: dict[str, Observation]) -> list[CvmRef] | None:
        """Read CVM statuses from the list; return all listed CVMs if the list is surely complete, otherwise None."""
        wanted = ByCvm((ref, ref) for ref in refs)
        listed: dict[str, CvmRef] = {}
        totals: set[int] = set()
        entries = 0
        page, pages = 1, 1
        while page <= pages:
            async with self._gate.turn(Priority.READ):
                begun = self._clock.now()
                reply = await self._cloud.list_page(page, PAGE_SIZE)
            if reply.value is None:
                self._apply_backpressure(reply)
                return None
            totals.add(reply.value.total)
            entries += len(reply.value.cvms)
            for cvm in reply.value.cvms:
                listed[cvm.ref.key] = cvm.ref
                ref = wanted.find(cvm.ref)
                if ref is not None:
                    seen[ref.key] = Observation(StatusRead(cvm.status, cvm.in_progress), begun)
            pages, page = reply.value.pages, page + 1
        # A list that lacks entries, or shifts during the read, does not add up. A list with duplicates adds up only by
        # its entries; then two reads have to agree.
        before, self._listed = self._listed, (frozenset(listed), frozenset(totals))
        repeats = totals == {entries} and before == self._listed
        return [*listed.values()] if totals == {len(listed)} or repeats else None

    def _apply_backpressure(self, reply: Reply[_T]) -> None:
        """Pause the gate after a failed read, if the API asks for a pause."""
        wait = pause_seconds(reply, self._failures + 1, self._rng.random())
        if wait is not None:
            self._gate.pause(wait)
