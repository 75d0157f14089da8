"""Changes of a page for all its viewers: read once, and sent to every viewer at the speed of the viewer.

A viewer gets the changes since the version that the viewer has: missed events and slow connections leave no gap, and
nothing is kept for a slow viewer.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from orchestrator.service.page.values import Update

ALIVE_EVERY = 15.0
"""Seconds between two signs of life on a connection without changes."""
_RETRY_MS = 2000
_REST = 0.25
"""Least seconds after a change: a run with many changes sends few messages."""
_COST_SHARE = 8
"""The time between two reads, in processor seconds of a read: a page never takes more than a ninth of a core."""

Read = Callable[[int], Awaitable[Update]]
"""Reads the changes since a version."""


class Feed:
    """The changes of one page, while the page has viewers.

    Attributes:
        viewers: number of viewers.
    """

    def __init__(self, read: Read, version: int, every: float) -> None:
        """Set up.

        Args:
            read: reads the changes.
            version: the version of the first viewer's page.
            every: the least seconds between two reads.
        """
        self.viewers = 0
        self._read, self._every = read, every
        self._version = version
        self._wanted = self._covered = version  # versions from which the next read is asked, and the rows are complete
        self._tick = 0
        self._parts: dict[str, tuple[int, str]] = {}
        self._rows: dict[str, tuple[int, str]] = {}
        self._is_outdated = self._is_closed = False
        self._changed = asyncio.Event()
        self._messages: dict[tuple[int, int], bytes] = {}

    async def run(self) -> None:
        """Read the changes until the last viewer has left."""
        while not self._is_closed and not self._is_outdated:
            since = self._wanted
            try:
                update = await self._read(since)
            except Exception:  # noqa: BLE001 - whatever the fault: the viewers load the page again, and see the fault
                update = Update(self._version, is_outdated=True)
            has_changed = self._apply(update, since)
            await asyncio.sleep(max(_REST if has_changed else 0, self._every, _COST_SHARE * update.cost))

    def close(self) -> None:
        """End the feed, and the connections of its viewers."""
        self._is_closed = True
        self._wake_viewers()

    def _apply(self, update: Update, since: int) -> bool:
        """Keep the changes for the viewers; returns False without a change."""
        if self._wanted == since:  # else a viewer with an older version came meanwhile
            self._wanted = update.version
        is_wider, self._covered = since < self._covered, min(since, self._covered)
        changed = {id_: html for id_, html in update.parts.items() if self._parts.get(id_, (0, ""))[1] != html}
        if not (changed or update.rows or update.is_outdated or is_wider):
            return False
        self._tick += 1
        self._parts.update((id_, (self._tick, html)) for id_, html in changed.items())
        self._rows.update(update.rows)
        self._version = update.version
        self._is_outdated = update.is_outdated
        self._wake_viewers()
        return True

    def _wake_viewers(self) -> None:
        self._messages.clear()
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self, version: int) -> AsyncIterator[bytes]:
        """Yield the messages of a viewer with a version of the page, in the format of Server-Sent Events."""
        self._wanted = min(self._wanted, version)  # the next read brings the changes missed by this viewer
        tick = 0
        yield b"retry: %d\n\n" % _RETRY_MS
        while not self._is_closed:
            changed = self._changed
            if self._is_outdated:
                yield b"event: outdated\ndata: {}\n\n"
                return
            if version >= self._covered and (version < self._version or tick < self._tick):
                message = self._format_message(version, tick)
                version, tick = self._version, self._tick
                if message:
                    yield message
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(ALIVE_EVERY):
                    await changed.wait()
                    continue
            yield b": alive\n\n"

    def _format_message(self, version: int, tick: int) -> bytes:
        """Format the changes since a version and a tick, if any; viewers with the same version share the bytes."""
        message = self._messages.get((version, tick))
        if message is None:
            rows = {id_: html for id_, (since, html) in self._rows.items() if since > version}
            parts = {id_: html for id_, (since, html) in self._parts.items() if since > tick}
            message = format_event(self._version, {**parts, **rows}) if parts or rows else b""
            self._messages[version, tick] = message
        return message


class Feeds:
    """The feeds of all pages with viewers."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def follow(self, page: str, read: Read, version: int, every: float) -> AsyncIterator[bytes]:
        """Yield the messages of a viewer; the first viewer of a page starts its feed.

        Args:
            page: the key of the page.
            read: reads the changes of the page.
            version: the version of the viewer's page.
            every: the least seconds between two reads.
        """
        if self._is_closed:
            return
        feed = self._feeds.get(page)
        if feed is None:
            feed = self._feeds[page] = Feed(read, version, every)
            task = asyncio.get_running_loop().create_task(feed.run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        feed.viewers += 1
        try:
            async for message in feed.follow(version):
                yield message
        finally:
            feed.viewers -= 1
            if not feed.viewers:
                feed.close()
                if self._feeds.get(page) is feed:
                    del self._feeds[page]

    def close(self) -> None:
        """End all connections."""
        self._is_closed = True
        for feed in self._feeds.values():
            feed.close()


def format_event(version: int, parts: Mapping[str, Any]) -> bytes:
    """Format a message with changed parts. JSON has no line breaks."""
    data = json.dumps({"parts": parts}, ensure_ascii=False, separators=(",", ":"))
    return f"id: {version}\ndata: {data}\n\n".encode()
