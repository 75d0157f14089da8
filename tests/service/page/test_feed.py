"""The changes of a page for its viewers: shared, complete, and without a gap."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from orchestrator.service.page.feed import Feeds
from orchestrator.service.page.values import Update

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The server needs asyncio."""
    return "asyncio"


class Source:
    """A page with rows: each row has the version of its last change."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.parts: dict[str, str] = {}
        self.reads: list[int] = []
        self.is_outdated = False
        self.fails = False

    async def read(self, after: int) -> Update:
        self.reads.append(after)
        if self.fails:
            raise OSError("gone")
        rows = {name: (version, f"{name} {version}") for name, version in self.rows.items() if version > after}
        return Update(max(self.rows.values(), default=0), self.parts, rows, self.is_outdated)

    def follow(self, feeds: Feeds, version: int) -> AsyncIterator[bytes]:
        return feeds.follow("page", self.read, version, 0.001)


async def until_parts(messages: AsyncIterator[bytes]) -> dict[str, str]:
    """The parts of the next message with changes."""
    async for message in messages:
        if b"data: " in message:
            found: dict[str, str] = json.loads(message.split(b"data: ")[1]).get("parts", {"outdated": ""})
            return found
    return {}


async def test_each_viewer_gets_what_changed_since_its_own_version() -> None:
    source, feeds = Source(), Feeds()
    source.rows, source.parts = {"a": 3, "b": 5}, {"head": "one"}
    late, early = source.follow(feeds, 4), source.follow(feeds, 2)
    assert await until_parts(late) == {"head": "one", "b": "b 5"}
    assert await until_parts(early) == {"head": "one", "a": "a 3", "b": "b 5"}
    source.rows["a"] = 7
    assert await until_parts(late) == {"a": "a 7"}
    source.parts = {"head": "two"}
    assert await until_parts(late) == {"head": "two"}
    assert await until_parts(early) == {"head": "two", "a": "a 7"}
    feeds.close()
    assert await until_parts(late) == {}


async def test_a_page_without_viewers_is_not_read() -> None:
    source, feeds = Source(), Feeds()
    source.parts = {"head": "one"}
    messages = source.follow(feeds, 0)
    await until_parts(messages)
    await messages.aclose()  # type: ignore[attr-defined] # a generator
    await asyncio.gather(*feeds._tasks)  # the reads have ended
    feeds.close()
    assert await until_parts(source.follow(feeds, 0)) == {}


@pytest.mark.parametrize("fails", [True, False])
async def test_an_outdated_or_unreadable_page_is_loaded_again(fails: bool) -> None:
    source, feeds = Source(), Feeds()
    source.fails, source.is_outdated = fails, True
    assert await until_parts(source.follow(feeds, 0)) == {"outdated": ""}
