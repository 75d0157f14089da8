"""What a person hears of a run while it goes on."""

from structlog.testing import capture_logs

from orchestrator.cli.logs import log_record

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
