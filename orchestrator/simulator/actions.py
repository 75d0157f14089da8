"""What a stop, shutdown, start or restart does to a CVM. Each returns whether it changed anything."""

from orchestrator.simulator import refusals
from orchestrator.simulator.behaviours import descent, is_busy
from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.timeline import Phase
from orchestrator.simulator.world import World


def stop(world: World, cvm: SimulatedCvm, now: float) -> bool:
    """Pull the power: cancels whatever is in progress. A CVM that is down or being stopped already stays as it is."""
    _count_attempt(cvm, now)
    _refuse_stop(cvm, now)
    if cvm.phase(now).status in {"stopped", "exited", "stopping"}:
        return False
    cvm.effective_stops += cvm.is_up(now)
    operation = world.new_operation("power_off", "stopped", now)
    cvm.operations.append(operation)
    cvm.timeline.rewrite(now, descent(cvm, operation, going="stopping", seconds=cvm.delays.stop))
    return True


def shutdown(world: World, cvm: SimulatedCvm, now: float) -> bool:
    """Ask the guest to shut down; refused while another operation is in progress."""
    _count_attempt(cvm, now)
    _refuse_stop(cvm, now)
    phase = cvm.phase(now)
    if phase.in_progress:
        raise refusals.busy()
    if phase.status in {"stopped", "exited"}:
        return False
    cvm.effective_stops += 1
    operation = world.new_operation("shutdown", "stopped", now)
    cvm.operations.append(operation)
    cvm.timeline.rewrite(now, descent(cvm, operation, going="shutting_down", seconds=cvm.delays.shutdown))
    return True


def start(world: World, cvm: SimulatedCvm, now: float) -> bool:
    """Power on; refused while an operation is in progress, or if the workspace can't pay or no GPU is free."""
    phase = cvm.phase(now)
    if phase.in_progress:
        raise refusals.busy()
    _refuse_start(world, cvm)
    if phase.status == "running":
        return False
    operation = world.new_operation("power_on", "running", now)
    cvm.operations.append(operation)
    up = Phase(now + cvm.delays.start, "running", metered=True)
    cvm.timeline.rewrite(now, [Phase(now, "starting", operation, metered=True), up])
    return True


def restart(world: World, cvm: SimulatedCvm, now: float, *, force: bool) -> bool:
    """Stop and start again; `force` skips the graceful shutdown."""
    if cvm.phase(now).in_progress:
        raise refusals.busy()
    _refuse_start(world, cvm)
    operation = world.new_operation("restart", "running", now)
    cvm.operations.append(operation)
    down = cvm.delays.stop if force else cvm.delays.shutdown
    up = Phase(now + down + cvm.delays.start, "running", metered=True)
    cvm.timeline.rewrite(now, [Phase(now, "restarting", operation, metered=True), up])
    return True


def _count_attempt(cvm: SimulatedCvm, now: float) -> None:
    cvm.stop_attempts += 1
    if cvm.first_attempt is None:
        cvm.first_attempt = now


def _refuse_stop(cvm: SimulatedCvm, now: float) -> None:
    if cvm.gpu_rental:
        raise refusals.gpu_rental()
    if is_busy(cvm, now):
        raise refusals.busy()
    if cvm.behaviour is not None and cvm.behaviour.kind == "conflict":
        raise refusals.conflict(cvm.hashid)


def _refuse_start(world: World, cvm: SimulatedCvm) -> None:
    workspace = world.settings.workspace
    if workspace.suspended:
        raise refusals.suspended()
    if workspace.balance < workspace.minimum_balance:
        raise refusals.balance_too_low(str(workspace.balance))
    if cvm.instance_type.gpus and not workspace.gpus_available:
        raise refusals.no_gpu(cvm.instance_type.id)
