"""Reading apps: the list, one app, its CVMs and their metered usage."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import Annotated

from pydantic import BaseModel, Field

from orchestrator.simulator import refusals
from orchestrator.simulator.machine import App, SimulatedCvm
from orchestrator.simulator.operations.call import ApiReply, Call
from orchestrator.simulator.operations.listing import list_entries
from orchestrator.simulator.usage import meter_usage
from orchestrator.simulator.wire import current, legacy
from orchestrator.simulator.wire.legacy import IMAGE
from orchestrator.simulator.wire.usage import usage_record
from orchestrator.simulator.wire.view import Json, WorldView

_DEFAULT_WINDOW = timedelta(days=7)


class AppPage(BaseModel):
    """A page of the apps with a CVM that meets every filter."""

    page: Annotated[int, Field(ge=1)] = 1
    page_size: Annotated[int, Field(ge=1, le=100)] = 20
    search: str | None = None
    status: list[str] | None = None
    listed: bool | None = None
    base_image: str | None = None
    instance_type: str | None = None
    kms_slug: str | None = None
    kms_type: str | None = None
    node: str | None = None
    region: str | None = None


class UsageQuery(BaseModel):
    """The period and page of an app's usage; the last seven days by default."""

    start_date: datetime | None = None
    end_date: datetime | None = None
    limit: Annotated[int, Field(ge=1, le=5000)] = 500
    offset: Annotated[int, Field(ge=0)] = 0


def list_apps(call: Call) -> ApiReply:
    """A page of the apps, newest first, with their CVMs."""
    query: AppPage = call.query
    view = call.lagged_view
    found = [
        (app, members)
        for app in reversed(call.world.apps.values())
        if (members := _visible_members(app, view)) and any(_matches_query(query, cvm, view) for cvm in members)
    ]
    first = (query.page - 1) * query.page_size
    body = {
        "dstack_apps": [_app_entry(view, app, members) for app, members in found[first : first + query.page_size]],
        "page": query.page,
        "page_size": query.page_size,
        "total": len(found),
        "total_pages": ceil(len(found) / query.page_size),
    }
    return ApiReply(body)


def get_app(call: Call) -> ApiReply:
    """An app with its CVMs."""
    app = call.world.find_app(call.path["app_id"])
    return ApiReply(_app_entry(call.lagged_view, app, _visible_members(app, call.lagged_view)))


def app_cvms(call: Call) -> ApiReply:
    """The CVMs of an app, all at once."""
    return ApiReply(
        list_entries(call.lagged_view, _visible_members(call.world.find_app(call.path["app_id"]), call.lagged_view))
    )


def app_usage(call: Call) -> ApiReply:
    """The metered usage of an app's CVMs, oldest first."""
    world, query = call.world, call.query
    app = world.find_app(call.path["app_id"])
    end = _as_utc(query.end_date) if query.end_date else world.calendar_time(call.now)
    start = _as_utc(query.start_date) if query.start_date else end - _DEFAULT_WINDOW
    if end < start:
        raise refusals.without_code(400, "end_date must not be before start_date")
    delay = call.settings.usage.usage_delay
    records = [
        record
        for cvm in app.members
        for record in meter_usage(world, cvm, until=call.now)
        if record.at + delay <= call.now and start <= world.calendar_time(record.at) <= end
    ]
    records.sort(key=lambda record: record.at)
    page = records[query.offset : query.offset + query.limit]
    counted = page if call.settings.usage.total == "returned" else records
    body = {
        "usage": [usage_record(call.current_view, record) for record in page],
        "total": len(counted),
        "total_cost": float(sum((record.cost for record in counted), Decimal(0))),
    }
    return ApiReply(body)


def _visible_members(app: App, view: WorldView) -> list[SimulatedCvm]:
    return [cvm for cvm in app.members if cvm.exists(view.at)]


def _app_entry(view: WorldView, app: App, members: list[SimulatedCvm]) -> Json:
    shape = legacy.app_entry if view.is_legacy else current.app_entry
    return shape(view, app, members)


def _matches_query(query: AppPage, cvm: SimulatedCvm, view: WorldView) -> bool:
    teepod, kind = cvm.teepod, cvm.instance_type
    text = (query.search or "").lower()
    searched = (cvm.app.name, cvm.name, cvm.app.app_id, cvm.uuid, cvm.instance_id)
    return (
        (not text or any(text in value for value in searched))
        and (not query.status or view.phase_of(cvm).status in query.status)
        and query.listed is not True
        and query.base_image in {None, IMAGE}
        and query.instance_type in {None, kind.id}
        and query.kms_slug is None
        and query.kms_type in {None, "phala"}
        and query.node in {None, teepod.name}
        and query.region in {None, teepod.region}
    )


def _as_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
