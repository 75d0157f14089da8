"""Write many logs together: while a group of writes goes to the disk, further writes gather for the next group.

The first fsync of a group often makes the journal of the file system durable for all files of the group, so a group of
many logs costs little more than a single log.
"""

from collections.abc import Iterable, Sequence

import anyio
import anyio.to_thread

from orchestrator.audit.log import AuditLog, FileBacking, PendingWrite


class _Entry:
    """A write of a group; `error` after a failure."""

    def __init__(self, pending: PendingWrite) -> None:
        self.pending = pending
        self.is_done = False
        self.error: Exception | None = None


class GroupedWriter:
    """Runs the writes of many logs in groups, in one thread at a time; set by `FileBacking.use_writer`.

    A failed write fails its own log only. The caller shields the call from cancellation, as `AuditLog.flush` does.
    """

    def __init__(self) -> None:
        self._waiting: list[_Entry] = []
        self._group_done: anyio.Event | None = None

    async def __call__(self, pending: PendingWrite) -> None:
        """Return once the data of the write is durable.

        Raises:
            OSError: when this write failed.
        """
        entry = _Entry(pending)
        self._waiting.append(entry)
        while not entry.is_done:
            if self._group_done is not None:
                await self._group_done.wait()
                continue
            self._group_done = anyio.Event()
            group, self._waiting = self._waiting, []
            try:
                await anyio.to_thread.run_sync(_write_group, group)
            finally:
                for each in group:
                    if not each.is_done:
                        each.is_done, each.error = True, each.error or OSError("the write was cancelled")
                self._group_done.set()
                self._group_done = None
        if entry.error is not None:
            raise entry.error


def write_in_groups(logs: Iterable[AuditLog]) -> None:
    """Write these logs together from now on, as far as they are files."""
    writer = GroupedWriter()
    for log in logs:
        if isinstance(log.backing, FileBacking):
            log.backing.use_writer(writer)


def _write_group(group: Sequence[_Entry]) -> None:
    """Write all data, then make all data durable."""
    for entry in group:
        try:
            entry.pending.write()
        except Exception as error:  # noqa: BLE001 - raised in the task of the entry
            entry.error = error
    for entry in group:
        if entry.error is None:
            try:
                entry.pending.sync()
            except Exception as error:  # noqa: BLE001 - the same
                entry.error = error
        entry.is_done = True
