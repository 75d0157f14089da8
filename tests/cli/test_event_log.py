"""The log of a run on stderr."""

from typing import Literal

import pytest
from structlog.testing import capture_logs

from orchestrator.cli.event_log import configure_log, log_record, run_log
from orchestrator.settings.model import LogSection
from tests.report.runs import about, cvm, plan, records, run

CVM = {"id": "cvm_1", "vm_uuid": None, "name": "web-1", "app_id": None, "teepod_id": 1, "teepod": "prod-1"}


def test_it_is_said_aloud_when_the_power_of_a_cvm_is_pulled_that_was_to_be_shut_down() -> None:
    record = {"event": "action.escalated", "step": "ask", "action": "shutdown", "cvm": CVM, "to": "stop"}
    with capture_logs() as lines:
        log_record({**record, "reason": "not down within 2m of the shutdown"})
    assert lines == [
        {
            "event": "cvm.escalated",
            "log_level": "warning",
            "cvm": "web-1",
            "id": "cvm_1",
            "teepod": "prod-1",
            "to": "stop",
            "reason": "not down within 2m of the shutdown",
        }
    ]


def test_a_step_that_chose_its_cvms_just_now_says_how_many() -> None:
    with capture_logs() as lines:
        log_record({"event": "step.planned", "step": "again", "action": "stop", "targets": [{}, {}]})
    assert lines == [
        {"event": "step.planned", "log_level": "info", "step": "again", "action": "stop", "targets": 2},
    ]


MADE = plan([cvm(n, f"web-{n}", teepod=f"prod-{n % 2}", pod=n % 2) for n in range(4)], max_percent=100)
"""Four CVMs on two teepods."""


def logged(settings: LogSection, *outcomes: str) -> list[dict[str, object]]:
    """The log lines of a run with these outcomes, in order."""
    events = [
        ("target.settled" if outcome == "settled" else "target.failed", about(n, MADE, outcome=outcome))
        for n, outcome in enumerate(outcomes)
    ]
    state = run(made=MADE)
    log = run_log(settings, state)
    with capture_logs() as lines:
        for record in records(MADE, *events)[2:]:
            state.apply_record(record)
            log(record)
    return [{key: value for key, value in line.items() if key in SAID} for line in lines]


SAID = {"event", "cvm", "teepod", "settled", "failed", "not_sent"}


def test_on_a_terminal_failures_have_a_line_each_and_what_ended_as_wanted_one_for_its_teepod() -> None:
    assert logged(LogSection(cvms="by_teepod"), "settled", "settled", "failed", "not_sent") == [
        {"event": "cvm.failed", "cvm": "web-2", "teepod": "prod-0"},
        {"event": "teepod.done", "teepod": "prod-0", "settled": 1, "failed": 1},
        {"event": "teepod.done", "teepod": "prod-1", "settled": 1, "not_sent": 1},
    ]


@pytest.mark.parametrize("cvms", ["auto", "each"])
def test_elsewhere_each_cvm_has_a_line_of_its_own(cvms: Literal["auto", "each"]) -> None:
    lines = logged(LogSection(cvms=cvms), "settled", "settled", "failed", "not_sent")
    assert [line["event"] for line in lines] == ["cvm.settled", "cvm.settled", "cvm.failed", "cvm.not_sent"]


def test_a_teepod_whose_cvms_are_not_all_done_has_no_line_yet() -> None:
    assert logged(LogSection(cvms="by_teepod"), "settled", "settled") == []


def test_a_teepod_to_which_nothing_was_sent_has_no_line() -> None:
    lines = logged(LogSection(cvms="by_teepod"), "not_sent", "settled", "not_sent", "settled")
    assert lines == [{"event": "teepod.done", "teepod": "prod-1", "settled": 2}]


def test_a_cvm_that_comes_back_after_its_teepod_was_done_has_a_line_of_its_own_alone() -> None:
    state = run(made=MADE)
    log = run_log(LogSection(cvms="by_teepod"), state)
    ends = [("target.settled", about(n, MADE, outcome="settled")) for n in range(4)]
    with capture_logs() as lines:
        for record in records(MADE, *ends, ("target.failed", about(0, MADE, outcome="resurrected")))[2:]:
            state.apply_record(record)
            log(record)
    assert [line["event"] for line in lines] == ["teepod.done", "teepod.done", "cvm.resurrected"]


def test_a_cvm_that_comes_back_before_its_teepod_is_done_counts_once_with_its_last_outcome() -> None:
    state = run(made=MADE)
    log = run_log(LogSection(cvms="by_teepod"), state)
    ends = [
        ("target.settled", about(0, MADE, outcome="settled")),
        ("target.failed", about(0, MADE, outcome="resurrected")),
        ("target.settled", about(2, MADE, outcome="settled")),
    ]
    with capture_logs() as lines:
        for record in records(MADE, *ends)[2:]:
            state.apply_record(record)
            log(record)
    assert [line["event"] for line in lines] == ["cvm.resurrected", "teepod.done"]
    assert lines[1] == {
        "event": "teepod.done",
        "log_level": "info",
        "teepod": "prod-0",
        "resurrected": 1,
        "settled": 1,
    }


def test_a_failure_without_a_request_id_has_no_such_fact() -> None:
    with capture_logs() as lines:
        log_record({"event": "target.failed", "outcome": "failed", "cvm": CVM, "reason": "refused", "request_id": None})
    assert "request_id" not in lines[0]


def test_an_abandonment_is_not_shown_as_a_resume() -> None:
    with capture_logs() as lines:
        log_record({"event": "run.resumed", "run_id": "20261123T080000Z-4f2a", "to_abandon": True})
    assert lines == []


def test_a_fact_without_a_value_is_not_shown_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_log(LogSection(format="console"))
    log_record({"event": "target.failed", "outcome": "unsettled", "cvm": CVM, "reason": "late", "seconds": 3.0})
    assert "cvm.unsettled" in (shown := capsys.readouterr().err)
    assert "None" not in shown
