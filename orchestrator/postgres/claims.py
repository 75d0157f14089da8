"""Claims on CVMs in the team store: two runs of any machines never act on the same CVM at once.

A check and the following claim are one statement. The process renews its claims, so a claim ends with its process. The
database's clock decides; ages are counted back from this machine's clock.
"""

import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, Self

import anyio
import anyio.to_thread

from orchestrator.audit.claims import ClaimBesideOthers, Overlap, refuse_live
from orchestrator.cvm import CvmRef
from orchestrator.errors import ClaimedError, OrchestratorError
from orchestrator.postgres.link import Query

_SHARE = 5
"""Renewals in the length of a lease."""
_CLAIM = (
    "SELECT run_id, cvms, is_live, has_ended, age FROM"
    " orchestrator.claim_cvms(%s, %s, %s, %s::text[], %s::jsonb, %s, %s)"
)


class StoreClaims:
    """The claims in the team store, as `ClaimStore`. One task of the store's event loop runs `run`."""

    def __init__(
        self,
        query: Query,
        call: Callable[[Callable[[], Awaitable[Any]]], Any],
        lease: float,
        *,
        on_lost: Callable[[str], object] = lambda _run_id: None,
    ) -> None:
        """Set up.

        Args:
            query: executes a statement in the event loop of the store.
            call: runs an async function in that event loop, for other threads.
            lease: seconds until a claim ends without a renewal.
            on_lost: called with a run's id once another run claimed CVMs of the run during a long outage.
        """
        self.query, self.call, self.lease = query, call, timedelta(seconds=lease)
        self._on_lost = on_lost
        self._held: dict[uuid.UUID, StoreClaim] = {}

    def create_claim(
        self, run_id: str, cloud_url: str, refs: Iterable[CvmRef], *, ignore_running: bool = False
    ) -> "StoreClaim":
        """Claim CVMs for a run, as `ClaimStore.create_claim`."""
        claim = StoreClaim(self, run_id, cloud_url, tuple(refs), ignore_running=ignore_running)
        self.call(claim.make)
        self._held[claim.claim_id] = claim
        return claim

    @contextmanager
    def open_batch(self) -> Iterator[Self]:
        """Claim CVMs for many runs within the block. Other commands may claim other CVMs meanwhile."""
        yield self

    def is_any_live(self, run_ids: Iterable[str]) -> bool:
        """Return True if any of these runs is live, as `ClaimStore.is_any_live`."""
        ask = partial(self.query, "SELECT orchestrator.is_any_claim_live(%s::text[])", [list(run_ids)])
        ((is_live,),) = self.call(ask)
        return bool(is_live)

    def forget(self, claim: "StoreClaim") -> None:
        """Renew a claim no longer."""
        self._held.pop(claim.claim_id, None)

    async def run(self) -> None:
        """Renew all claims of this process, until cancelled. The claims run out by themselves in a long outage."""
        seconds = self.lease.total_seconds() / _SHARE
        while True:
            with suppress(OrchestratorError):
                await self.renew()
            await anyio.sleep(seconds)

    async def renew(self) -> None:
        """Renew all claims once. A claim that ran out is made again; if another run came between, its run ends.

        Raises:
            StoreDownError: when the database can't be reached.
        """
        held = list(self._held.values())
        if not held:
            return
        ids = [claim.claim_id for claim in held]
        rows = await self.query("SELECT orchestrator.renew_claims(%s::uuid[], %s)", [ids, self.lease])
        renewed = {claim_id for (claim_id,) in rows}
        for claim in held:
            if claim.claim_id not in renewed and claim.claim_id in self._held:
                try:
                    await claim.make(narrowed=True)
                except ClaimedError:
                    self._on_lost(claim.run_id)


class StoreClaim(ClaimBesideOthers):
    """The claim of a run in the team store, as `Claim`.

    Attributes:
        run_id: the run.
        claim_id: the claim.
    """

    errors = (OrchestratorError,)

    def __init__(
        self, claims: StoreClaims, run_id: str, cloud_url: str, refs: tuple[CvmRef, ...], *, ignore_running: bool
    ) -> None:
        """Set up; `make` makes the claim."""
        self.run_id, self.claim_id = run_id, uuid.uuid4()
        self._claims, self._cloud_url, self._all, self._ignore_running = claims, cloud_url, refs, ignore_running
        self._cvms = refs
        self._overlaps: list[Overlap] = []
        self._is_released, self._narrowed_at = False, time.time()

    async def make(self, *, narrowed: bool = False) -> None:
        """Make the claim, in the event loop of the store.

        Args:
            narrowed: whether to claim only the CVMs of the last `keep_only`.

        Raises:
            ClaimedError: when a live run claims any of the CVMs, or another process carries out this run.
            StoreDownError: when the database can't be reached.
        """
        refs = self._cvms if narrowed else self._all
        arguments = [self.run_id, self.claim_id, self._cloud_url, *_describe_refs(refs), self._claims.lease]
        rows = await self._claims.query(_CLAIM, [*arguments, self._ignore_running])
        if any(run_id == self.run_id for run_id, *_ in rows):
            raise ClaimedError("another process executes this run", hint="wait for its end")
        overlaps = [_read_overlap(refs, row) for row in rows]
        if not self._ignore_running:
            refuse_live(overlaps)
        self._overlaps, self._cvms = overlaps, refs

    def keep_only(self, refs: Iterable[CvmRef]) -> None:
        """Reduce the claim to these CVMs for now, as `Claim.keep_only`."""
        kept = tuple(refs)
        statement = "SELECT orchestrator.narrow_claim(%s, %s::text[], %s::jsonb)"
        ask = partial(self._claims.query, statement, [self.claim_id, *_describe_refs(kept)])
        with suppress(OrchestratorError):
            self._claims.call(ask)
            self._cvms, self._narrowed_at = kept, time.time()

    async def claim_all(self) -> None:
        """Try once to claim all CVMs of the run again."""
        await anyio.to_thread.run_sync(self._claims.call, self.make)

    def release(self, *, has_ended: bool) -> None:
        """End the claim, as `Claim.release`. Without the database the claim ends by itself after a lease."""
        if not self._is_released:
            self._is_released = True
            self._claims.forget(self)
            statement = "SELECT orchestrator.release_claim(%s, %s)"
            with suppress(OrchestratorError):
                self._claims.call(partial(self._claims.query, statement, [self.claim_id, has_ended]))


def _describe_refs(refs: Sequence[CvmRef]) -> tuple[list[str], str]:
    """Return all identifiers of CVMs, and the CVMs as JSON."""
    keys = sorted({key for ref in refs for key in (ref.id, ref.uuid_key) if key})
    return keys, json.dumps([(ref.id, ref.uuid_key, ref.name) for ref in refs])


def _read_overlap(refs: Sequence[CvmRef], row: Sequence[Any]) -> Overlap:
    run_id, cvms, is_live, has_ended, age = row
    wanted = {key for ref in refs for key in (ref.id, ref.uuid_key) if key}
    names = tuple(str(name) for key, uuid_key, name in cvms if key in wanted or uuid_key in wanted)
    return Overlap(run_id, names, is_live, has_ended, time.time() - max(0.0, age))
