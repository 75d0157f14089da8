"""What the API lets one see: the world at one moment, in one API version."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.timeline import Phase
from orchestrator.simulator.world import World

Json = dict[str, Any]

LEGACY = "2025-10-28"
_NEWEST = frozenset({"2026-05-22", "2026-06-23"})


@dataclass(frozen=True, slots=True)
class View:
    """The world as it was at `at` (seconds; the past, if reads lag), told in the shapes of `version`."""

    world: World
    at: float
    version: str

    @property
    def is_legacy(self) -> bool:
        """Whether the shapes are those of the first version."""
        return self.version == LEGACY

    @property
    def is_newest(self) -> bool:
        """Whether the shapes have what came after 2026-01-21."""
        return self.version in _NEWEST

    def phase_of(self, cvm: SimulatedCvm) -> Phase:
        """What that CVM is, as seen."""
        return cvm.phase_at(self.at)

    def uuid_of(self, cvm: SimulatedCvm) -> str | None:
        """Its UUID as seen, with or without dashes as the settings say."""
        uuid = cvm.vm_uuid(self.at)
        if uuid is None or self.world.settings.api.uuid_dashes:
            return uuid
        return uuid.replace("-", "")

    def instance_id_of(self, cvm: SimulatedCvm) -> str | None:
        """Its instance id as seen: null as long as the UUID is."""
        return None if cvm.vm_uuid(self.at) is None else cvm.instance_id

    def uptime_of(self, cvm: SimulatedCvm) -> str | None:
        """For how long it has been running, such as `2d 3h 4m 5s`; None if it is not."""
        if self.phase_of(cvm).status != "running":
            return None
        minutes, seconds = divmod(int(self.at - cvm.timeline.status_since(self.at)), 60)
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        parts = ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
        return " ".join(f"{number}{unit}" for number, unit in parts if number or unit == "s")

    def format_time(self, at: float) -> str:
        """That moment as the API writes it."""
        return format_iso(self.world.calendar_time(at))


def format_iso(moment: datetime) -> str:
    """A UTC date and time with microseconds and `Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def format_dollars(amount: Decimal) -> str:
    """US dollars as a plain decimal string."""
    return format(amount, "f")


def make_urls(cvm: SimulatedCvm) -> list[Json]:
    """The public URLs of a CVM's one port."""
    domain = "dstack-pha-prod.phala.network"
    return [
        {
            "app": f"https://{cvm.app.app_id}-8080.{domain}",
            "instance": f"https://{cvm.instance_id}-8080.{domain}",
        }
    ]
