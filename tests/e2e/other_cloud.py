"""A second cloud, made from the API document alone: a few CVMs that stop at once, and their metered usage.

It shares nothing with the simulator, so that a misreading that the client and the simulator have in common shows.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from tests.billing.meter import Meter, Style
from tests.e2e.json_server import serve_json

RATES = (Decimal("0.058"), Decimal("3.5"), Decimal("0.4321"))


class OtherCloud:
    """CVMs of two apps that have been up for hours, metered by the hour since their own start.

    Attributes:
        api_key: what it wants to be sent; it does not look.
        url: where it is.
        asked: the queries for usage so far.
        due: what stops had charged so far, in US dollars.
        held_back: the charges that have not arrived among the usage yet.
        posts: how many requests of each action came.
    """

    api_key = "phak_other"

    def __init__(self, style: Style) -> None:
        self.url = ""
        self.asked: list[dict[str, str]] = []
        self.due = Decimal(0)
        self.held_back: list[Any] = []
        self.up: dict[str, datetime | None] = {}
        self.meters = {app: Meter(style) for app in ("a" * 40, "b" * 40)}
        self.posts: Counter[str] = Counter()
        self._lock = threading.Lock()
        now = datetime.now(UTC)
        for number in range(len(RATES)):
            self.start(number, now - timedelta(hours=3, minutes=20 + number))

    def cvm(self, number: int) -> tuple[str, Meter]:
        """The UUID of a CVM, and who meters it."""
        return str(UUID(int=number + 1, version=4)), list(self.meters.values())[number % 2]

    def start(self, number: int, at: datetime) -> None:
        """Meter a CVM by the hour from then on until now."""
        uuid, meter = self.cvm(number)
        while at + timedelta(hours=1) <= datetime.now(UTC):
            for kind, rate in (("storage", Decimal("0.0028")), ("compute", RATES[number])):
                meter.record(uuid, meter.style.hourly, kind, rate, (at, at + timedelta(hours=1)))
            at += timedelta(hours=1)
        self.up[uuid] = at

    def stop(self, hashid: str) -> dict[str, Any]:
        """Stop a CVM, and charge what was open."""
        number = int(hashid.removeprefix("cvm_"))
        uuid, meter = self.cvm(number)
        with self._lock:
            since, self.up[uuid] = self.up[uuid], None
            if since is not None:
                now = datetime.now(UTC)
                # The second 0 would be read as a time to the minute, and the charge then belongs to a later stop too.
                period = (since, now + timedelta(seconds=now.second == 0))
                before = len(meter.records)
                self.due += meter.record(uuid, meter.style.stop, "compute", RATES[number], period)
                self.held_back += [(meter, each) for each in meter.records[before:]]
                del meter.records[before:]
        return {"id": number, "vm_uuid": uuid, "status": "stopping", "name": f"web-{number}"}

    def start_again(self, hashid: str) -> dict[str, Any]:
        """Start a CVM that was stopped."""
        number = int(hashid.removeprefix("cvm_"))
        self.start(number, datetime.now(UTC))
        return {"id": number, "vm_uuid": self.cvm(number)[0], "status": "starting", "name": f"web-{number}"}

    def arrive(self) -> None:
        """Let the charges show up among the usage."""
        for meter, record in self.held_back:
            meter.records.append(record)
        self.held_back.clear()

    def items(self) -> list[dict[str, Any]]:
        """The list of CVMs, in the newest shape."""
        return [
            {
                "id": f"cvm_{number}",
                "vm_uuid": self.cvm(number)[0],
                "name": f"web-{number}",
                "app_id": list(self.meters)[number % 2],
                "node_info": {"id": 1, "name": "alpha", "region": "eu", "status": "online"},
                "resource": {"instance_type": "tdx.small", "billing_period": "hourly", "disk_in_gb": 20, "gpus": 0},
                "hourly_rate": {"total": "1", "compute": str(rate), "disk": "0.00278"},
                "status": "running" if self.up[self.cvm(number)[0]] else "stopped",
            }
            for number, rate in enumerate(RATES)
        ]

    def get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        """Answer a GET."""
        if path == "/cvms/paginated":
            return {"items": self.items(), "total": len(RATES), "page": 1, "page_size": 100, "pages": 1}
        if path.endswith("/usage"):
            self.asked.append(query)
            since, until = (datetime.fromisoformat(query[name]) for name in ("start_date", "end_date"))
            meter = self.meters[path.split("/")[2]]
            return meter.page(since, until, int(query.get("limit", 500)), int(query.get("offset", 0)))
        number = int(path.split("/")[2].removeprefix("cvm_"))
        return {"status": self.items()[number]["status"], "in_progress": False}

    def post(self, path: str, body: Any) -> dict[str, Any]:  # noqa: ANN401 - parsed JSON
        """Answer a POST."""
        *_, hashid, operation = path.split("/")
        if operation in {"stop", "suspend", "start"}:
            self.posts[operation] += 1
            return self.start_again(hashid) if operation == "start" else self.stop(hashid)
        found = {UUID(uuid): uuid for uuid in body["vm_uuids"]}
        items = [item for item in self.items() if UUID(item["vm_uuid"]) in found]
        return {found[UUID(each["vm_uuid"])]: {"status": each["status"], "in_progress": False} for each in items}


@contextmanager
def serving(style: Style) -> Iterator[OtherCloud]:
    """The cloud, on a socket for as long as the block lasts."""
    cloud = OtherCloud(style)

    def answer(method: str, path: str, body: Any) -> tuple[int, Any]:  # noqa: ANN401 - parsed JSON
        if method == "POST":
            return 200, cloud.post(path, body)
        parts = urlsplit(path)
        return 200, cloud.get(parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()})

    with serve_json(answer) as cloud.url:
        yield cloud
