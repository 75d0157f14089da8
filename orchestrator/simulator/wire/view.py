"""View of the simulated cloud at one moment, in one API version."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.timeline import CvmPhase
from orchestrator.simulator.world import World

Json = dict[str, Any]

LEGACY = "2025-10-28"
_NEWEST = frozenset({"2026-05-22", "2026-06-23"})


@dataclass(frozen=True, slots=True)
class WorldView:
    """The world at `at` (seconds; in the past if reads lag), in the shapes of `version`."""

    world: World
    at: float
    version: str

    @property
    def is_legacy(self) -> bool:
        """Return True for a version with the shapes of 2025-10-28."""
        return self.version == LEGACY

    @property
    def is_newest(self) -> bool:
        """Return True for a version after 2026-01-21, with its additions."""
        return self.version in _NEWEST

    def phase_of(self, cvm: SimulatedCvm) -> CvmPhase:
        """The phase of a CVM in this view."""
        return cvm.phase_at(self.at)

    def uuid_of(self, cvm: SimulatedCvm) -> str | None:
        """The UUID of a CVM in this view, with or without dashes by the settings."""
        uuid = cvm.vm_uuid(self.at)
        if uuid is None or self.world.settings.api.uuid_dashes:
            return uuid
        return uuid.replace("-", "")

    def instance_id_of(self, cvm: SimulatedCvm) -> str | None:
        """The instance id of a CVM in this view; null as long as the UUID is null."""
        return None if cvm.vm_uuid(self.at) is None else cvm.instance_id

    def uptime_of(self, cvm: SimulatedCvm) -> str | None:
        """The time since a CVM began to run, such as `2d 3h 4m 5s`; None unless running."""
        if cvm.uptime_hidden or self.phase_of(cvm).status != "running":
            return None
        minutes, seconds = divmod(int(self.at - cvm.timeline.status_since(self.at)), 60)
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        parts = ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
        return " ".join(f"{number}{unit}" for number, unit in parts if number or unit == "s")

    def format_time(self, at: float) -> str:
        """Format a moment as the API does."""
        return format_iso(self.world.calendar_time(at))


def format_iso(moment: datetime) -> str:
    """Format a UTC time with microseconds and `Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def format_dollars(amount: Decimal) -> str:
    """Format US dollars as a plain decimal string."""
    return format(amount, "f")


def make_urls(cvm: SimulatedCvm) -> list[Json]:
    """The public URLs of a CVM's only port."""
    domain = "dstack-pha-prod.phala.network"
    return [
        {
            "app": f"https://{cvm.app.app_id}-8080.{domain}",
            "instance": f"https://{cvm.instance_id}-8080.{domain}",
        }
    ]
