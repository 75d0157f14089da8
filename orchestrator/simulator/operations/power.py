"""Change CVMs: stop, shutdown, start, restart, and batch stop."""

from typing import Annotated

from pydantic import BaseModel, Field

from orchestrator.simulator import actions
from orchestrator.simulator.operations.call import ApiReply, Call
from orchestrator.simulator.refusals import Refusal
from orchestrator.simulator.wire import shared

_MOST_STOPPED_AT_ONCE = 50


class Restart(BaseModel):
    """The body of a restart."""

    force: bool = False


class BatchStop(BaseModel):
    """The body of a batch stop: hashids."""

    cvm_ids: Annotated[list[str], Field(max_length=_MOST_STOPPED_AT_ONCE)]


def stop_cvm(call: Call) -> ApiReply:
    """Force-stop a CVM."""
    cvm = call.find_cvm()
    effect = actions.begin_stop(call.world, cvm, call.now)
    return ApiReply(shared.action_reply(call.current_view, cvm), effect=effect)


def shutdown_cvm(call: Call) -> ApiReply:
    """Shut down a CVM gracefully."""
    cvm = call.find_cvm()
    effect = actions.begin_shutdown(call.world, cvm, call.now)
    return ApiReply(shared.action_reply(call.current_view, cvm), effect=effect)


def start_cvm(call: Call) -> ApiReply:
    """Power on a CVM."""
    cvm = call.find_cvm()
    effect = actions.begin_start(call.world, cvm, call.now)
    return ApiReply(shared.action_reply(call.current_view, cvm), effect=effect)


def restart_cvm(call: Call) -> ApiReply:
    """Stop a CVM and start the CVM again."""
    cvm = call.find_cvm()
    force = call.body is not None and call.body.force
    effect = actions.begin_restart(call.world, cvm, call.now, force=force)
    return ApiReply(shared.action_reply(call.current_view, cvm), effect=effect)


def batch_stop(call: Call) -> ApiReply:
    """Force-stop several CVMs; skipped CVMs are counted, failed CVMs are named."""
    stopped = skipped = 0
    errors = []
    for hashid in call.body.cvm_ids:
        cvm = call.world.find_by_hashid(hashid)
        if cvm is None or not cvm.exists(call.now):
            errors.append({"cvm_id": hashid, "error": "CVM not found"})
        elif cvm.phase_at(call.now).in_progress or cvm.vm_uuid(call.now) is None or cvm.gpu_rental:
            skipped += 1
        else:
            try:
                actions.begin_stop(call.world, cvm, call.now)
            except Refusal as refusal:
                reason = refusal.body.get("message") or refusal.body.get("detail")
                errors.append({"cvm_id": hashid, "error": str(reason)})
            else:
                stopped += 1
    body = {"total": len(call.body.cvm_ids), "stopped": stopped, "skipped": skipped, "errors": errors}
    return ApiReply(body, effect=stopped > 0)
