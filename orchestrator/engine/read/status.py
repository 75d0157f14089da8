"""Reading the statuses of many CVMs with few requests.

The batch operation first, as large as the server takes. Where it is missing, fails, or leaves a UUID out: the status of
single CVMs, or the pages of the list where those are fewer.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import ceil
from random import Random
from typing import TypeAlias, TypeVar

import anyio

from orchestrator.cvm import ByCvm, CvmRef
from orchestrator.engine.protocols import Clock, Cloud
from orchestrator.engine.rate.gate import Gate, Lane
from orchestrator.engine.send.classify import pause_for
from orchestrator.reply import Reply, StatusRead

PAGE_SIZE = 100
"""The largest page that the list gives."""

_T = TypeVar("_T")
_MISSING = frozenset({404, 405, 501})
_TOO_LARGE = frozenset({400, 413, 422})
_SIZES = (5000, 2000, 1000, 500, 200, 100, 50, 20, 10)
"""What is tried next where a batch is too large: a server's cap is mostly a round number."""
_MOST_SINGLY = 20
"""So many of those that neither the batch nor the list shows are read one by one in a round, however small the list."""
_UNAUTHORIZED, _NOT_FOUND = 401, 404


@dataclass(frozen=True, slots=True)
class Observation:
    """What one read said of one CVM.

    Attributes:
        read: its status; None when it is gone.
        begun: when the request was sent, in seconds of the engine's clock.
    """

    read: StatusRead | None
    begun: float


class _Chunk(Enum):
    """What came of one batch of UUIDs."""

    READ = auto()
    TOO_LARGE = auto()  # or there is no such operation: not one of them was read
    FAILED = auto()


_Result: TypeAlias = tuple[Sequence[CvmRef], _Chunk]


def _is_missing_from(listed: Sequence[CvmRef], ref: CvmRef) -> bool:
    """Whether a CVM is not on a list that tells every CVM by an identifier which is known of this one as well."""
    by_id = ref.id is not None and all(each.id for each in listed)
    by_uuid = ref.uuid_key is not None and all(each.uuid_key for each in listed)
    same = any((by_id and each.id == ref.id) or (by_uuid and each.uuid_key == ref.uuid_key) for each in listed)
    return (by_id or by_uuid) and not same


def _cut(refs: deque[CvmRef], size: int, most: int) -> list[list[CvmRef]]:
    """Take up to `most` of them away, in pieces of this size."""
    taken = [refs.popleft() for _ in range(min(most, len(refs)))]
    return [taken[start : start + size] for start in range(0, len(taken), size)]


