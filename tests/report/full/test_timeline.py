"""The timeline of a run: requests, acceptances and outcomes of the targets, and incidents."""

from orchestrator.report.full.timeline import RunTimeline
from tests.logs import about, accepted, asked, cvm, ended, finished, stopped, target
from tests.report.documents import lines, story

ONE, TWO = cvm(1), cvm(2)
KEY = ("stop", "cvm_1")


def test_a_timeline_has_the_seconds_from_the_beginning_of_the_run() -> None:
    timeline = story([target(ONE)], *stopped(ONE, 1)).targets[KEY]
    assert (timeline.intent, timeline.accepted, timeline.ended) == (1.0, 1.5, 3.5)


def test_a_timeline_begins_with_the_first_request_and_ends_with_the_last_outcome() -> None:
    events = [*stopped(ONE, 1), asked(ONE, 2, attempt=2), ended(ONE, 9, "resurrected")]
    timeline = story([target(ONE)], *events).targets[KEY]
    assert (timeline.intent, timeline.ended) == (1.0, 9.0)


def test_the_time_of_an_interruption_is_left_out() -> None:
    timeline = story(
        [target(ONE), target(TWO)],
        *stopped(ONE, 1),
        (10, "run.interrupted", {"reason": "sigint", "open": 1}),
        (3610, "run.resumed", {"open": 1}),
        *stopped(TWO, 3611),
    )
    assert timeline.pauses == [3600.0]
    assert timeline.targets["stop", "cvm_2"].intent == 11.0
    assert timeline.last == 13.5


def test_records_after_the_end_do_not_lengthen_the_run() -> None:
    timeline = story([target(ONE)], *stopped(ONE, 1), finished(4), (9999, "run.sealed", {"by": "ann"}))
    assert timeline.last == 4.0
    assert timeline.seal is not None


def test_stops_in_one_batch_are_one_request() -> None:
    timeline = story([target(ONE), target(TWO)], asked(ONE, 1, batch=1), asked(TWO, 1, batch=1), asked(TWO, 2, batch=2))
    assert [request.at for request in timeline.requests] == [1.0, 2.0]


def test_an_announced_request_not_sent_is_counted_apart() -> None:
    timeline = story(
        [target(ONE)], asked(ONE, 1), (2, "action.deferred", about(ONE, sent=False, reason="no", attempt=1))
    )
    assert [request.sent for request in timeline.requests] == [False]


def test_an_observed_acceptance_is_no_answer_to_a_request() -> None:
    unknown = (2, "action.unknown", about(ONE, reason="a reset", attempt=1))
    timeline = story([target(ONE)], asked(ONE, 1), unknown, accepted(ONE, 4, observed=True))
    assert [request.answer for request in timeline.requests] == ["unknown"]
    assert timeline.targets[KEY].observed


def test_a_request_without_an_answer_says_so() -> None:
    assert [request.answer for request in story([target(ONE)], asked(ONE, 1)).requests] == ["unanswered"]


def test_an_escalation_is_in_its_target_and_in_the_incidents() -> None:
    event = (5, "action.escalated", about(ONE, action="shutdown", to="stop", reason="too slow"))
    timeline = story([target(ONE, action="shutdown")], asked(ONE, 1, action="shutdown"), event)
    assert timeline.targets[KEY].escalated == "stop"
    assert [(each.event, each.at) for each in timeline.incidents] == [("action.escalated", 5.0)]


def test_an_unknown_event_is_an_incident_with_its_fields() -> None:
    (moment,) = story([target(ONE)], (3, "moon.rose", {"phase": "full"})).incidents
    assert (moment.event, moment.fields) == ("moon.rose", {"phase": "full"})


def test_a_log_that_ends_after_any_record_has_a_story() -> None:
    written = [record for record, _ in lines([target(ONE)], *stopped(ONE, 1), finished(4))]
    for count in range(len(written) + 1):
        assert len(RunTimeline.from_records(written[:count]).state.targets) == (1 if count > 1 else 0)
