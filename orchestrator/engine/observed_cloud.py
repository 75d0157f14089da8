"""Observed cloud: calls an observer with every reply of a run, for every caller."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TypeVar

from orchestrator.action import Action
from orchestrator.cvm import Cvm, CvmRef
from orchestrator.engine.protocols import Cloud
from orchestrator.reply import BatchStopped, Page, Reply, StatusRead

_T = TypeVar("_T")


class ObservedCloud:
    """Cloud wrapper: passes requests on, and calls the observer with the reply before returning the reply."""

    def __init__(self, cloud: Cloud, on_reply: Callable[[Reply[object]], None]) -> None:
        self._cloud, self._on_reply = cloud, on_reply

    def __repr__(self) -> str:
        return f"<ObservedCloud of {self._cloud!r}>"

    async def list_page(self, page: int, page_size: int) -> Reply[Page]:
        """Read a page of the workspace's CVMs; pages count from 1."""
        return self._pass_on(await self._cloud.list_page(page, page_size))

    async def list_app(self, app_id: str) -> Reply[tuple[Cvm, ...]]:
        """Read the CVMs of an app."""
        return self._pass_on(await self._cloud.list_app(app_id))

    async def read_cvm(self, ref: CvmRef) -> Reply[Cvm]:
        """Read the details of a CVM."""
        return self._pass_on(await self._cloud.read_cvm(ref))

    async def read_by_id(self, cvm_id: str) -> Reply[tuple[Cvm, ...]]:
        """Read the details of a CVM by one of its identifiers."""
        return self._pass_on(await self._cloud.read_by_id(cvm_id))

    async def price_list(self) -> Reply[Mapping[str, Decimal]]:
        """Read the price list: USD per hour by instance type."""
        return self._pass_on(await self._cloud.price_list())

    async def act(self, action: Action, ref: CvmRef) -> Reply[StatusRead]:
        """Send the request of an action on a CVM."""
        return self._pass_on(await self._cloud.act(action, ref))

    async def stop_many(self, hashids: Sequence[str]) -> Reply[BatchStopped]:
        """Stop up to 50 CVMs with a single request: cut their power."""
        return self._pass_on(await self._cloud.stop_many(hashids))

    async def read_statuses(self, uuids: Sequence[str]) -> Reply[Mapping[str, StatusRead]]:
        """Read the statuses of many CVMs, by UUID in normal form; some may be missing from the answer."""
        return self._pass_on(await self._cloud.read_statuses(uuids))

    async def read_state(self, ref: CvmRef) -> Reply[StatusRead]:
        """Read the status of a CVM."""
        return self._pass_on(await self._cloud.read_state(ref))

    def _pass_on(self, reply: Reply[_T]) -> Reply[_T]:
        self._on_reply(reply)
        return reply
