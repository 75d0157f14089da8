"""One run over real sockets against a simulator that misbehaves, and the promises that it is held to."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random

import anyio

from orchestrator.action import Action
from orchestrator.audit.log import AuditLog
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.verify import Verdict, read_log
from orchestrator.billing.rates import STORAGE_USD_PER_GB_HOUR
from orchestrator.cloud.client import connect
from orchestrator.engine.context import RunContext, SettleSettings
from orchestrator.engine.job import Job
from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.rate.gcra import Gcra
from orchestrator.engine.read.inventory import Inventory, InventoryReader
from orchestrator.engine.result import RunResult
from orchestrator.engine.run import Run
from orchestrator.engine.send.ledger import Ledger
from orchestrator.engine.workspace import Workspace
from orchestrator.errors import CloudError
from orchestrator.outcome import Outcome
from orchestrator.playbook.planning import make_plan
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.playbook.value_types import Dispatch
from orchestrator.runs.records import planned_fields
from orchestrator.runs.session import SystemClock
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.logs import log_path

RUN_ID = "20261123T080000Z-4f2a"
LIMITS = RunLimits(requests_per_second=1500, burst=50, max_in_flight=40, per_teepod=40)
SETTLE = SettleSettings(recheck_after=0.4, poll_min=0.05, poll_max=0.5, cloud_down=60)


def everything(action: Action, escalate_after: float | None = None) -> Playbook:
    """A playbook that does this to every CVM."""
    escalate = {} if escalate_after is None else {"escalate": {"after": escalate_after}}
    step = {"action": action.value, "select": {"all": True}, **escalate}
    return Playbook.model_validate({"name": "all", "steps": [step]})


def hold_to_what_was_announced(records: Sequence[Record], received: Counter[str | None]) -> None:
    """The server received no request that was not announced, and missed only those that had no answer.

    A request without an answer may never have arrived: on a busy machine the client's time can be over before the
    server reads it, and the client then closes the connection.

    Args:
        records: the log.
        received: how many requests for each CVM reached the server; under None alone, how many for any.
    """
    announced, unanswered = Counter[str | None](), Counter[str | None]()
    batches: set[object] = set()
    for record in records:
        is_silent = record["event"] in {"action.unknown", "action.deferred"} and record.get("http_status") is None
        if record["event"] != "action.intent" and not is_silent:
            continue
        if record.get("batch") is not None and (record["event"], record["batch"]) in batches:
            continue  # one request for many
        batches.add((record["event"], record.get("batch")))
        counter = unanswered if is_silent else announced
        counter[None if None in received else record["cvm"]["id"]] += 1
    assert not received - announced, f"received and not announced: {received - announced}"
    lost = announced - received - unanswered
    assert not lost, f"announced, answered by somebody and yet not received: {lost}"


@dataclass(frozen=True, slots=True)
class Told:
    """The result of a run, by its own log and by the server's."""

    result: RunResult
    state: RunState
    verdict: Verdict
    simulator: BackgroundSimulator
    records: Sequence[Record]
    action: Action = Action.STOP

    def hold_to_one_effect_at_most(self) -> None:
        """No CVM is acted on twice, and each has an outcome that the server bears out, or owns that it can't tell."""
        for target in self.state.targets.values():
            done = len(self.simulator.world.find_cvm(target.ref.address, self.simulator.now()).operations)
            assert done <= 1, target
            assert target.outcome in ({Outcome.SETTLED, Outcome.FAILED} if done else {Outcome.FAILED}), target
        assert self.verdict is Verdict.WHOLE

    def hold_to_the_promises(self, *, faults_are_certain: bool = True) -> None:
        """Every CVM is acted on by exactly one effective request, and the log tells of each request one to one.

        Args:
            faults_are_certain: whether faults are frequent enough for at least one in the run.
        """
        if faults_are_certain:
            assert any(request.fault for request in self.simulator.requests), "nothing went wrong, so nothing was shown"
        cvms = self.simulator.world.cvms
        now = self.simulator.now()
        wanted = {"running"} if self.action.leaves_running else {"stopped", "exited"}
        others = [cvm.name for cvm in cvms if cvm.phase_at(now).status not in wanted]
        assert not others, f"not as wanted: {others[:5]}"
        if not self.action.leaves_running:
            assert Counter(cvm.effective_stops for cvm in cvms) == {1: len(cvms)}
        escalated = {target.ref.id for target in self.state.targets.values() if target.escalated_at}
        for cvm in cvms:
            done = Counter(operation.type for operation in cvm.operations)
            assert max(done.values()) == 1, (cvm, done)
            assert len(done) == 1 or cvm.hashid in escalated, (cvm, done)
        acts = {f"{self.action}_cvm", "batch_stop", *(["stop_cvm"] if escalated else [])}
        received = [r for r in self.simulator.requests if r.operation in acts]
        in_batches = any(r.operation == "batch_stop" for r in received)
        each = Counter(None if in_batches else request.cvm_hashid for request in received)
        hold_to_what_was_announced(self.records, each)
        assert self.state.counts == {"settled": len(cvms)}
        assert self.verdict is Verdict.WHOLE
        assert int(self.result.exit_code) == 0


