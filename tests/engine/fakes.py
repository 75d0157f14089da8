"""Fakes of what the engine needs from outside: a cloud that obeys a script, a trail in memory, virtual clocks."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import anyio

from orchestrator.action import Action
from orchestrator.billing.rates import BillingNote, Rates, triggers_billing
from orchestrator.cvm import Cvm, CvmRef, normal_uuid
from orchestrator.engine.context import EarlierProgress, RunContext, SettleSettings
from orchestrator.engine.job import Job
from orchestrator.engine.protocols import Approver, AuditSink, Cloud, FreezeCalendar
from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.rate.gcra import Gcra
from orchestrator.engine.result import Deadline, RunResult
from orchestrator.engine.run import Run
from orchestrator.engine.send.ledger import Ledger
from orchestrator.engine.workspace import Workspace
from orchestrator.errors import AuditError
from orchestrator.playbook.resolved_steps import PlannedStep, RunLimits
from orchestrator.playbook.value_types import Dispatch, Share
from orchestrator.reply import BatchStopped, OperationRecord, OperationsPage, Page, Reply, StatusRead

EPOCH = datetime(2026, 11, 23, 8, tzinfo=UTC)
StopScript = Callable[[CvmRef, int], Reply[StatusRead] | None]


class VirtualClock:
    """The event loop's clock, and a time of day that goes with it."""

    def now(self) -> float:
        return anyio.current_time()

    def wall(self) -> datetime:
        return EPOCH + timedelta(seconds=anyio.current_time())


class SetClock:
    """A clock that stands still until a test sets it; its time of day goes with it."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def now(self) -> float:
        return self.seconds

    def wall(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)


class Sink:
    """An audit sink in memory, for tests without an event loop."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.flushes = 0

    def record(self, event: str, **fields: object) -> None:
        self.records.append((event, fields))

    async def flush(self) -> None:
        self.flushes += 1


