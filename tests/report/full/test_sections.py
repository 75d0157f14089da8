"""The sections of a report of unusual runs."""

from typing import Any

import pytest

from orchestrator.report.full.incidents import list_incidents
from orchestrator.report.full.phrases import deadline_words, list_skip_reasons, next_command, trigger_words
from orchestrator.report.full.timeline_section import time_spans
from tests.logs import TimedEvent, about, accepted, asked, cvm, ended, finished, stopped, target
from tests.report.documents import document

ONE, TWO = cvm(1), cvm(2)


def gave_way(of: dict[str, Any], at: float) -> TimedEvent:
    return at, "action.escalated", about(of, action="shutdown", to="stop", reason="not down within 2s")


def test_the_time_spans_of_a_target_have_no_gap() -> None:
    down = {"action": "shutdown"}
    events = [asked(ONE, 1, **down), accepted(ONE, 2, **down), gave_way(ONE, 5), asked(ONE, 5), accepted(ONE, 6)]
    report = document([target(ONE, action="shutdown")], *events, ended(ONE, 8), finished(9))
    (row,) = report["targets"]
    assert time_spans(row, 9) == [("asked", 1.0, 2.0), ("settling", 2.0, 5.0), ("escalated", 5.0, 8.0)]


def test_a_time_span_without_an_end_lasts_until_the_last_record() -> None:
    (row,) = document([target(ONE)], asked(ONE, 1), accepted(ONE, 2))["targets"]
    assert time_spans(row, 10) == [("asked", 1.0, 2.0), ("settling", 2.0, 10)]


def test_a_target_without_a_request_has_no_time_spans() -> None:
    assert time_spans(document([target(ONE)])["targets"][0], 10) == []


def test_escalations_in_a_row_are_one_line() -> None:
    report = document([target(ONE), target(TWO)], asked(ONE, 1), asked(TWO, 1), gave_way(ONE, 3), gave_way(TWO, 4))
    ((_, at, words),) = list_incidents(report)
    assert at == 3.0
    assert words == "2 CVMs were not down in time, and were force-stopped: web-1, web-2"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"answer": "approved", "by": "ann@desk", "via": "approve"}, "approved by ann@desk via approve"),
        ({"answer": "refused", "by": "a@b", "via": "terminal", "comment": "no"}, "refused by a@b via terminal: no"),
        ({"answer": "timed_out", "by": None, "via": None}, "timed_out: no answer in time"),
    ],
)
def test_an_answer_says_who_gave_it(fields: dict[str, object], words: str) -> None:
    events = [(1, "approval.requested", {"step": "look", "question": "Go on?", "expires_at": None})]
    report = document([target(ONE)], *events, (2, "approval.answered", {"step": "look", **fields}))
    assert [line for _, _, line in list_incidents(report)] == ["approval requested: Go on? (until -)", words]


def test_reasons_with_different_details_are_merged() -> None:
    skipped = [{"cvm": cvm(n), "reason": f"kept running: 1 of app {n}", "status": "running"} for n in range(3)]
    report = document([target(ONE)], skipped=[*skipped, {"cvm": TWO, "reason": "already stopped", "status": "stopped"}])
    assert [(reason, count) for reason, count, _ in list_skip_reasons(report)] == [
        ("kept running", 3),
        ("already stopped", 1),
    ]


def test_the_deadline_says_whether_it_was_met() -> None:
    kept = {"ending": "completed", "exit_code": 0, "counts": {}, "deadline": {"seconds": 60, "met": False, "late": 2}}
    promised = {"seconds": 60.0, "estimate_seconds": 5, "ok": True, "late": 0}
    report = document([target(ONE)], *stopped(ONE, 1), (9, "run.finished", kept), deadline=promised)
    assert deadline_words(report) == "1m, missed: 2 CVMs without a request in time"
    assert deadline_words(document([target(ONE)], deadline=promised)) == "1m"
    assert deadline_words(document([target(ONE)])) is None


def test_a_run_that_can_go_on_says_how() -> None:
    assert next_command(document([target(ONE)])) == "orchestrator resume 20261123T080000Z-4f2a"
    assert next_command(document([target(ONE)], finished(3))) is None


def test_what_started_a_run_is_said() -> None:
    report = document([target(ONE)])
    assert trigger_words(report) == "manual"
    report["run"]["trigger"] = {"schedule": "nightly", "planned": "2026-11-23T02:30:00.000000Z"}
    assert trigger_words(report) == "schedule nightly, planned for 2026-11-23 02:30:00 UTC"
