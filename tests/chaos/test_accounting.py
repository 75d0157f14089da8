"""How the chaos runs compare what was announced with what the server received, whatever the machine's speed."""

from collections import Counter

import pytest

from orchestrator.audit.record import Record
from tests.chaos.harness import hold_to_what_was_announced


def record(event: str, cvm: str = "a", status: int | None = None, batch: int | None = None) -> Record:
    return {"event": f"action.{event}", "cvm": {"id": cvm}, "http_status": status, "batch": batch}


INTENT, ACCEPTED, SILENT = record("intent"), record("accepted", status=200), record("unknown")


@pytest.mark.parametrize(
    ("records", "received"),
    [
        ([INTENT, ACCEPTED], {"a": 1}),
        ([INTENT, SILENT], {"a": 1}),
        ([INTENT, SILENT], {}),
        ([INTENT, SILENT, INTENT, ACCEPTED], {"a": 1}),
        (
            [record("intent", name, batch=1) for name in "abc"] + [record("unknown", name, batch=1) for name in "abc"],
            {},
        ),
    ],
    ids=["arrived", "silent and arrived", "never arrived", "sent again", "a batch that never arrived"],
)
def test_a_request_without_an_answer_may_never_have_arrived(records: list[Record], received: dict[str, int]) -> None:
    hold_to_what_was_announced(records, Counter(received))


@pytest.mark.parametrize(
    ("records", "received"),
    [
        ([INTENT, ACCEPTED], {}),
        ([INTENT, record("unknown", status=502)], {}),
        ([INTENT, SILENT, INTENT, ACCEPTED], {}),
        ([INTENT, ACCEPTED], {"a": 2}),
        ([INTENT, ACCEPTED], {"a": 1, "b": 1}),
        ([INTENT, SILENT, record("intent", "b"), record("accepted", "b", 200)], {"a": 2}),
        ([record("intent", name, batch=1) for name in "ab"] + [record("accepted", "a", 200, 1)], {None: 2}),
    ],
    ids=["answered", "an error", "one of two", "twice", "never announced", "of another CVM", "a batch twice"],
)
def test_any_other_difference_is_found(records: list[Record], received: dict[str | None, int]) -> None:
    with pytest.raises(AssertionError):
        hold_to_what_was_announced(records, Counter(received))
