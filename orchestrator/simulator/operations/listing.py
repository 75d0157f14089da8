"""Reading CVMs: the lists and the detail."""

from collections.abc import Sequence
from math import ceil
from typing import Annotated, Any

from pydantic import BaseModel, Field

from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.operations.call import ApiReply, Call
from orchestrator.simulator.wire import current, legacy
from orchestrator.simulator.wire.view import Json, WorldView

_PASSER_BY = "passer-by"


class AdminFilter(BaseModel):
    """Filters for the vendor's admins: accepted, and without effect for other users."""

    user_id: Annotated[str, Field(pattern=r"^(0|usr_.+)$")] | None = None
    teepod_id: int | None = None


class PageQuery(AdminFilter):
    """The page of a list, with the admins' filters."""

    page: Annotated[int, Field(ge=1)] = 1
    page_size: Annotated[int, Field(ge=1, le=100)] = 30


def list_entries(view: WorldView, cvms: Sequence[SimulatedCvm]) -> list[Any]:
    """List CVMs in the shape of the version."""
    shape = legacy.hosted_cvm if view.is_legacy else current.cvm_info
    return [_hide_facts(shape(view, cvm), cvm, "unlisted_facts", "unknown_facts") for cvm in cvms]


def list_cvms(call: Call) -> ApiReply:
    """Every CVM of the workspace."""
    return ApiReply(list_entries(call.lagged_view, call.world.visible_cvms(call.lagged_view.at)))


def list_cvms_paginated(call: Call) -> ApiReply:
    """A page of the CVMs, newest first."""
    cvms = call.world.visible_cvms(call.lagged_view.at)
    page, size = call.query.page, call.query.page_size
    first = (page - 1) * size
    chosen = list(cvms[first : first + size])
    if call.fault == "duplicates" and 0 < first <= len(cvms):
        chosen.insert(0, cvms[first - 1])
    body = {
        "items": list_entries(call.lagged_view, chosen),
        "total": len(cvms),
        "page": page,
        "page_size": size,
        "pages": ceil(len(cvms) / size),
    }
    if call.fault == "shifting_list":
        _shift_list(call)
    return ApiReply(body)


def get_cvm(call: Call) -> ApiReply:
    """A CVM in detail."""
    cvm = call.find_cvm(at=call.lagged_view.at)
    shape = legacy.cvm_detail if call.lagged_view.is_legacy else current.cvm_detail
    return ApiReply(_hide_facts(shape(call.lagged_view, cvm), cvm, "unknown_facts"))


def _hide_facts(entry: Json, cvm: SimulatedCvm, *kinds: str) -> Json:
    """Remove a hidden app; and app and teepod if the CVM has a behaviour of these kinds."""
    facts = {"app_id"} if cvm.app_hidden else set()
    if cvm.behaviour is not None and cvm.behaviour.kind in kinds:
        facts = {"app_id", "node_info", "node", "teepod", "teepod_id"}
    if not facts:
        return entry
    if "hosted" in entry:
        entry = {**entry, "hosted": {**entry["hosted"], "app_id": None}}
    return {key: value for key, value in entry.items() if key not in facts}


def _shift_list(call: Call) -> None:
    """Create a stopped CVM at the head of the list, or delete the CVM created so before."""
    world = call.world
    head = next(iter(world.visible_cvms(call.now)), None)
    if head is not None and head.name.startswith(_PASSER_BY):
        world.delete_cvm(head, call.now)
    else:
        world.add_cvm(f"{_PASSER_BY}-{call.seq}", status="stopped", now=call.now)