class StatusReader:
    """Reads statuses, and remembers what the server can't do.

    Attributes:
        batch_size: how many UUIDs one request asks for.
        batch_missing: whether the server turned out to have no such request.
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
        key_refused: Callable[[], None],
        heard: Callable[[Reply[object]], None] = lambda _reply: None,
    ) -> None:
        self.batch_size, self.batch_missing = batch_size, batch_missing
        self._cloud, self._gate, self._clock, self._rng = cloud, gate, clock, rng
        self._key_refused, self._heard = key_refused, heard
        self._size_is_proven = False
        self._failures = 0
        self._left_out: Counter[str] = Counter()
        self._pages = 0
        self._listed: tuple[frozenset[str], frozenset[int]] | None = None

    async def read(self, refs: Sequence[CvmRef]) -> dict[str, Observation]:
        """The statuses of these CVMs by their keys; those that could not be read are missing."""
        seen: dict[str, Observation] = {}
        singly = [ref for ref in refs if ref.uuid_key is None]
        by_batch = deque(ref for ref in refs if ref.uuid_key is not None)
        while by_batch and not self.batch_missing:
            # One batch shows whether the server takes that many; then the others go side by side.
            most = len(by_batch) if self._size_is_proven else self.batch_size
            chunks = _cut(by_batch, self.batch_size, most)
            results: list[_Result] = []
            async with anyio.create_task_group() as group:
                for chunk in chunks:
                    group.start_soon(self._read_batch, chunk, seen, results)
            # Many that fail side by side speak of one moment.
            self._failures += any(result is _Chunk.FAILED for _, result in results)
            for asked, result in results:
                if result is _Chunk.READ:
                    singly += self._often_left_out(asked, seen)
                elif result is _Chunk.TOO_LARGE:
                    by_batch.extendleft(reversed(asked))
                elif self._failures > 1:
                    singly += asked
        singly += by_batch
        if singly:
            await self._fall_back(singly, seen)
        return seen

    async def _read_batch(self, chunk: Sequence[CvmRef], seen: dict[str, Observation], results: list[_Result]) -> None:
        async with self._gate.turn(Lane.READ):
            begun = self._clock.now()
            reply = await self._cloud.statuses([ref.vm_uuid or "" for ref in chunk])
        self._heard(reply)
        if reply.value is None:
            self._heed(reply)
            results.append((chunk, self._not_read(reply, len(chunk))))
            return
        self._failures = 0
        self._size_is_proven = self._size_is_proven or len(chunk) >= self.batch_size
        for ref in chunk:
            read = reply.value.get(ref.uuid_key or "")
            if read is not None:
                seen[ref.key] = Observation(read, begun)
        results.append((chunk, _Chunk.READ))

    def _not_read(self, reply: Reply[_T], size: int) -> _Chunk:
        """Learn from a batch that was not answered."""
        if reply.http_status in _MISSING and reply.is_json:
            self.batch_missing = True
            return _Chunk.TOO_LARGE
        if reply.http_status in _TOO_LARGE and size > self.batch_size:
            return _Chunk.TOO_LARGE  # as was learnt from another one of the same round
        if reply.http_status in _TOO_LARGE:
            self._size_is_proven = False
            smaller = [step for step in _SIZES if step < min(size, self.batch_size)]
            self.batch_size = smaller[0] if smaller else self.batch_size
            self.batch_missing = not smaller
            return _Chunk.TOO_LARGE
        return _Chunk.FAILED

    def _often_left_out(self, chunk: Sequence[CvmRef], seen: dict[str, Observation]) -> list[CvmRef]:
        """Those that the batch left out twice: the first time may be a matter of the moment."""
        often = []
        for ref in chunk:
            if ref.key in seen:
                self._left_out.pop(ref.key, None)
            else:
                self._left_out[ref.key] += 1
                if self._left_out[ref.key] > 1:
                    often.append(ref)
        return often

    async def _fall_back(self, refs: Sequence[CvmRef], seen: dict[str, Observation]) -> None:
        if self._pages and len(refs) > self._pages:
            await self._read_list(refs, seen)
            refs = [ref for ref in refs if ref.key not in seen][: max(self._pages, _MOST_SINGLY)]
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
        """Read one CVM; of a 404 that may be a gateway's, only a complete list tells whether the CVM is gone."""
        async with self._gate.turn(Lane.READ):
            begun = self._clock.now()
            reply = await self._cloud.state(ref)
        self._heard(reply)
        if reply.value is not None:
            seen[ref.key] = Observation(reply.value, begun)
        elif reply.says_not_found:
            seen[ref.key] = Observation(None, begun)
        elif reply.http_status == _NOT_FOUND:
            not_found.append(ref)
        else:
            self._heed(reply)

    async def _read_list(self, refs: Sequence[CvmRef], seen: dict[str, Observation]) -> list[CvmRef] | None:
        """Read these CVMs from the list; give everything that is on it if that is certain to be every CVM."""
        wanted = ByCvm((ref, ref) for ref in refs)
        listed: dict[str, CvmRef] = {}
        totals: set[int] = set()
        page, pages = 1, 1
        while page <= pages:
            async with self._gate.turn(Lane.READ):
                begun = self._clock.now()
                reply = await self._cloud.list_page(page, PAGE_SIZE)
            self._heard(reply)
            if reply.value is None:
                self._heed(reply)
                return None
            totals.add(reply.value.total)
            for cvm in reply.value.cvms:
                listed[cvm.ref.key] = cvm.ref
                ref = wanted.find(cvm.ref)
                if ref is not None:
                    seen[ref.key] = Observation(StatusRead(cvm.status, cvm.in_progress), begun)
            pages, page = reply.value.pages, page + 1
        # A list that shifts under the reading does not add up; one with doubles never does, but two readings agree.
        before, self._listed = self._listed, (frozenset(listed), frozenset(totals))
        return [*listed.values()] if totals == {len(listed)} or before == self._listed else None

    def known_size(self, cvms: int) -> None:
        """Hear how many CVMs the workspace has, so that reading the list can be weighed against single reads."""
        self._pages = ceil(cvms / PAGE_SIZE)

    def _heed(self, reply: Reply[_T]) -> None:
        """Do what a failed read asks for: wait, or end the run."""
        if reply.http_status == _UNAUTHORIZED:
            self._key_refused()
        wait = pause_for(reply, self._failures + 1, self._rng.random())
        if wait is not None:
            self._gate.pause(wait)
