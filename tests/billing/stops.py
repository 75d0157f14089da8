"""Events of CVMs to try things on."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from orchestrator.billing.stopped_period import SeenGone, SeenUp, Started, WentDown
from orchestrator.cvm import CvmRef

CLOUD = "https://cloud.example"
START = datetime(2026, 11, 1, tzinfo=UTC)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def ref(number: int = 1) -> CvmRef:
    return CvmRef(f"cvm_{number}", f"{number:032x}", f"web-{number}", f"{number % 2:040x}", number % 3, None)


def down(
    hours: float,
    number: int = 1,
    *,
    rate: str | None = "0.12",
    storage: str | None = "0.003",
    playbook: str = "nightly",
    has_gpus: bool = False,
    cvm: CvmRef | None = None,
    cloud: str = CLOUD,
    after: float = 0.0,
) -> WentDown:
    rates = None if rate is None else Decimal(rate), None if storage is None else Decimal(storage)
    return WentDown(cloud, cvm or ref(number), at(hours), at(hours + after), "run", playbook, *rates, has_gpus)


def started(hours: float, number: int = 1) -> Started:
    return Started(CLOUD, ref(number), at(hours))


def seen(hours: float, number: int = 1, *, read: float | None = None, cvm: CvmRef | None = None) -> SeenUp:
    return SeenUp(CLOUD, cvm or ref(number), at(hours), at(hours if read is None else read))


def gone(hours: float, number: int = 1) -> SeenGone:
    return SeenGone(CLOUD, ref(number), at(hours))
