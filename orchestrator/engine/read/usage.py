"""Read metered usage by app and page, through the gate, with retries. Read-only."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from random import Random
from typing import Protocol

import anyio

from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.read.retry import read_error, read_with_retry
from orchestrator.errors import CloudError
from orchestrator.reply import Reply, UsagePage, UsageRecord

PAGE_SIZE = 5000
"""The most records on a page."""

_NOT_FOUND = 404


class UsageCloud(Protocol):
    """API operation for metered usage. A fault of the API comes back as a `Reply`, never as an exception."""

    async def usage_page(
        self, app_id: str, *, since: datetime, until: datetime, limit: int, offset: int
    ) -> Reply[UsagePage]:
        """Read a page of an app's metered usage; `offset` records come before this page."""
        ...


@dataclass(frozen=True, slots=True)
class AppUsageQuery:
    """Query for the usage of an app.

    Attributes:
        app_id: the app.
        since: start of the period.
        until: end of the period.
        cvms: UUIDs of the wanted CVMs, in normal form; records of other CVMs are dropped.
    """

    app_id: str
    since: datetime
    until: datetime
    cvms: frozenset[str]


@dataclass(frozen=True, slots=True)
class AppUsage:
    """Usage of an app.

    Attributes:
        by_cvm: the records by UUID of the CVM, without duplicates; a CVM without records has no entry.
        gone: whether the API does not know the app.
        ahead: seconds by which the API's clock is ahead of this machine's clock; 0 if unknown.
        problem: why the usage could not be read; None after a complete read.
    """

    by_cvm: Mapping[str, Sequence[UsageRecord]] = field(default_factory=dict)
    gone: bool = False
    ahead: float = 0.0
    problem: str | None = None


class UsageReader:
    """Reads the usage of many apps concurrently."""

    def __init__(self, cloud: UsageCloud, gate: Gate, rng: Random) -> None:
        self._cloud, self._gate, self._rng = cloud, gate, rng
        self._longest = 0  # records on the longest page so far: a full page has at least this many

    async def read_usage(
        self, queries: Iterable[AppUsageQuery], on_progress: Callable[[int], None] = lambda _: None
    ) -> dict[str, AppUsage]:
        """Read the usage of apps; return the usage by app id.

        If the usage of an app can't be read, its entry has the problem, as long as another app can be read.

        Args:
            queries: one query for each app.
            on_progress: called after each app with the number of finished apps.

        Raises:
            CloudError: when the key is refused, no connection can be made, or no app's usage can be read.
        """
        asked = list(queries)
        left = iter(asked)
        found: dict[str, AppUsage] = {}
        failed: list[Reply[UsagePage]] = []

        async def read_in_turn() -> None:
            """Read the remaining apps in turn."""
            for query in left:
                if any(not reply.sent or reply.says_key_refused for reply in failed):
                    return
                found[query.app_id] = await self._read_app(query, failed)
                on_progress(len(found))

        async with anyio.create_task_group() as group:
            for _ in range(min(self._gate.max_in_flight, len(asked))):
                group.start_soon(read_in_turn)
        if len(found) < len(asked) or (asked and all(each.problem for each in found.values())):
            raise _choose_error(failed)
        fatal = [reply for reply in failed if not reply.sent or reply.says_key_refused]
        if fatal:
            raise _choose_error(fatal)
        return found

    async def _read_app(self, query: AppUsageQuery, failed: list[Reply[UsagePage]]) -> AppUsage:
        """Read every page of an app.

        A short page is not surely the last page, because a server may send fewer records than requested. A page is
        the last page if an earlier page was longer, or if the server's total is reached. Otherwise one more page is
        read, which may be empty.
        """
        seen: dict[tuple[object, ...], UsageRecord] = {}
        offset = 0
        while True:
            page = partial(
                self._cloud.usage_page,
                query.app_id,
                since=query.since,
                until=query.until,
                limit=PAGE_SIZE,
                offset=offset,
            )
            reply = await read_with_retry(page, self._gate, self._rng)
            if reply.value is None:
                if reply.http_status == _NOT_FOUND and reply.is_json:
                    return AppUsage(gone=True)
                failed.append(reply)
                return AppUsage(problem=str(read_error(reply, "its usage")))
            records, total = reply.value.records, reply.value.total
            before = len(seen)
            for record in records:
                seen.setdefault(_identity_of(record), record)
            offset += len(records)
            told_all = total == offset and total > len(records)
            # A page without new records: the end, or a server without support for offsets.
            if len(seen) == before or len(records) < self._longest or told_all:
                return AppUsage(_group_by_cvm(seen.values(), query.cvms), ahead=reply.value.ahead or 0.0)
            self._longest = max(self._longest, len(records))


def _identity_of(record: UsageRecord) -> tuple[object, ...]:
    """Build the identity of a record, to drop duplicates from overlapping pages."""
    period = record.begin, record.end, record.minutes, record.cost
    when = () if record.key else (record.at,)
    return (record.key, record.cvm, record.usage_type, record.event_type, *period, *when)


def _group_by_cvm(records: Iterable[UsageRecord], cvms: frozenset[str]) -> dict[str, list[UsageRecord]]:
    found: dict[str, list[UsageRecord]] = {}
    for record in records:
        if record.cvm in cvms:
            found.setdefault(record.cvm, []).append(record)
    return found


def _choose_error(failed: Sequence[Reply[UsagePage]]) -> CloudError:
    worst = min(failed, key=lambda reply: (not reply.says_key_refused, reply.sent))
    return read_error(worst, "the metered usage")
