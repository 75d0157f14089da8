"""State of a target after each event of the log."""

import json
from typing import Any

import pytest

from orchestrator.action import Action
from orchestrator.audit.target import Phase, TargetState
from orchestrator.outcome import Outcome
from tests.logs import STORY, about, lines, replay

Events = list[tuple[str, dict[str, Any]]]
INTENT = ("action.intent", {"attempt": 2, "batch": 7})


def state_after(*events: tuple[str, dict[str, Any]]) -> TargetState:
    story: Events = [*STORY[:2], *((event, about(0, **({"billing": {}} | fields))) for event, fields in events)]
    return replay(json.loads(line) for line in lines(story)).targets["stop", "cvm_0"]


def test_an_intent_gives_the_numbers_of_the_request_and_of_its_batch() -> None:
    target = state_after(INTENT)
    assert (target.phase, target.attempts, target.batch) == (Phase.SENDING, 2, 7)


@pytest.mark.parametrize(
    ("event", "fields", "phase"),
    [
        ("action.accepted", {}, Phase.SETTLING),
        ("action.deferred", {"verify": False}, Phase.WAITING),
        ("action.deferred", {"verify": True}, Phase.UNKNOWN),
        ("action.unknown", {}, Phase.UNKNOWN),
        ("action.refused", {}, Phase.WAITING),
        ("action.failed", {}, Phase.WAITING),
    ],
)
def test_a_reply_gives_the_phase_the_status_code_and_the_id_of_the_request(
    event: str, fields: dict[str, Any], phase: Phase
) -> None:
    target = state_after(INTENT, (event, {"attempt": 2, "http_status": 418, "request_id": "r-9", **fields}))
    assert (target.phase, target.http_status, target.request_id) == (phase, 418, "r-9")


def test_a_reply_without_an_answer_keeps_the_values_of_the_last_answer() -> None:
    answered = ("action.deferred", {"http_status": 429, "request_id": "r-1", "reason": "too many"})
    target = state_after(INTENT, answered, INTENT, ("action.unknown", {}))
    assert (target.http_status, target.request_id, target.reason) == (429, "r-1", "too many")
    target = state_after(INTENT, answered, INTENT, ("action.unknown", {"reason": "reset", "http_status": 502}))
    assert (target.http_status, target.reason) == (502, "reset")


def test_requests_on_record_as_not_sent_are_counted() -> None:
    target = state_after(INTENT, ("action.deferred", {"sent": False}), INTENT, ("action.deferred", {"reason": "busy"}))
    assert target.unsent == 1


def test_an_acceptance_ends_the_reason_of_the_reply_before() -> None:
    target = state_after(INTENT, ("action.deferred", {"reason": "busy"}), INTENT, ("action.accepted", {}))
    assert target.reason is None


def test_the_last_status_seen_is_kept_until_the_next() -> None:
    accepted, seen = ("action.accepted", {"status": "stopping"}), ("target.status", {"status": "shutting_down"})
    assert state_after(INTENT, accepted).status == "stopping"
    assert state_after(INTENT, accepted, seen).status == "shutting_down"
    assert state_after(INTENT, accepted, seen, ("action.accepted", {})).status == "shutting_down"
    assert state_after(INTENT, accepted, ("target.settled", {"outcome": "settled"})).status == "stopping"
    ended = ("target.settled", {"outcome": "settled", "status": "exited"})
    assert state_after(INTENT, accepted, ended).status == "exited"


def test_an_escalation_waits_for_the_stronger_action_and_keeps_the_status_before() -> None:
    target = state_after(
        INTENT,
        ("action.accepted", {"action": "shutdown", "status": "shutting_down"}),
        ("action.escalated", {"to": "stop", "reason": "too slow"}),
    )
    assert (target.phase, target.batch, target.reason) == (Phase.WAITING, None, "too slow")
    assert target.escalated_from == "shutting_down"
    assert target.escalated_at is not None


@pytest.mark.parametrize(
    ("outcome", "fields", "code"),
    [
        ("not_sent", {"code": "protected"}, "protected"),
        ("skipped", {"code": "protected"}, "protected"),
        ("failed", {"code": "protected"}, None),
        ("not_sent", {}, None),
        ("not_sent", {"reason": "protected by rule 1"}, "protected"),  # a log of an earlier version
    ],
)
def test_only_an_unsent_target_has_the_code_of_a_reason(outcome: str, fields: dict[str, Any], code: str | None) -> None:
    target = state_after(("target.failed", {"outcome": outcome, "reason": "x"} | fields))
    assert (target.outcome, target.code, target.phase) == (Outcome(outcome), code, Phase.WAITING)


def test_a_stop_has_no_stronger_action() -> None:
    assert state_after(INTENT).current_action is Action.STOP