def misbehave(
    folder: Path,
    faults: dict[str, object],
    *,
    seed: int,
    cvms: int = 300,
    lag: float = 0.2,
    dispatch: Dispatch = "single",
    action: Action = Action.STOP,
    escalate_after: float | None = None,
) -> Told:
    """Do this to a whole fleet under these faults."""
    shutdown = [0.1, 0.5] if escalate_after is None else [0.1, 3 * escalate_after]
    settings = parse_settings(
        {
            "fleet": {"cvms": cvms, "seed": seed, "stopped_share": 0, "gpu_share": 0},
            "timing": {
                **{key: [0.1, 0.5] for key in ("stop_seconds", "start_seconds")},
                "shutdown_seconds": shutdown,
                "read_lag": lag,
            },
            "faults": {"hang_seconds": 9, "huge_bytes": 100_000, "retry_after_seconds": 0, **faults},
        }
    )
    with BackgroundSimulator(settings) as simulator:
        if action is Action.START:
            for cvm in simulator.world.cvms:
                simulator.world.set_status(cvm, "stopped", -10.0)
        playbook = everything(action, escalate_after)
        limits = replace(LIMITS, dispatch=dispatch)
        run = partial(_run, simulator, folder, seed=seed, limits=limits, playbook=playbook, action=action)
        return anyio.run(run)


async def _run(
    simulator: BackgroundSimulator, folder: Path, *, seed: int, limits: RunLimits, playbook: Playbook, action: Action
) -> Told:
    clock, rng = SystemClock(), Random(seed)
    gate = Gate(Gcra(limits.requests_per_second, limits.burst), limits.max_in_flight, clock)
    async with connect(
        simulator.url,
        simulator.api_key,
        api_version="2026-06-23",
        timeout=4.0,  # a machine that is busy with other tests must not look like one that hangs
        max_in_flight=limits.max_in_flight,
        many=seed % 2 == 0,  # either way to the sockets has to stand it
    ) as cloud:
        inventory = await _inventory(InventoryReader(cloud, gate, rng))
        plan = make_plan(
            playbook,
            inventory.cvms,
            guards=Guards(),
            limits=limits,
            settle_timeout=60,
            price_list={},
            storage_usd_per_gb_hour=STORAGE_USD_PER_GB_HOUR,
            batch_size=1000,
        )
        state = RunState()
        log = AuditLog.create(
            folder / f"{RUN_ID}.jsonl",
            RUN_ID,
            [
                ("run.started", {"playbook": {"name": "all"}}),
                ("run.planned", planned_fields(plan, len(inventory.cvms))),
            ],
            observers=[state.apply_record],
        )
        ledger = Ledger([Job.from_target(target) for target in plan.targets], log, clock)
        workspace = Workspace(cloud, gate, clock, rng, SETTLE, size=len(inventory.cvms))
        run = Run(RunContext(ledger, clock, rng, limits, SETTLE), workspace)
        result = await run(plan.steps)
        log.close()
    told = RunState()
    records: list[Record] = []

    def take(record: Record) -> None:
        records.append(record)
        told.apply_record(record)

    verdict = read_log(log_path(log), take).verdict
    return Told(result, told, verdict, simulator, records, action)


async def _inventory(reader: InventoryReader) -> Inventory:
    """The whole list; where faults come in a row so that the command would give up, it is typed again."""
    for _ in range(3):
        with suppress(CloudError):
            return await reader.read_all()
    raise AssertionError("the list could never be read")
