"""Which stops of a run may have triggered a charge, and when each of them was sent, taken and done."""

from datetime import timedelta
from typing import Any

import pytest

from orchestrator.action import Action
from orchestrator.audit.replay import RunState
from orchestrator.billing.stop import Stop
from orchestrator.runs.stops import list_chargeable_targets, stops_of
from tests.logs import BILLING, START, check_log, cvm, log

Event = tuple[str, dict[str, Any]]
FINISHED: Event = ("run.finished", {"exit_code": 0, "counts": {}})


def about(event: str, *, step: str = "pull", action: str = "stop", **fields: object) -> Event:
    return event, {"step": step, "action": action, "cvm": cvm(0), **fields}


def planned(*steps: tuple[str, str]) -> Event:
    targets = [{"step": step, "action": action, "cvm": cvm(0), "status": "running"} for step, action in steps]
    return "run.planned", {"targets": targets, "skipped": []}


def fold(*events: Event) -> RunState:
    state = RunState()
    check_log(log([("run.started", {}), *events, FINISHED]), state.apply_record)
    return state


def stops(*events: Event) -> list[Stop]:
    return stops_of(fold(*events)).get("cvm_0", [])


def second(number: int) -> Any:  # noqa: ANN401 - a moment
    return START + timedelta(seconds=number)


ACCEPTED = about("action.accepted", attempt=1, billing=BILLING)
INTENT = about("action.intent", attempt=1)
SETTLED = about("target.settled", outcome="settled", status="stopped", seconds=2)


def test_a_stop_is_from_its_request_until_the_cvm_is_seen_down() -> None:
    (stop,) = stops(planned(("pull", "stop")), INTENT, ACCEPTED, SETTLED)
    assert (stop.sent, stop.accepted, stop.down, stop.ended) == (second(2), second(3), second(4), second(4))
    assert str(stop.rate) == "0.1"


def test_a_request_that_had_no_effect_begins_nothing() -> None:
    deferred = about("action.deferred", attempt=1, reason="busy", retry_after_s=1)
    (stop,) = stops(planned(("pull", "stop")), INTENT, deferred, INTENT, ACCEPTED, SETTLED)
    assert stop.sent == second(4)


def test_a_request_whose_effect_was_in_doubt_counts_from_the_first_on() -> None:
    unknown = about("action.unknown", attempt=1, reason="reset")
    (stop,) = stops(planned(("pull", "stop")), INTENT, unknown, INTENT, ACCEPTED, SETTLED)
    assert stop.sent == second(2)


def test_a_shutdown_that_was_escalated_is_one_stop_from_the_shutdown_on() -> None:
    (stop,) = stops(
        planned(("pull", "shutdown")),
        about("action.intent", action="shutdown", attempt=1),
        about("action.accepted", action="shutdown", attempt=1, billing=BILLING),
        about("action.escalated", action="shutdown", to="stop", reason="took too long"),
        INTENT,
        ACCEPTED,
        SETTLED,
    )
    assert (stop.action, stop.sent, stop.accepted, stop.down) == (Action.STOP, second(2), second(6), second(7))


def test_one_that_came_back_was_down_when_it_was_first_seen_so() -> None:
    back = about("target.failed", outcome="resurrected", status="running", seconds=9)
    (stop,) = stops(planned(("pull", "stop")), INTENT, ACCEPTED, SETTLED, back)
    assert (stop.down, stop.ended) == (second(4), second(5))


def test_the_next_action_on_the_same_cvm_ends_the_stop_before_it() -> None:
    first, again = stops(
        planned(("pull", "stop"), ("start", "start"), ("again", "stop")),
        *(INTENT, ACCEPTED, SETTLED),
        about("action.intent", step="start", action="start", attempt=1),
        about("action.accepted", step="start", action="start", attempt=1, billing=BILLING),
        about("target.settled", step="start", action="start", outcome="settled", status="running", seconds=1),
        about("action.intent", step="again", attempt=1),
        about("action.accepted", step="again", attempt=1, billing=BILLING),
        about("target.settled", step="again", outcome="settled", status="stopped", seconds=1),
    )
    assert (first.step, first.later) == ("pull", second(5))
    assert (again.step, again.later) == ("again", None)


@pytest.mark.parametrize("end", ["refused", "failed"])
def test_what_was_not_taken_triggered_nothing(end: str) -> None:
    refused = about(f"action.{end}", attempt=1, reason="no", http_status=403)
    ended = about("target.failed", outcome=end, reason="no", seconds=1)
    assert stops(planned(("pull", "stop")), INTENT, refused, ended) == []


def test_one_whose_effect_nobody_knows_may_have_triggered_a_charge() -> None:
    unknown = about("action.unknown", attempt=1, reason="reset")
    ended = about("target.failed", outcome="unsettled", reason="no answer", seconds=1)
    (stop,) = stops(planned(("pull", "stop")), INTENT, unknown, ended)
    assert (stop.accepted, stop.down, stop.ended) == (None, None, second(4))


@pytest.mark.parametrize("action", ["start", "restart"])
def test_starts_and_restarts_are_left_out(action: str) -> None:
    state = fold(
        planned(("pull", action)),
        about("action.intent", action=action, attempt=1),
        about("action.accepted", action=action, attempt=1, billing=BILLING),
    )
    assert list_chargeable_targets(state) == []
