"""Reading metered usage: app by app, page by page, through the gate, with retries. Nothing it does changes anything."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from random import Random
from typing import Protocol

import anyio

from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.read.retry import ask, unreadable
from orchestrator.errors import CloudError
from orchestrator.reply import Reply, UsagePage, UsageRecord

PAGE_SIZE = 5000
"""Records that a page may have at the most."""

_UNAUTHORIZED, _NOT_FOUND = 401, 404


class UsageCloud(Protocol):
    """The one operation of the API that is needed here. It never raises for what the other side did."""

    async def usage_page(
        self, app_id: str, *, since: datetime, until: datetime, limit: int, offset: int
    ) -> Reply[UsagePage]:
        """One page of an app's metered usage; `offset` records come before it."""
        ...


@dataclass(frozen=True, slots=True)
class AppQuestion:
    """What is asked about one app.

    Attributes:
        app_id: the app.
        since: from when on.
        until: until when.
        cvms: the UUIDs, in normal form, of the CVMs whose usage is wanted; all else is forgotten at once.
    """

    app_id: str
    since: datetime
    until: datetime
    cvms: frozenset[str]


@dataclass(frozen=True, slots=True)
class AppUsage:
    """What was answered.

    Attributes:
        by_cvm: the records of each CVM that has any, by its UUID, each record once.
        gone: whether the API does not know the app.
        ahead: by how many seconds the API's clock is ahead of this machine's; 0 where it does not tell.
        problem: why the usage could not be read; None when it was.
    """

    by_cvm: Mapping[str, Sequence[UsageRecord]] = field(default_factory=dict)
    gone: bool = False
    ahead: float = 0.0
    problem: str | None = None


class UsageReader:
    """Reads the usage of many apps, several at a time."""

    def __init__(self, cloud: UsageCloud, gate: Gate, rng: Random) -> None:
        self._cloud, self._gate, self._rng = cloud, gate, rng
        self._longest = 0  # the longest page so far: the server sends that many at least where there are so many

    async def read(
        self, questions: Iterable[AppQuestion], tell: Callable[[int], None] = lambda _: None
    ) -> dict[str, AppUsage]:
        """The usage of every app that is asked about, by its id.

        An app whose usage can't be read is in it with the problem, as long as some other app's can be.

        Args:
            questions: one an app.
            tell: told after each app of how many there is an answer by now.

        Raises:
            CloudError: when the key is refused, no connection can be made, or no app's usage can be read.
        """
        asked = list(questions)
        left = iter(asked)
        found: dict[str, AppUsage] = {}
        failed: list[Reply[UsagePage]] = []

        async def take_turns() -> None:
            """Read one app after the other until none is left."""
            for question in left:
                if any(not reply.sent or reply.http_status == _UNAUTHORIZED for reply in failed):
                    return
                found[question.app_id] = await self._read_app(question, failed)
                tell(len(found))

        async with anyio.create_task_group() as group:
            for _ in range(min(self._gate.max_in_flight, len(asked))):
                group.start_soon(take_turns)
        if len(found) < len(asked) or (asked and all(each.problem for each in found.values())):
            raise _error(failed)
        fatal = [reply for reply in failed if not reply.sent or reply.http_status == _UNAUTHORIZED]
        if fatal:
            raise _error(fatal)
        return found

    async def _read_app(self, question: AppQuestion, failed: list[Reply[UsagePage]]) -> AppUsage:
        """Every page of one app.

        A page shorter than it may be is not the last one for sure, for a server may send less than it was asked for.
        It is the last one where a longer one was seen before, or the server's total says so; else one more is asked
        for, which is empty then.
        """
        seen: dict[tuple[object, ...], UsageRecord] = {}
        offset = 0
        while True:
            page = partial(
                self._cloud.usage_page,
                question.app_id,
                since=question.since,
                until=question.until,
                limit=PAGE_SIZE,
                offset=offset,
            )
            reply = await ask(page, self._gate, self._rng)
            if reply.value is None:
                if reply.http_status == _NOT_FOUND and reply.is_json:
                    return AppUsage(gone=True)
                failed.append(reply)
                return AppUsage(problem=str(unreadable(reply, "its usage")))
            records, total = reply.value.records, reply.value.total
            before = len(seen)
            for record in records:
                seen.setdefault(_same(record), record)
            offset += len(records)
            told_all = total == offset and total > len(records)
            # A page without anything new: the end, or a server that does not know offsets.
            if len(seen) == before or len(records) < self._longest or told_all:
                return AppUsage(_by_cvm(seen.values(), question.cvms), ahead=reply.value.ahead or 0.0)
            self._longest = max(self._longest, len(records))


def _same(record: UsageRecord) -> tuple[object, ...]:
    """What tells one record from another: pages may overlap when records are added while they are read."""
    period = record.begin, record.end, record.minutes, record.cost
    when = () if record.key else (record.at,)
    return (record.key, record.cvm, record.usage_type, record.event_type, *period, *when)


def _by_cvm(records: Iterable[UsageRecord], cvms: frozenset[str]) -> dict[str, list[UsageRecord]]:
    found: dict[str, list[UsageRecord]] = {}
    for record in records:
        if record.cvm in cvms:
            found.setdefault(record.cvm, []).append(record)
    return found


def _error(failed: Sequence[Reply[UsagePage]]) -> CloudError:
    worst = min(failed, key=lambda reply: (reply.http_status != _UNAUTHORIZED, reply.sent))
    return unreadable(worst, "the metered usage")
