"""Send the notices of a run to all channels during the run."""

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
    """Hands notices to delivery workers. Only `finish_delivery` waits, and no method raises."""

    def __init__(self, workers: Sequence[DeliveryWorker], kinds: Collection[NoticeKind], warn: Warn) -> None:
        """Set up.

        Args:
            workers: one worker for each channel.
            kinds: the selected kinds of notices.
            warn: the logger of warnings.
        """
        self._workers, self._kinds, self._warn = workers, frozenset(kinds), warn

    @property
    def has_recipients(self) -> bool:
        """Return True if any channel is configured."""
        return bool(self._workers)

    def send_notice(self, notice: Notice) -> None:
        """Queue a notice on every channel, if its kind is selected."""
        if notice.kinds & self._kinds:
            for worker in self._workers:
                worker.queue_notice(notice)

    def make_observer(self, state: RunState) -> Observer:
        """Make an observer of an audit log for the notices about its records.

        Args:
            state: the state of the run, updated by an earlier observer.
        """

        def observe(record: Record) -> None:
            try:
                notice = notice_of(record, state)
            except Exception as error:  # noqa: BLE001 - an observer must not raise, and a notice must not prevent a stop
                self._warn("notice.lost", notices=record.get("event"), reason=f"internal error: {type(error).__name__}")
                return
            if notice is not None:
                self.send_notice(notice)

        return observe

    async def finish_delivery(self, within: float) -> None:
        """Wait until every notice is delivered or dropped, for `within` seconds at most."""
        async with anyio.create_task_group() as group:
            for worker in self._workers:
                group.start_soon(worker.finish_delivery, within)


@asynccontextmanager
async def open_notifier(
    workers: Sequence[DeliveryWorker], kinds: Collection[NoticeKind], warn: Warn
) -> AsyncIterator[Notifier]:
    """Open a notifier with running workers; notices undelivered at the end of the block are dropped.

    Args:
        workers: one worker for each channel.
        kinds: the selected kinds of notices.
        warn: the logger of warnings.
    """
    try:
        async with anyio.create_task_group() as group:
            for worker in workers:
                group.start_soon(worker.run)
            try:
                yield Notifier(workers, kinds, warn)
            finally:
                group.cancel_scope.cancel()
                for worker in workers:
                    worker.report_undelivered()
    except BaseExceptionGroup as raised:
        # Workers never raise, so this is the exception of the block: raise it outside the group, unchanged.
        raise raised.exceptions[0] from None
