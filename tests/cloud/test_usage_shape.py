"""Metered usage as it comes over the wire: digits, moments, and what the vendor's document leaves open."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cloud.wire import ShapeError
from orchestrator.cloud.wire_usage import read_usage_page, read_usage_record
from orchestrator.times import utc_now
from tests.cloud.fakes import ask

RECORD = {
    "instance_id": "0A1B2C3D-0000-4000-8000-00000000000F",
    "project_id": 1,
    "team_id": 1,
    "timestamp": "2026-11-23T08:20:03.123456789Z",
    "event_type": "stop",
    "cost": Decimal("0.019333"),
    "details": None,
    "usage_type": "Compute",
    "billing_start": "2026-11-23 08:00:00",
    "billing_end": "2026-11-23T09:20:03+01:00",
    "duration_minutes": 20,
    "billing_key": "k-1",
    "billing_hour": "2026-11-23T08:00:00Z",
    "billing_day": "2026-11-23",
}


def test_a_record_is_read_as_the_document_has_it() -> None:
    record = read_usage_record(RECORD)
    assert (record.cvm, record.usage_type, record.event_type) == ("0a1b2c3d00004000800000000000000f", "compute", "stop")
    assert (record.cost, record.minutes, record.key) == (Decimal("0.019333"), Decimal(20), "k-1")
    assert record.begin == datetime(2026, 11, 23, 8, tzinfo=UTC)
    assert record.end == datetime(2026, 11, 23, 8, 20, 3, tzinfo=UTC)
    assert record.at == datetime(2026, 11, 23, 8, 20, 3, 123456, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-11-23T08:20:03z", "2026-11-23 08:20:03 UTC", "20261123T082003Z"])
def test_a_moment_may_be_written_in_other_ways(text: str) -> None:
    assert read_usage_record({**RECORD, "timestamp": text}).at == datetime(2026, 11, 23, 8, 20, 3, tzinfo=UTC)


def test_a_day_alone_is_no_moment() -> None:
    record = read_usage_record({**RECORD, "billing_start": "2026-11-23", "billing_end": "2026-11-23"})
    assert (record.begin, record.end) == (None, None)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(list(RECORD)), st.none() | st.text() | st.integers() | st.booleans()))
def test_a_field_that_cannot_be_read_is_unknown_and_hides_no_other(fields: dict[str, Any]) -> None:
    record = read_usage_record({**RECORD, **fields})
    if "cost" not in fields:
        assert record.cost == RECORD["cost"]


@pytest.mark.parametrize("body", [None, [], {}, {"usage": {}}, {"usage": [1]}])
def test_what_is_no_page_is_refused(body: object) -> None:
    with pytest.raises(ShapeError):
        read_usage_page(body, None)


@pytest.mark.anyio
async def test_a_cost_keeps_every_digit_that_the_answer_has() -> None:
    costs = ["0.1", "0.30000000000000004", "1.2e-05", "7", '"0.019333333333333333333"']
    records = ",".join(f'{{"cost": {cost}}}' for cost in costs)
    reply = await ask("usage_page", 200, f'{{"usage": [{records}], "total": 5, "total_cost": 1}}'.encode())
    assert reply.value is not None
    found = [record.cost for record in reply.value.records]
    assert found == [Decimal(cost.strip('"')) for cost in costs]


@pytest.mark.anyio
async def test_a_page_tells_how_far_the_server_s_clock_is_ahead() -> None:
    date = (utc_now() + timedelta(minutes=3)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    reply = await ask("usage_page", 200, b'{"usage": [], "total": 0, "total_cost": 0}', {"Date": date})
    assert reply.value is not None
    assert abs(reply.value.ahead - 180) < 2
    silent = await ask("usage_page", 200, b'{"usage": [], "total": 0, "total_cost": 0}')
    assert silent.value is not None
    assert silent.value.ahead is None