class Trail:
    """An audit sink in memory; what was recorded is durable after a `flush`."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.durable = 0
        self.broken = False

    def record(self, event: str, **fields: object) -> None:
        if self.broken:
            raise AuditError("the disk is full")
        self.records.append({"event": event, "at": anyio.current_time(), **fields})

    async def flush(self) -> None:
        await anyio.lowlevel.checkpoint()
        if self.broken:
            raise AuditError("the disk is full")
        self.durable = len(self.records)

    def of(self, event: str, name: str | None = None) -> list[dict[str, Any]]:
        return [r for r in self.records if r["event"] == event and (name is None or r["cvm"]["name"] == name)]


_WAYS = {
    Action.STOP: ("stopping", "stopped"),
    Action.SHUTDOWN: ("shutting_down", "stopped"),
    Action.START: ("starting", "running"),
    Action.RESTART: ("restarting", "running"),
}


class FakeCloud:
    """CVMs that are where they are to be `seconds` after an action, and whatever else a test scripts."""

    def __init__(self, count: int, *, seconds: float = 3.0, lag: float = 0.0, latency: float = 0.0) -> None:
        self.refs = [
            CvmRef(f"cvm_{n}", f"00000000-0000-0000-0000-{n:012d}", f"web-{n}", "a" * 40, n % 3, f"prod-{n % 3}")
            for n in range(count)
        ]
        self.seconds: Callable[[CvmRef], float] = lambda _ref: seconds
        self.lag = lag
        self.latency = latency
        self.stop_script: StopScript = lambda _ref, _attempt: None
        self.status_script: Callable[[CvmRef, float | None], StatusRead | None] = lambda _ref, _since: None
        self.on_stop: Callable[[CvmRef], None] = lambda _ref: None
        self.batch: Callable[[Sequence[str]], Reply[Mapping[str, StatusRead]] | None] = lambda _uuids: None
        self.many_script: Callable[[Sequence[str]], Reply[BatchStopped] | None] = lambda _hashids: None
        self.skips: set[str] = set()
        self.requests: list[tuple[float, str, str]] = []
        self.posts: Counter[str] = Counter()
        self.effects: dict[str, list[float]] = defaultdict(list)
        self.gone: set[str] = set()
        self.did: dict[str, list[Action]] = defaultdict(list)
        self.was_down = False
        self.history_script: Callable[[CvmRef], Reply[OperationsPage] | None] = lambda _ref: None
        self.details: dict[str, Reply[Cvm]] = {}

    def take_effect(self, ref: CvmRef, action: Action = Action.STOP) -> None:
        self.effects[ref.name].append(anyio.current_time())
        self.did[ref.name].append(action)

    async def act(self, action: Action, ref: CvmRef) -> Reply[StatusRead]:
        self.requests.append((anyio.current_time(), action.value, ref.name))
        self.posts[ref.name] += 1
        self.on_stop(ref)
        await anyio.sleep(self.latency)
        reply = self.stop_script(ref, self.posts[ref.name])
        if reply is None:
            self.take_effect(ref, action)
            reply = Reply(value=StatusRead(_WAYS[action][0], True), http_status=200, request_id=f"req-{ref.name}")
        return reply

    async def stop_many(self, hashids: Sequence[str]) -> Reply[BatchStopped]:
        self.requests.append((anyio.current_time(), "stops", str(len(hashids))))
        await anyio.sleep(self.latency)
        reply = self.many_script(hashids)
        if reply is not None:
            return reply
        by_id = {ref.id: ref for ref in self.refs if ref.name not in self.gone}
        errors = {each: "CVM not found" for each in hashids if each not in by_id}
        taken = [by_id[each] for each in hashids if each in by_id and by_id[each].name not in self.skips]
        for ref in taken:
            self.posts[ref.name] += 1
            self.take_effect(ref)
        value = BatchStopped(len(taken), len(hashids) - len(taken) - len(errors), errors)
        return Reply(value=value, http_status=200, request_id=f"req-batch-{self.count('stops')}")

    def status(self, ref: CvmRef) -> StatusRead:
        now = anyio.current_time() - self.lag
        acted = [at for at in self.effects[ref.name] if at <= now]
        since = now - acted[0] if acted else None
        scripted = self.status_script(ref, since)
        if scripted is not None:
            return scripted
        if since is None:
            return StatusRead("stopped" if self.was_down else "running")
        going, there = _WAYS[self.did[ref.name][0]]
        return StatusRead(there) if since >= self.seconds(ref) else StatusRead(going, True)

    async def read_statuses(self, uuids: Sequence[str]) -> Reply[Mapping[str, StatusRead]]:
        self.requests.append((anyio.current_time(), "batch", str(len(uuids))))
        await anyio.sleep(self.latency)
        scripted = self.batch(uuids)
        if scripted is not None:
            return scripted
        wanted = dict.fromkeys(normal_uuid(uuid) for uuid in uuids)  # in the same order whatever the hashes
        found = {ref.uuid_key: ref for ref in self.refs if ref.name not in self.gone}
        value = {uuid: self.status(found[uuid]) for uuid in wanted if uuid in found}
        return Reply(value=value, http_status=200)

    async def read_state(self, ref: CvmRef) -> Reply[StatusRead]:
        self.requests.append((anyio.current_time(), "state", ref.name))
        await anyio.sleep(self.latency)
        if ref.name in self.gone:
            return Reply(http_status=404, problem="no such CVM", error_code="ERR-03-001")
        return Reply(value=self.status(ref), http_status=200)

    async def list_page(self, page: int, page_size: int) -> Reply[Page]:
        self.requests.append((anyio.current_time(), "list", str(page)))
        await anyio.sleep(self.latency)
        refs = [ref for ref in self.refs if ref.name not in self.gone]
        shown = refs[(page - 1) * page_size : page * page_size]
        cvms = tuple(Cvm(ref=r, status=self.status(r).status, in_progress=self.status(r).in_progress) for r in shown)
        return Reply(value=Page(cvms, len(refs), -(-len(refs) // page_size)), http_status=200)

    async def list_app(self, app_id: str) -> Reply[tuple[Cvm, ...]]:
        self.requests.append((anyio.current_time(), "app", app_id))
        return Reply(value=tuple(Cvm(ref=ref, status="running") for ref in self.refs), http_status=200)

    async def read_cvm(self, ref: CvmRef) -> Reply[Cvm]:
        self.requests.append((anyio.current_time(), "detail", ref.name))
        await anyio.sleep(self.latency)
        return self.details.get(ref.name) or Reply(http_status=404)

    async def read_by_id(self, cvm_id: str) -> Reply[tuple[Cvm, ...]]:
        self.requests.append((anyio.current_time(), "by id", cvm_id))
        await anyio.sleep(self.latency)
        found = [ref for ref in self.refs if cvm_id in {ref.id, ref.uuid_key} and ref.name not in self.gone]
        cvms = tuple(Cvm(ref=ref, status=self.status(ref).status) for ref in found)
        return (
            Reply(value=cvms, http_status=200) if cvms else Reply(http_status=404, error_code="ERR-03-001", problem="?")
        )

    async def read_operations(self, ref: CvmRef) -> Reply[OperationsPage]:
        self.requests.append((anyio.current_time(), "operations", ref.name))
        await anyio.sleep(self.latency)
        done = zip(self.did[ref.name], self.effects[ref.name], strict=True)
        operations = [
            OperationRecord(
                correlation_id=f"{ref.name}-{number}",
                kind=action.value,
                target="running" if action.leaves_running else "stopped",
                by="me",
                started_at=EPOCH + timedelta(seconds=at),
            )
            for number, (action, at) in enumerate(done)
        ]
        return self.history_script(ref) or Reply(value=OperationsPage(tuple(reversed(operations))), http_status=200)

    async def price_list(self) -> Reply[Mapping[str, Decimal]]:
        return Reply(value={}, http_status=200)

    def count(self, kind: str) -> int:
        return sum(request[1] == kind for request in self.requests)


class Fleet:
    """A run over a fake cloud, ready to go."""

    def __init__(
        self,
        cloud: FakeCloud,
        *,
        rate: float = 100,
        burst: int = 5,
        max_in_flight: int = 20,
        per_teepod: int = 20,
        max_failures: str | None = None,
        timeout: float = 600,
        settle: SettleSettings | None = None,
        jobs: Sequence[Job] | None = None,
        dispatch: Dispatch = "single",
        action: Action = Action.STOP,
        due: Deadline | None = None,
        approver: Approver | None = None,
        passed: Collection[str] = (),
        refused: bool = False,
        on_outage: Callable[[object], None] = lambda _outage: None,
        soaks: Mapping[tuple[str, int], datetime] | None = None,
        sink: AuditSink | None = None,
        wrap: Callable[["Fleet"], Cloud] | None = None,
        freeze: FreezeCalendar | None = None,
    ) -> None:
        self.cloud, self.trail, self.clock = cloud, Trail(), VirtualClock()
        self.gate = Gate(Gcra(rate, burst), max_in_flight, self.clock)
        share = None if max_failures is None else Share.parse(max_failures)
        self.steps = [PlannedStep("stop", action, timeout)]
        self.jobs = list(jobs) if jobs is not None else [work_of(ref, action) for ref in cloud.refs]
        settle, rng = settle or SettleSettings(), Random(7)
        self.context = RunContext(
            Ledger(self.jobs, self.trail if sink is None else sink, self.clock),
            self.clock,
            rng,
            RunLimits(rate, burst, max_in_flight, per_teepod, share, dispatch=dispatch),
            settle,
            freeze,
        )
        self.workspace = Workspace(
            cloud if wrap is None else wrap(self),
            self.gate,
            self.clock,
            rng,
            settle,
            size=len(cloud.refs),
            on_outage=on_outage,
        )
        earlier = EarlierProgress(passed, refused, soaks or {})
        self.run = Run(self.context, self.workspace, earlier=earlier, deadline=due, approver=approver)

    async def go(self) -> RunResult:
        return await self.run(self.steps)

    def outcomes(self) -> dict[str, int]:
        return {str(k): v for k, v in self.run.ledger.counts.items() if v}

    def outcome(self, name: str) -> str:
        return str(next(job.outcome for job in self.jobs if job.ref.name == name))


def work_of(ref: CvmRef, action: Action = Action.STOP, **fields: Any) -> Job:  # noqa: ANN401 - whatever Work takes
    note = BillingNote(Rates(Decimal("0.1"), Decimal("0.01"), "hourly_rate"), (), triggers_billing(action))
    before = "stopped" if action is Action.START else "running"
    return Job(fields.pop("step", "stop"), action, ref, fields.pop("before", before), note, **fields)


def failed(status: int | None, problem: str = "no", **fields: Any) -> Reply[StatusRead]:  # noqa: ANN401 - the same
    return Reply(http_status=status, problem=problem, **fields)
