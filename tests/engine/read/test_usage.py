"""Reading metered usage: every record once, however the server pages, and what becomes of apps that can't be read."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.rate.gcra import Gcra
from orchestrator.engine.read.usage import PAGE_SIZE, AppUsageQuery, UsageReader
from orchestrator.errors import CloudError
from orchestrator.reply import Reply, UsagePage, UsageRecord
from tests.engine.fakes import VirtualClock

START = datetime(2026, 11, 23, 8, tzinfo=UTC)
Page = Reply[UsagePage]


def record(number: int, cvm: str = "aa") -> UsageRecord:
    return UsageRecord(
        cvm=cvm,
        usage_type="compute",
        event_type="hourly",
        cost=Decimal(number),
        minutes=None,
        at=START,
        begin=None,
        end=None,
        key=f"k-{cvm}-{number}",
    )


class Usage:
    """A server with so many records of each app that sends at most `most` at a time."""

    def __init__(self, most: int = PAGE_SIZE, *, counts_all: bool = False, apps: Mapping[str, int]) -> None:
        self.most, self.counts_all = most, counts_all
        self.records = {app: [record(number) for number in range(count)] for app, count in apps.items()}
        self.before: list[Page] = []
        self.instead: dict[str, Page] = {}
        self.asked: list[tuple[str, int]] = []

    async def usage_page(self, app_id: str, *, since: datetime, until: datetime, limit: int, offset: int) -> Page:
        assert since < until
        assert 1 <= limit <= 5000
        self.asked.append((app_id, offset))
        if self.before:
            return self.before.pop(0)
        if app_id in self.instead:
            return self.instead[app_id]
        records = self.records[app_id]
        page = tuple(records[offset : offset + min(self.most, limit)])
        return Reply(value=UsagePage(page, len(records) if self.counts_all else len(page)), http_status=200)


def question(app: str, *cvms: str) -> AppUsageQuery:
    return AppUsageQuery(app, START, START + timedelta(hours=1), frozenset(cvms or ("aa",)))


def reader(usage: Usage, rate: float = 1000) -> UsageReader:
    return UsageReader(usage, Gate(Gcra(rate, 5), 10, VirtualClock()), Random(1))


def failed(status: int) -> Page:
    return Reply(http_status=status, problem=f"HTTP {status}")


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 12), st.booleans())
def test_every_record_is_read_however_few_the_server_sends_at_a_time(count: int, most: int, counts_all: bool) -> None:
    usage = Usage(most, counts_all=counts_all, apps={"app": count})
    found = anyio.run(reader(usage).read_usage, [question("app")], backend="trio")
    assert [each.cost for each in found["app"].by_cvm.get("aa", ())] == list(range(count))


@pytest.mark.anyio
async def test_a_page_shorter_than_one_seen_before_is_the_last_and_costs_no_further_request() -> None:
    usage = Usage(apps={"one": 10, "two": 9})
    await reader(usage).read_usage([question("one")])
    assert usage.asked == [("one", 0), ("one", 10)]
    await (same := reader(usage)).read_usage([question("one")])
    usage.asked.clear()
    await same.read_usage([question("two")])
    assert usage.asked == [("two", 0)]


@pytest.mark.anyio
async def test_records_that_come_twice_since_others_were_added_meanwhile_are_taken_once() -> None:
    usage = Usage(4, apps={"app": 10})
    plain = usage.usage_page

    async def shifting(app_id: str, *, since: datetime, until: datetime, limit: int, offset: int) -> Page:
        reply = await plain(app_id, since=since, until=until, limit=limit, offset=offset)
        if offset == 0:
            usage.records["app"].insert(0, record(99))  # the newest first
        return reply

    usage.usage_page = shifting  # type: ignore[method-assign]
    found = await reader(usage).read_usage([question("app")])
    assert sorted(each.cost or 0 for each in found["app"].by_cvm["aa"]) == list(range(10))


@pytest.mark.anyio
async def test_a_server_that_knows_no_offset_is_not_asked_for_ever() -> None:
    usage = Usage(apps={"app": 3})
    everything = tuple(usage.records["app"])
    usage.instead["app"] = Reply(value=UsagePage(everything, 3), http_status=200)
    found = await reader(usage).read_usage([question("app")])
    assert len(found["app"].by_cvm["aa"]) == 3


@pytest.mark.anyio
async def test_usage_of_cvms_that_nobody_asked_about_is_forgotten() -> None:
    usage = Usage(apps={"app": 2})
    usage.records["app"] += [record(7, "bb"), record(8, "cc")]
    found = await reader(usage).read_usage([question("app", "bb")])
    assert list(found["app"].by_cvm) == ["bb"]


@pytest.mark.anyio
async def test_it_tells_how_far_it_has_come() -> None:
    told: list[int] = []
    await reader(Usage(apps={"one": 1, "two": 1})).read_usage([question("one"), question("two")], told.append)
    assert told == [1, 2]


@pytest.mark.anyio
async def test_requests_keep_to_the_rate() -> None:
    usage = Usage(apps={f"app{number}": 0 for number in range(40)})
    began = anyio.current_time()
    await reader(usage, rate=10).read_usage([question(app) for app in usage.records])
    assert 3 < anyio.current_time() - began < 5


@pytest.mark.anyio
@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_passing_fault_is_asked_again(status: int) -> None:
    usage = Usage(apps={"app": 1})
    usage.before = [failed(status), failed(status)]
    found = await reader(usage).read_usage([question("app")])
    assert len(found["app"].by_cvm["aa"]) == 1


@pytest.mark.anyio
async def test_an_app_that_cannot_be_read_is_told_beside_those_that_can() -> None:
    usage = Usage(apps=dict.fromkeys(["good", "bad", "gone", "lost"], 1))
    usage.instead = {"bad": failed(500), "gone": failed(404), "lost": Reply(http_status=404, is_json=False)}
    found = await reader(usage).read_usage([question(app) for app in ("good", "bad", "gone", "lost")])
    assert found["lost"].problem, "a gateway's page says nothing of an app"
    assert (found["good"].problem, found["good"].gone) == (None, False)
    assert "HTTP 500" in (found["bad"].problem or "")
    assert (found["gone"].problem, found["gone"].gone) == (None, True)


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [failed(401), Reply(sent=False, problem="no connection")], ids=["key", "network"])
async def test_a_refused_key_or_no_connection_ends_the_reading(answer: Page) -> None:
    usage = Usage(apps={f"app{number}": 1 for number in range(100)})
    usage.instead = {app: answer for app in usage.records if app != "app0"}
    with pytest.raises(CloudError, match=r"refuses the key|can't be reached"):
        await reader(usage).read_usage([question(app) for app in usage.records])
    assert len(usage.asked) < 50


@pytest.mark.anyio
async def test_no_app_that_can_be_read_is_an_error() -> None:
    usage = Usage(apps={"one": 1, "two": 1})
    usage.instead = {"one": failed(403), "two": failed(500)}
    with pytest.raises(CloudError, match="the metered usage can't be read"):
        await reader(usage).read_usage([question("one"), question("two")])


@pytest.mark.anyio
@pytest.mark.parametrize(("ahead", "expected"), [(3.5, 3.5), (None, 0.0)])
async def test_the_lead_of_the_api_s_clock_comes_with_the_usage(ahead: float | None, expected: float) -> None:
    usage = Usage(apps={"a": 0})
    usage.instead["a"] = Reply(value=UsagePage((), 0, ahead), http_status=200)
    assert (await reader(usage).read_usage([question("a")]))["a"].ahead == expected


@pytest.mark.anyio
@pytest.mark.parametrize(("key", "count"), [("k-1", 1), (None, 2)])
async def test_records_with_the_same_facts_at_two_times_are_two_records_unless_they_share_a_key(
    key: str | None, count: int
) -> None:
    usage, first = Usage(apps={"a": 0}), replace(record(1), key=key)
    usage.records["a"] = [first, replace(first, at=START + timedelta(minutes=1))]
    assert len((await reader(usage).read_usage([question("a")]))["a"].by_cvm["aa"]) == count


@pytest.mark.anyio
async def test_no_page_is_read_beyond_the_total_of_the_server() -> None:
    usage = Usage(most=10, counts_all=True, apps={"a": 20})
    await reader(usage).read_usage([question("a")])
    assert usage.asked == [("a", 0), ("a", 10)]


@pytest.mark.anyio
async def test_a_refused_key_is_the_error_even_if_other_apps_were_read_or_unreachable() -> None:
    usage = Usage(apps={"a": 1})
    usage.instead = {"b": Reply(sent=False, problem="no connection"), "c": failed(401)}
    with pytest.raises(CloudError, match="refuses the key"):
        await reader(usage).read_usage([question(app) for app in "abc"])
    del usage.instead["c"]
    with pytest.raises(CloudError, match="can't be reached"):
        await reader(usage).read_usage([question(app) for app in "ab"])
