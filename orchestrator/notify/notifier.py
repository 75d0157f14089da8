"""Telling everybody who is to be told of one run, while it goes on."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import anyio

from orchestrator.audit.log import Observer
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.notify.delivery import DeliveryWorker, Warn
from orchestrator.notify.from_events import notice_of
from orchestrator.notify.notice import Notice
from orchestrator.playbook.value_types import NoticeKind


class Notifier:
    """Hands notices to couriers. Nothing of it waits but `finish`, and nothing of it raises."""

    def __init__(self, couriers: Sequence[DeliveryWorker], kinds: Collection[NoticeKind], warn: Warn) -> None:
        """Set up.

        Args:
            couriers: one for each recipient.
            kinds: of what is told.
            warn: where warnings go.
        """
        self._couriers, self._kinds, self._warn = couriers, frozenset(kinds), warn

    @property
    def has_somebody_to_tell(self) -> bool:
        """Whether there is any recipient."""
        return bool(self._couriers)

    def tell(self, notice: Notice) -> None:
        """Have a notice delivered, if it is of a kind that is asked for."""
        if notice.kinds & self._kinds:
            for courier in self._couriers:
                courier.take(notice)

    def observing(self, state: RunState) -> Observer:
        """An observer of an audit log that tells what its records give reason to.

        Args:
            state: what the log says; another observer before this one keeps it up to date.
        """

        def observe(record: Record) -> None:
            try:
                notice = notice_of(record, state)
            except Exception as error:  # noqa: BLE001 - an observer must not raise, and no notice is worth a stop
                self._warn("notice.lost", notices=record.get("event"), reason=f"a bug: {type(error).__name__}")
                return
            if notice is not None:
                self.tell(notice)

        return observe

    async def finish(self, within: float) -> None:
        """Return when everything was delivered or given up, or after so many seconds."""
        async with anyio.create_task_group() as group:
            for courier in self._couriers:
                group.start_soon(courier.finish, within)


@asynccontextmanager
async def notifying(
    couriers: Sequence[DeliveryWorker], kinds: Collection[NoticeKind], warn: Warn
) -> AsyncIterator[Notifier]:
    """A notifier whose couriers are under way for as long as the block lasts; what they still hold then is given up.

    Args:
        couriers: one for each recipient.
        kinds: of what is told.
        warn: where warnings go.
    """
    try:
        async with anyio.create_task_group() as group:
            for courier in couriers:
                group.start_soon(courier.run)
            try:
                yield Notifier(couriers, kinds, warn)
            finally:
                group.cancel_scope.cancel()
                for courier in couriers:
                    courier.leave()
    except BaseExceptionGroup as raised:
        # Couriers raise nothing, so it is what the block raised, and has to leave here as it was.
        raise raised.exceptions[0] from None
