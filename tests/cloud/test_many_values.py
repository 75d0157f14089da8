"""Answers with more values than an answer can have: refused before anything is made of them."""

import json
import tracemalloc

import pytest

from orchestrator.cloud.http import MOST_VALUES, has_too_many_values
from tests.cloud.fakes import OPERATIONS, ask

pytestmark = pytest.mark.anyio

BOMBS = {
    "objects": b'{"total":1,"items":[' + b"{}," * 5_000_000 + b"{}]}",
    "lists": b'{"items":[' + b"[]," * 5_000_000 + b"[]]}",
    "numbers": b'{"items":[' + b"1," * 7_000_000 + b"1]}",
    "depth": b"[" * 7_000_000,
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
def test_values_are_counted_without_being_made(body: bytes) -> None:
    tracemalloc.start()
    try:
        assert has_too_many_values(body)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(body)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_answer_with_too_many_values_is_a_problem_of_every_operation(operation: str) -> None:
    reply = await ask(operation, 200, b"[" * (MOST_VALUES + 1))
    assert reply.value is None
    assert f"more than {MOST_VALUES:,} values" in (reply.problem or "")


def test_marks_within_text_do_not_count() -> None:
    text = json.dumps({"compose": '{[,"\\' * MOST_VALUES}).encode()
    assert not has_too_many_values(text)


async def test_a_page_has_no_more_entries_than_were_asked_for_by_far() -> None:
    body = {"items": [{"name": "x"}] * 1001, "total": 1001, "pages": 1}
    reply = await ask("list_page", 200, json.dumps(body).encode())
    assert "a page of CVMs has 1001 entries; 100 were requested" in (reply.problem or "")
