"""A cloud inside the process with obedient CVMs at next to no cost, to measure the engine alone."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from random import Random

import anyio

from orchestrator.action import Action
from orchestrator.cvm import Cvm, CvmRef, normal_uuid
from orchestrator.reply import Page, Reply, StatusRead

SETTLE_SECONDS = (2.0, 6.0)
LATENCY_SECONDS = 0.05
TEEPODS, APPS = 100, 1000


class MinimalCloud:
    """A cloud with a delay of `LATENCY_SECONDS`; its CVMs go down some seconds after their stop."""

    def __init__(self, count: int) -> None:
        rng = Random(7)  # noqa: S311 - the same every time
        self._seconds = [rng.uniform(*SETTLE_SECONDS) for _ in range(count)]
        self._stopped_at: dict[int, float] = {}
        self.refs = [
            CvmRef(
                f"cvm_{n}",
                f"00000000-0000-0000-0000-{n:012d}",
                f"web-{n}",
                f"{n % 1000:040x}",
                n % 100,
                f"prod-{n % 100}",
            )
            for n in range(count)
        ]

    def _status(self, number: int) -> StatusRead:
        at = self._stopped_at.get(number)
        if at is None:
            return StatusRead("running")
        down = anyio.current_time() - at >= self._seconds[number]
        return StatusRead("stopped") if down else StatusRead("stopping", in_progress=True)

    async def act(self, action: Action, ref: CvmRef) -> Reply[StatusRead]:  # noqa: ARG002 - a run sends only stops here
        """Accept the stop."""
        self._stopped_at.setdefault(int((ref.id or "")[4:]), anyio.current_time())
        await anyio.sleep(LATENCY_SECONDS)
        return Reply(
            value=StatusRead("stopping", in_progress=True), http_status=200, request_id="req_1", latency=LATENCY_SECONDS
        )

    async def read_statuses(self, uuids: Sequence[str]) -> Reply[Mapping[str, StatusRead]]:
        """Read the requested statuses."""
        await anyio.sleep(LATENCY_SECONDS)
        return Reply(value={normal_uuid(uuid): self._status(int(uuid[-12:])) for uuid in uuids}, http_status=200)

    async def read_state(self, ref: CvmRef) -> Reply[StatusRead]:
        """Read one status."""
        await anyio.sleep(LATENCY_SECONDS)
        return Reply(value=self._status(int((ref.id or "")[4:])), http_status=200)

    async def list_page(self, page: int, page_size: int) -> Reply[Page]:
        """Read one page."""
        await anyio.sleep(LATENCY_SECONDS)
        first = (page - 1) * page_size
        cvms = tuple(
            Cvm(ref=ref, status="running", disk_gb=Decimal(20)) for ref in self.refs[first : first + page_size]
        )
        return Reply(value=Page(cvms, len(self.refs), -(-len(self.refs) // page_size)), http_status=200)

    async def list_app(self, app_id: str) -> Reply[tuple[Cvm, ...]]:
        """Read the CVMs of one app."""
        return Reply(value=tuple(Cvm(ref=ref, status="running") for ref in self.refs if ref.app_id == app_id))

    async def read_cvm(self, ref: CvmRef) -> Reply[Cvm]:
        """Read one CVM."""
        return Reply(value=Cvm(ref=ref, status="running"), http_status=200)

    async def read_by_id(self, cvm_id: str) -> Reply[tuple[Cvm, ...]]:
        """Read one CVM."""
        return Reply(value=tuple(Cvm(ref=ref, status="running") for ref in self.refs if ref.address == cvm_id))

    async def price_list(self) -> Reply[Mapping[str, Decimal]]:
        """Read an empty price list."""
        return Reply(value={}, http_status=200)
