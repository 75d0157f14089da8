"""Apply a stop, shutdown, start or restart to a CVM; each function returns True if the CVM changed."""

from orchestrator.simulator import refusals
from orchestrator.simulator.behaviours import is_busy, phases_after_stop
from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.timeline import CvmPhase
from orchestrator.simulator.world import World


def begin_stop(world: World, cvm: SimulatedCvm, now: float) -> bool:
    """Force-stop a CVM and cancel any operation in progress; a stopped or stopping CVM stays unchanged."""
    _count_attempt(cvm, now)
    _refuse_stop(cvm, now)
    if cvm.phase_at(now).status in {"stopped", "exited", "stopping"}:
        return False
    cvm.effective_stops += cvm.is_up(now)
    operation = world.new_operation("power_off", "stopped", now)
    cvm.operations.append(operation)
    cvm.timeline.replace_after(now, phases_after_stop(cvm, operation, going="stopping", seconds=cvm.delays.stop))
    return True


def begin_shutdown(world: World, cvm: SimulatedCvm, now: float) -> bool:
    """Ask the guest to shut down; refused while another operation is in progress."""
    _count_attempt(cvm, now)
    _refuse_stop(cvm, now)
    phase = cvm.phase_at(now)
    if phase.in_progress:
        raise refusals.operation_in_progress()
    if phase.status in {"stopped", "exited"}:
        return False
    cvm.effective_stops += 1
    operation = world.new_operation("shutdown", "stopped", now)
    cvm.operations.append(operation)
    cvm.timeline.replace_after(
        now, phases_after_stop(cvm, operation, going="shutting_down", seconds=cvm.delays.shutdown)
    )
    return True


def begin_start(world: World, cvm: SimulatedCvm, now: float) -> bool:
    """Power on; refused during an operation, without balance, or without a free GPU."""
    phase = cvm.phase_at(now)
    if phase.in_progress:
        raise refusals.operation_in_progress()
    _refuse_start(world, cvm)
    if phase.status == "running":
        return False
    operation = world.new_operation("power_on", "running", now)
    cvm.operations.append(operation)
    up = CvmPhase(now + cvm.delays.start, "running", metered=True)
    cvm.timeline.replace_after(now, [CvmPhase(now, "starting", operation, metered=True), up])
    return True


def begin_restart(world: World, cvm: SimulatedCvm, now: float, *, force: bool) -> bool:
    """Stop and start again; `force` skips the graceful shutdown."""
    if cvm.phase_at(now).in_progress:
        raise refusals.operation_in_progress()
    _refuse_start(world, cvm)
    operation = world.new_operation("restart", "running", now)
    cvm.operations.append(operation)
    down = cvm.delays.stop if force else cvm.delays.shutdown
    up = CvmPhase(now + down + cvm.delays.start, "running", metered=True)
    cvm.timeline.replace_after(now, [CvmPhase(now, "restarting", operation, metered=True), up])
    return True


def _count_attempt(cvm: SimulatedCvm, now: float) -> None:
    cvm.stop_attempts += 1
    if cvm.first_attempt is None:
        cvm.first_attempt = now


def _refuse_stop(cvm: SimulatedCvm, now: float) -> None:
    if cvm.gpu_rental:
        raise refusals.gpu_rental()
    if is_busy(cvm, now):
        raise refusals.operation_in_progress()
    if cvm.behaviour is not None and cvm.behaviour.kind == "conflict":
        raise refusals.final_conflict(cvm.hashid)


def _refuse_start(world: World, cvm: SimulatedCvm) -> None:
    workspace = world.settings.workspace
    if workspace.suspended:
        raise refusals.workspace_suspended()
    if workspace.balance < workspace.minimum_balance:
        raise refusals.balance_too_low(str(workspace.balance))
    if cvm.instance_type.gpus and not workspace.gpus_available:
        raise refusals.no_gpu(cvm.instance_type.id)
