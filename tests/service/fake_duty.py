"""A store for several schedulers in tests: the rules of the database, on virtual time, with faults."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from orchestrator.errors import StoreDownError
from orchestrator.postgres.duty import Duty
from orchestrator.postgres.firing_run import FiringProgress, FiringRun, Verdict
from orchestrator.times import timestamp
from tests.service.host import Wall

_T = TypeVar("_T")


@dataclass
class StoredRun:
    """A run in the store."""

    run: FiringRun
    begun_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    reason: str | None = None


@dataclass
class Database:
    """The rows, with the rules of the schema. Nothing waits within a statement."""

    wall: Wall
    epoch: int = 0
    lease_id: object = None
    holder: str | None = None
    lease_until: datetime | None = None
    journal: dict[int, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    runs: dict[str, StoredRun] = field(default_factory=dict)
    is_down: bool = False
    cloud_is_down: bool = False
    refused: Counter[str] = field(default_factory=Counter)
    _submitted: anyio.Event = field(default_factory=anyio.Event)

    def take(self, lease_id: object, holder: str, until: datetime) -> int | None:
        mine = self.lease_id is lease_id
        if not mine and self.lease_until is not None and self.lease_until >= self.wall.wall():
            return None
        self.epoch += not mine
        self.lease_id, self.holder, self.lease_until = lease_id, holder, until
        return self.epoch

    def let_go(self, epoch: int, lease_id: object) -> None:
        if self.is_held(epoch, lease_id):
            self.lease_id = self.holder = self.lease_until = None

    def is_held(self, epoch: int, lease_id: object) -> bool:
        held = self.epoch == epoch and self.lease_id is lease_id
        self.refused["fenced"] += not held
        return held

    def append(self, epoch: int, lease_id: object, seq: int, record: Mapping[str, Any], run: FiringRun | None) -> bool:
        if not self.is_held(epoch, lease_id):
            return False
        if seq in self.journal:
            self.refused["taken number"] += 1
            raise StoreDownError("a line with this number exists")
        self.journal[seq] = (epoch, dict(record))
        if run is not None:
            self.submit(epoch, lease_id, run)
        return True

    def submit(self, epoch: int, lease_id: object, run: FiringRun) -> Verdict:
        if not self.is_held(epoch, lease_id):
            return Verdict.FENCED
        key = (run.playbook, run.planned, run.workspace)
        others = {(each.run.playbook, each.run.planned, each.run.workspace) for each in self.runs.values()}
        if run.run_id in self.runs or key in others:
            return Verdict.EXISTS
        self.runs[run.run_id] = StoredRun(run)
        self._submitted.set()
        return Verdict.SUBMITTED

    def read_run(self, run_id: str) -> FiringProgress | None:
        found = self.runs.get(run_id)
        if found is None:
            return None
        start_before = found.run.start_before
        late = found.begun_at is None and found.finished_at is None
        return FiringProgress(
            is_late=late and start_before is not None and start_before < self.wall.wall(),
            exit_code=found.exit_code,
            reason=found.reason,
            finished_at=found.finished_at,
            is_unsent=found.finished_at is not None and found.begun_at is None,
        )

    def give_up(self, epoch: int, lease_id: object, run_id: str, exit_code: int, reason: str) -> bool:
        found = self.runs[run_id]
        if not self.is_held(epoch, lease_id) or found.begun_at is not None:
            return False
        found.finished_at, found.exit_code, found.reason = self.wall.wall(), exit_code, reason
        return True

    def retry(self, epoch: int, lease_id: object, run_id: str) -> bool:
        found = self.runs[run_id]
        start_before = found.run.start_before
        is_late = start_before is not None and self.wall.wall() >= start_before
        if not self.is_held(epoch, lease_id) or found.begun_at is not None or found.finished_at is None or is_late:
            return False
        self.runs[run_id] = StoredRun(found.run)
        self._submitted.set()
        return True

    async def work(self, rng: Random, seconds: float) -> None:
        """Carry the runs out, as workers: each begins within seconds, and lasts for these seconds."""
        seen: dict[int, StoredRun] = {}
        async with anyio.create_task_group() as group:
            while True:
                await self._submitted.wait()
                self._submitted = anyio.Event()
                for each in self.runs.values():
                    if id(each) not in seen:
                        seen[id(each)] = each
                        group.start_soon(self._carry_out, each, 3 * rng.random(), seconds)

    async def _carry_out(self, run: StoredRun, delay: float, seconds: float) -> None:
        await anyio.sleep(delay)
        now, start_before = self.wall.wall(), run.run.start_before
        if start_before is not None and now >= start_before:
            return
        if self.cloud_is_down:
            run.finished_at, run.exit_code, run.reason = now, 5, "the API can't be reached"
            return
        run.begun_at = now
        await anyio.sleep(seconds)
        run.finished_at, run.exit_code = self.wall.wall(), 0

    def carried_out(self, playbook: str) -> list[str]:
        """The planned times of the begun runs of a playbook, in order."""
        found = [each for each in self.runs.values() if each.run.playbook == playbook and each.begun_at is not None]
        return [timestamp(each.run.planned) for each in found]

    def records(self, event: str, playbook: str) -> list[dict[str, Any]]:
        """The records of an event for a playbook."""
        lines = (record for _, record in self.journal.values())
        return [record for record in lines if record["event"] == event and record.get("playbook") == playbook]


class FakeDutyStore:
    """The store as one process sees it, as `DutyStore`: slow, at times unreachable, at times without an answer."""

    def __init__(self, database: Database, holder: str, lease: float, rng: Random, *, faults: float = 0.0) -> None:
        self.database, self.lease, self.rng, self.faults = database, lease, rng, faults
        self._holder, self._lease_id = holder, object()
        self.goes_on = anyio.Event()
        self.goes_on.set()
        self.is_dead = False

    def pause(self) -> None:
        """Stop the process, like SIGSTOP: nothing reaches the store, and no answer reaches the process."""
        self.goes_on = anyio.Event()

    def die(self) -> None:
        """End the process: nothing more reaches the store."""
        self.is_dead = True
        self.goes_on.set()

    def wall(self) -> datetime:
        return self.database.wall.wall()

    async def _call(self, statement: Callable[[], _T]) -> _T:
        await self.goes_on.wait()
        await self._delay()
        draw = self.rng.random() if self.faults else 1.0
        if self.is_dead or self.database.is_down or draw < self.faults / 2:
            raise StoreDownError("the connection broke before the statement")
        answer = statement()
        await self._delay()
        await self.goes_on.wait()
        if draw < self.faults:
            raise StoreDownError("the connection broke before the answer")
        return answer

    async def _delay(self) -> None:
        """Wait at times; always would take the tests several times as long."""
        await (anyio.sleep(self.rng.random() * 0.05) if self.rng.random() < 0.2 else checkpoint())

    async def take(self) -> Duty:
        def take() -> Duty:
            epoch = db.take(self._lease_id, self._holder, db.wall.after(self.lease))
            return Duty(epoch, db.holder)

        db = self.database
        return await self._call(take)

    async def let_go(self, epoch: int) -> None:
        await self._call(lambda: self.database.let_go(epoch, self._lease_id))

    async def read_journal(self) -> list[tuple[int, dict[str, Any]]]:
        def read() -> list[tuple[int, dict[str, Any]]]:
            lines = [(seq, record) for seq, (_, record) in sorted(self.database.journal.items())]
            snapshots = [seq for seq, record in lines if record["event"] == "snapshot"]
            return [line for line in lines if not snapshots or line[0] >= snapshots[-1]]

        return await self._call(read)

    async def append(self, epoch: int, seq: int, record: Mapping[str, Any], run: FiringRun | None = None) -> bool:
        return await self._call(lambda: self.database.append(epoch, self._lease_id, seq, record, run))

    async def submit(self, epoch: int, run: FiringRun) -> Verdict:
        return await self._call(lambda: self.database.submit(epoch, self._lease_id, run))

    async def read_run(self, run_id: str) -> FiringProgress | None:
        return await self._call(lambda: self.database.read_run(run_id))

    async def give_up(self, epoch: int, run_id: str, exit_code: int, reason: str) -> bool:
        return await self._call(lambda: self.database.give_up(epoch, self._lease_id, run_id, exit_code, reason))

    async def retry(self, epoch: int, run_id: str) -> bool:
        return await self._call(lambda: self.database.retry(epoch, self._lease_id, run_id))
