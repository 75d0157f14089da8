"""A cloud that is listened to: somebody is told of every answer of a run, whoever asked."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TypeVar

from orchestrator.cvm import Cvm, CvmRef
from orchestrator.engine.protocols import Cloud
from orchestrator.reply import BatchStopped, Page, Reply, StatusRead

_T = TypeVar("_T")


class ObservedCloud:
    """Passes requests on, and tells of each answer before it hands it back."""

    def __init__(self, cloud: Cloud, heard: Callable[[Reply[object]], None]) -> None:
        self._cloud, self._tell = cloud, heard

    def __repr__(self) -> str:
        return f"<HeardCloud of {self._cloud!r}>"

    async def list_page(self, page: int, page_size: int) -> Reply[Page]:
        """One page of the CVMs of the workspace; pages count from 1."""
        return self._heard(await self._cloud.list_page(page, page_size))

    async def list_app(self, app_id: str) -> Reply[tuple[Cvm, ...]]:
        """The CVMs of one app."""
        return self._heard(await self._cloud.list_app(app_id))

    async def cvm(self, ref: CvmRef) -> Reply[Cvm]:
        """One CVM in detail."""
        return self._heard(await self._cloud.cvm(ref))

    async def price_list(self) -> Reply[Mapping[str, Decimal]]:
        """USD per hour by instance type."""
        return self._heard(await self._cloud.price_list())

    async def stop(self, ref: CvmRef) -> Reply[StatusRead]:
        """Pull the power on one CVM."""
        return self._heard(await self._cloud.stop(ref))

    async def shutdown(self, ref: CvmRef) -> Reply[StatusRead]:
        """Ask the guest of one CVM to shut down."""
        return self._heard(await self._cloud.shutdown(ref))

    async def start(self, ref: CvmRef) -> Reply[StatusRead]:
        """Power one CVM on."""
        return self._heard(await self._cloud.start(ref))

    async def restart(self, ref: CvmRef) -> Reply[StatusRead]:
        """Shut one CVM down and power it on again."""
        return self._heard(await self._cloud.restart(ref))

    async def stop_many(self, hashids: Sequence[str]) -> Reply[BatchStopped]:
        """Pull the power on up to 50 CVMs with one request."""
        return self._heard(await self._cloud.stop_many(hashids))

    async def statuses(self, uuids: Sequence[str]) -> Reply[Mapping[str, StatusRead]]:
        """The statuses of many CVMs, by UUID in normal form; some may be missing from the answer."""
        return self._heard(await self._cloud.statuses(uuids))

    async def state(self, ref: CvmRef) -> Reply[StatusRead]:
        """The status of one CVM."""
        return self._heard(await self._cloud.state(ref))

    def _heard(self, reply: Reply[_T]) -> Reply[_T]:
        self._tell(reply)
        return reply
