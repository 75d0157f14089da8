"""Paths outside the API, under `/__simulator__`: read the request records and the true state, and change CVMs.

These paths need no key, and their requests are not recorded. Synchronous; `app.py` serves them over HTTP.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.operations.call import ApiReply
from orchestrator.simulator.record import RequestRecord
from orchestrator.simulator.refusals import invalid_request, without_code
from orchestrator.simulator.request_parsing import list_problems
from orchestrator.simulator.settings import Behaviour
from orchestrator.simulator.world import World

PREFIX = "/__simulator__"


def _expand_kind(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


class CvmChange(BaseModel):
    """A change to a CVM from outside: a status from now on, or a behaviour (null removes the behaviour)."""

    model_config = ConfigDict(extra="forbid")

    status: str | None = None
    in_progress: bool = False
    behaviour: Annotated[Behaviour, BeforeValidator(_expand_kind)] | None = None


def answer_control(
    world: World, requests: Sequence[RequestRecord], now: float, *, method: str, path: str, body: bytes
) -> ApiReply:
    """Answer a request to the control paths; an unknown path or body is refused."""
    parts = path.removeprefix(PREFIX).strip("/").split("/")
    match method, parts:
        case "GET", ["requests"]:
            return ApiReply([record.as_dict() for record in requests])
        case "GET", ["cvms"]:
            return ApiReply([_describe_cvm(cvm, now) for cvm in world.visible_cvms(now)])
        case "GET", ["cvms", identifier]:
            return ApiReply(_describe_cvm(world.find_cvm(identifier, now), now))
        case "POST", ["cvms", identifier]:
            return ApiReply(_change_cvm(world, world.find_cvm(identifier, now), now, body))
    raise without_code(404, "Not Found")


def _change_cvm(world: World, cvm: SimulatedCvm, now: float, body: bytes) -> dict[str, Any]:
    try:
        change = CvmChange.model_validate_json(body)
    except ValidationError as error:
        raise invalid_request(list_problems("body", error)) from error
    if "behaviour" in change.model_fields_set:
        world.set_behaviour(cvm, change.behaviour, now)
    if change.status is not None:
        world.set_status(cvm, change.status, now, in_progress=change.in_progress)
    return _describe_cvm(cvm, now)


def _describe_cvm(cvm: SimulatedCvm, now: float) -> dict[str, Any]:
    phase = cvm.phase_at(now)
    return {
        "hashid": cvm.hashid,
        "vm_uuid": cvm.vm_uuid(now),
        "name": cvm.name,
        "app_id": cvm.app.app_id,
        "teepod": cvm.teepod.name,
        "status": phase.status,
        "in_progress": phase.in_progress,
        "behaviour": cvm.behaviour.kind if cvm.behaviour else None,
        "effective_stops": cvm.effective_stops,
    }
