"""The shape of one metered usage record."""

from orchestrator.simulator.usage import MeteredUsage
from orchestrator.simulator.wire.view import Json, WorldView


def usage_record(view: WorldView, usage: MeteredUsage) -> Json:
    """A metered usage record: costs and minutes are numbers, not decimal strings."""
    begin, end = view.world.calendar_time(usage.begin), view.world.calendar_time(usage.end)
    return {
        "instance_id": usage.cvm.uuid,
        "project_id": usage.cvm.app.number,
        "team_id": 1,
        "timestamp": view.format_time(usage.at),
        "event_type": usage.event_type,
        "cost": float(usage.cost),
        "details": None,
        "usage_type": usage.usage_type,
        "billing_start": view.format_time(usage.begin),
        "billing_end": view.format_time(usage.end),
        "duration_minutes": float(usage.minutes),
        "billing_key": f"{usage.cvm.uuid}:{usage.usage_type}:{begin:%Y%m%d%H%M%S}-{end:%Y%m%d%H%M%S}",
        "billing_hour": f"{begin:%Y-%m-%dT%H:00:00Z}",
        "billing_day": f"{begin:%Y-%m-%d}",
    }
