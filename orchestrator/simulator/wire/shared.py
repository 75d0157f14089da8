"""The shapes independent of the list version: actions, statuses, operations, rates."""

from collections.abc import Iterable

from orchestrator.simulator.instance_types import InstanceType
from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.timeline import BEFORE_ALL, Operation
from orchestrator.simulator.wire.legacy import IMAGE
from orchestrator.simulator.wire.view import Json, WorldView, format_dollars

_STAGES = {"power_off": "instance.power_off", "shutdown": "instance.shutdown", "power_on": "instance.power_on"}


def action_reply(view: WorldView, cvm: SimulatedCvm) -> Json:
    """The answer to an action: its `id` is an integer in some versions and the hashid in others."""
    kind = cvm.instance_type
    rule = view.world.settings.api.action_id
    as_text = view.is_newest if rule == "by_version" else rule == "string"
    return {
        "id": cvm.hashid if as_text else cvm.number,
        "name": cvm.name,
        "status": view.phase_of(cvm).status,
        "teepod_id": cvm.teepod.id,
        "teepod": {"id": cvm.teepod.id, "name": cvm.teepod.name},
        "user_id": 1,
        "app_id": cvm.app.app_id,
        "vm_uuid": view.uuid_of(cvm),
        "instance_id": view.instance_id_of(cvm),
        "app_url": None,
        "base_image": IMAGE,
        "vcpu": kind.vcpu,
        "memory": kind.memory_mb,
        "disk_size": cvm.disk_gb,
        "manifest_version": 2,
        "version": "1.0.0",
        "runner": "docker-compose",
        "docker_compose_file": None,
        "features": ["kms", "tproxy-net"],
        "created_at": view.format_time(cvm.created),
        "encrypted_env_pubkey": None,
    }


def cvm_status(view: WorldView, cvm: SimulatedCvm) -> Json:
    """A value of the status batch."""
    phase = view.phase_of(cvm)
    operation = phase.operation
    return {
        "vm_uuid": view.uuid_of(cvm),
        "status": phase.status,
        "uptime": view.uptime_of(cvm),
        "in_progress": operation is not None,
        "boot_progress": "done" if phase.status == "running" else None,
        "boot_error": "guest failed to come down" if phase.status == "error" else None,
        "shutdown_progress": "shutting down" if phase.status == "shutting_down" else None,
        "events": [],
        "operation_type": operation.type if operation else None,
        "operation_started_at": view.format_time(operation.started) if operation else None,
        "correlation_id": operation.correlation_id if operation else None,
    }


def cvm_state(view: WorldView, cvm: SimulatedCvm) -> Json:
    """A CVM now; fields without a value are left out, and `in_progress` is never present."""
    phase = view.phase_of(cvm)
    found = {
        "id": view.uuid_of(cvm),
        "instance_id": view.instance_id_of(cvm),
        "name": cvm.name,
        "status": phase.status,
        "uptime": view.uptime_of(cvm),
        "boot_progress": "done" if phase.status == "running" else None,
        "boot_error": "guest failed to come down" if phase.status == "error" else None,
        "shutdown_progress": "shutting down" if phase.status == "shutting_down" else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def operation_entry(view: WorldView, cvm: SimulatedCvm, done: Operation) -> Json:
    """An entry of a CVM's operation history."""
    held = False
    ended, outcome = None, None
    for phase in cvm.timeline:
        if phase.at > view.at:
            break
        if phase.operation is not None and phase.operation.correlation_id == done.correlation_id:
            held = True
        elif held:
            ended, outcome = phase.at, phase.status
            break
    verdict = "in_progress" if ended is None else "completed" if outcome == done.target else "failed"
    stage = _STAGES.get(done.type, f"instance.{done.type}")
    events = [{"event_type": f"{stage}.start", "timestamp": view.format_time(done.started), "state": done.type}]
    if ended is not None:
        events.append({"event_type": f"{stage}.end", "timestamp": view.format_time(ended), "state": str(outcome)})
    return {
        "correlation_id": done.correlation_id,
        "operation_type": done.type,
        "target_state": done.target,
        "triggered_by": 1,
        "triggered_by_username": view.world.settings.workspace.username,
        "triggered_by_email": None,
        "started_at": view.format_time(done.started),
        "completed_at": None if ended is None else view.format_time(ended),
        "duration_ms": None if ended is None else round((ended - done.started) * 1000),
        "status": verdict,
        "error_message": "The operation did not reach its target" if verdict == "failed" else None,
        "sub_operations": [done.type],
        "events": events,
        "instance_name": cvm.name,
        "compose_hash": None,
    }


def operation_status(view: WorldView, cvm: SimulatedCvm) -> Json:
    """The operation in progress, or `idle`."""
    held = view.phase_of(cvm).operation
    if held is None:
        return {"status": "idle", "correlation_id": None}
    started = None if held.started == BEFORE_ALL else view.format_time(held.started)
    return {
        "status": "in_progress",
        "operation_type": held.type,
        "target_state": held.target,
        "started_at": started,
        "correlation_id": held.correlation_id,
        "task_status": "STARTED",
    }


def list_families(instance_types: Iterable[InstanceType]) -> Json:
    """The instance types by family."""
    groups: dict[str, list[Json]] = {}
    for kind in instance_types:
        entry: Json = {
            "id": kind.id,
            "name": kind.name,
            "description": f"{kind.vcpu} vCPU, {kind.memory_mb // 1024} GB, {kind.gpus} GPU",
            "vcpu": kind.vcpu,
            "memory_mb": kind.memory_mb,
            "hourly_rate": format_dollars(kind.hourly_rate),
            "requires_gpu": kind.gpus > 0,
            "default_disk_size_gb": kind.default_disk_gb,
            "family": kind.family,
        }
        groups.setdefault(kind.family, []).append(entry)
    return {"result": [{"name": name, "items": items, "total": len(items)} for name, items in groups.items()]}
