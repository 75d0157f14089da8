"""A whole run on virtual time, in its own process: `python -m bench.fleet {whole,engine} CVMS FOLDER`.

`whole` is the real client over a simulated cloud in the same process, inventory and plan included. `engine` is the
engine over a minimal cloud. Both write a real audit log to a file, synced, and replay each record at once. Prints real
and virtual seconds, the peak memory, and the end of the run.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import anyio
from trio.testing import MockClock

from bench.minimal_cloud import LATENCY_SECONDS, SETTLE_SECONDS, MinimalCloud
from orchestrator.audit.log import AuditLog, write_inline
from orchestrator.audit.replay import RunState
from orchestrator.billing.rates import STORAGE_USD_PER_GB_HOUR
from orchestrator.cloud.client import connect
from orchestrator.engine.context import RunContext, SettleSettings
from orchestrator.engine.job import Job
from orchestrator.engine.protocols import Cloud
from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.rate.gcra import Gcra, with_headroom
from orchestrator.engine.read.inventory import InventoryReader
from orchestrator.engine.run import Run
from orchestrator.engine.send.ledger import Ledger
from orchestrator.engine.workspace import Workspace
from orchestrator.outcome import Outcome
from orchestrator.playbook.planning import make_plan
from orchestrator.playbook.resolved_steps import AnyPlanned, RunLimits
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.runs.records import planned_fields
from orchestrator.simulator.app import create_app
from orchestrator.simulator.memory import MemoryTransport
from orchestrator.simulator.settings import parse_settings
from orchestrator.simulator.world import World

EPOCH = datetime(2026, 11, 23, 8, tzinfo=UTC)
RUN_ID = "20261123T080000Z-4f2a"
LIMITS = RunLimits(requests_per_second=200, burst=20, max_in_flight=50, per_teepod=50)
EVERYTHING = Playbook.model_validate({"name": "all", "steps": [{"action": "stop", "select": {"all": True}}]})


class VirtualClock:
    """The event loop's clock, with a matching time of day."""

    def now(self) -> float:
        """Seconds of virtual time."""
        return anyio.current_time()

    def wall(self) -> datetime:
        """The virtual time of day."""
        return EPOCH + timedelta(seconds=anyio.current_time())


async def run_whole(world: World, folder: Path) -> dict[str, Any]:
    """Run the real client over a simulated cloud."""
    app = create_app(world, clock=anyio.current_time)
    app.now()
    async with connect(
        "http://127.0.0.1/api/v1",
        world.api_key,
        api_version="2026-06-23",
        timeout=30,
        max_in_flight=LIMITS.max_in_flight,
        transport=MemoryTransport(app),
    ) as cloud:
        found = await stop_all(cloud, folder)
    return found | {"requests": len(app.requests)}


@dataclass(frozen=True, slots=True)
class Begun:
    """A run with a recorded plan; as in the command, the plan itself is not kept during the run."""

    run: Run
    steps: tuple[AnyPlanned, ...]
    log: AuditLog
    state: RunState


async def stop_all(cloud: Cloud, folder: Path) -> dict[str, Any]:
    """Read the inventory, plan, and stop everything."""
    clock, began = VirtualClock(), time.perf_counter()
    begun = await begin(cloud, folder, clock)
    planned = time.perf_counter()
    result = await begun.run(begun.steps)
    begun.log.close()
    return {
        "plan_seconds": planned - began,
        "virtual_seconds": clock.now(),
        "exit_code": int(result.exit_code),
        "settled": begun.state.counts.get(Outcome.SETTLED, 0),
    }


async def begin(cloud: Cloud, folder: Path, clock: VirtualClock) -> Begun:
    """Read the inventory, plan, and record the plan."""
    rng = Random(7)  # noqa: S311 - the same every time
    gate = Gate(Gcra(LIMITS.requests_per_second, with_headroom(LIMITS.burst)), LIMITS.max_in_flight, clock)
    inventory = await InventoryReader(cloud, gate, rng).read_all()
    plan = make_plan(
        EVERYTHING,
        inventory.cvms,
        guards=Guards(),
        limits=LIMITS,
        settle_timeout=600,
        price_list={},
        storage_usd_per_gb_hour=STORAGE_USD_PER_GB_HOUR,
        batch_size=1000,
    )
    state = RunState()
    log = AuditLog.create(
        folder / f"{RUN_ID}.jsonl",
        RUN_ID,
        [("run.started", {"playbook": {"name": "all"}}), ("run.planned", planned_fields(plan, len(inventory.cvms)))],
        observers=[state.apply_record],
        wall=clock.wall,
        sync=write_inline,
    )
    settle = SettleSettings()
    ledger = Ledger([Job.from_target(target) for target in plan.targets], log, clock)
    workspace = Workspace(cloud, gate, clock, rng, settle, size=len(inventory.cvms))
    run = Run(RunContext(ledger, clock, rng, LIMITS, settle), workspace)
    return Begun(run, plan.steps, log, state)


def _on_virtual_time(work: Callable[..., Awaitable[dict[str, Any]]], *arguments: object) -> dict[str, Any]:
    options = {"clock": MockClock(autojump_threshold=0)}
    return anyio.run(work, *arguments, backend="trio", backend_options=options)


def peak_rss_mib() -> float:
    """Read the peak memory of this process, in MiB."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Measure one run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("variant", choices=("whole", "engine"))
    parser.add_argument("cvms", type=int)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    fleet = {"cvms": asked.cvms, "seed": 7, "stopped_share": 0, "gpu_share": 0, "teepods": 100}
    if asked.variant == "whole":
        timing = {"stop_seconds": SETTLE_SECONDS, "latency": [LATENCY_SECONDS] * 2}
        settings = parse_settings({"fleet": fleet, "timing": timing})
        world = World.generate(settings=settings)
        before, began, cpu = peak_rss_mib(), time.perf_counter(), time.process_time()
        found = _on_virtual_time(run_whole, world, asked.folder)
    else:
        cloud = MinimalCloud(asked.cvms)
        before, began, cpu = peak_rss_mib(), time.perf_counter(), time.process_time()
        found = _on_virtual_time(stop_all, cloud, asked.folder)
    found["real_seconds"], found["cpu_seconds"] = time.perf_counter() - began, time.process_time() - cpu
    found["log_mib"] = (asked.folder / f"{RUN_ID}.jsonl").stat().st_size / 2**20
    print(json.dumps(found | {"peak_rss_mib": peak_rss_mib(), "rss_before_mib": before}))


if __name__ == "__main__":
    main()
