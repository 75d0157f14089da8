"""What the answer to a stop means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.send.classify import (
    RETRY_AFTER_CAP,
    Decision,
    ReplyClass,
    backoff_seconds,
    classify_batch_reply,
    classify_reply,
    pause_seconds,
)
from orchestrator.reply import BatchStopped, Reply, StatusRead

ACCEPTED: Reply[StatusRead] = Reply(value=StatusRead("stopping"), http_status=200)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (ACCEPTED, ReplyClass.ACCEPTED),
        (Reply(http_status=200, problem="not JSON"), ReplyClass.UNKNOWN),
        (Reply(http_status=401), ReplyClass.KEY_REFUSED),
        (Reply(http_status=403), ReplyClass.REFUSED),
        *((Reply(http_status=404, error_code=f"ERR-03-00{n}"), ReplyClass.GONE) for n in (1, 4, 5)),
        (Reply(http_status=404), ReplyClass.UNKNOWN),
        (Reply(http_status=404, is_json=False), ReplyClass.UNKNOWN),
        (Reply(http_status=404, error_code="ERR-03-002"), ReplyClass.UNKNOWN),
        (Reply(http_status=409), ReplyClass.DEFERRED),
        (Reply(http_status=409, error_code="ERR-03-007"), ReplyClass.FAILED),
        (Reply(http_status=422), ReplyClass.FAILED),
        (Reply(http_status=429), ReplyClass.DEFERRED),
        (Reply(http_status=500), ReplyClass.UNKNOWN),
        (Reply(http_status=502), ReplyClass.UNKNOWN),
        (Reply(http_status=503), ReplyClass.UNKNOWN),
        (Reply(http_status=503, retry_after=3), ReplyClass.DEFERRED),
        (Reply(http_status=499, error_code="ERR-01-001"), ReplyClass.FAILED),
        (Reply(http_status=425, error_code="ERR-01-001"), ReplyClass.UNKNOWN),
        *(
            (Reply(http_status=status), ReplyClass.UNKNOWN)
            for status in (101, 300, 307, 399, 408, 421, 425, 499, 600, 999)
        ),
        *((Reply(http_status=status), ReplyClass.FAILED) for status in (400, 402, 405, 410, 413, 415, 451)),
        (Reply(problem="reset"), ReplyClass.UNKNOWN),
        (Reply(problem="refused", sent=False), ReplyClass.DEFERRED),
        (Reply(problem="refused", sent=False, permitted=False), ReplyClass.NOT_PERMITTED),
    ],
)
def test_each_answer_has_its_meaning(reply: Reply[StatusRead], kind: ReplyClass) -> None:
    assert classify_reply(reply, 1, 0.5).reply_class is kind


@pytest.mark.parametrize("status", [429, 503, 409])
def test_a_retry_after_holds_for_the_whole_run(status: int) -> None:
    decision = classify_reply(Reply(http_status=status, retry_after=7), 1, 0.0)
    assert (decision.wait, decision.whole_run) == (7, True)


@given(st.integers(1, 100), st.floats(0, 1), st.floats(0, 1000))
def test_no_retry_after_shortens_the_backoff(attempt: int, jitter: float, retry_after: float) -> None:
    for status in (409, 429, 503):
        reply: Reply[StatusRead] = Reply(http_status=status, retry_after=retry_after)
        assert classify_reply(reply, attempt, jitter).wait >= backoff_seconds(attempt, jitter)
        assert status == 409 or (pause_seconds(reply, attempt, jitter) or 0) >= backoff_seconds(attempt, jitter)


def test_a_cvm_that_is_busy_holds_up_nobody_else() -> None:
    assert not classify_reply(Reply(http_status=409), 1, 0.0).whole_run


def test_a_retry_after_is_capped_and_never_shortened_by_jitter() -> None:
    assert classify_reply(Reply(http_status=429, retry_after=10**9), 1, 0.0).wait == RETRY_AFTER_CAP
    assert classify_reply(Reply(http_status=429, retry_after=10), 1, 0.9).wait > 10


@given(st.integers(1, 100), st.floats(0, 1))
def test_backoff_grows_with_the_attempts_and_stays_bounded(attempt: int, jitter: float) -> None:
    assert 0.7 < backoff_seconds(attempt, jitter) <= 30 * 1.25
    assert backoff_seconds(attempt, jitter) <= backoff_seconds(attempt + 1, jitter)


@given(
    st.none() | st.integers(100, 599),
    st.booleans(),
    st.none() | st.just("ERR-01-001"),
    st.none() | st.floats(0, 1e9),
)
def test_only_a_success_that_was_read_is_accepted_and_no_server_fault_is_final(
    status: int | None, sent: bool, code: str | None, retry_after: float | None
) -> None:
    kind = classify_reply(
        Reply(http_status=status, sent=sent, error_code=code, retry_after=retry_after), 1, 0.5
    ).reply_class
    assert kind is not ReplyClass.ACCEPTED
    if status is None or status >= 500:
        assert kind in {ReplyClass.UNKNOWN, ReplyClass.DEFERRED}


TWO = ["cvm_1", "cvm_2"]


@pytest.mark.parametrize(
    ("reply", "decision"),
    [
        (Reply(http_status=401, problem="no"), Decision(ReplyClass.KEY_REFUSED, "no")),
        (Reply(http_status=500, problem="no"), Decision(ReplyClass.UNKNOWN, "no")),
        (Reply(http_status=429, problem="no"), Decision(ReplyClass.DEFERRED, "no", 2.0, whole_run=True)),
        (Reply(http_status=409, problem="no"), Decision(ReplyClass.DEFERRED, "no", 2.0, verify=True)),
        (
            Reply(http_status=403, problem="no"),
            Decision(ReplyClass.DEFERRED, "no", verify=True, needs_own_request=True),
        ),
        (
            Reply(http_status=404, problem="no"),
            Decision(ReplyClass.DEFERRED, "no", verify=True, needs_own_request=True),
        ),
        (Reply(http_status=422, problem="no"), Decision(ReplyClass.DEFERRED, "no", needs_own_request=True)),
        (Reply(http_status=501, problem="no"), Decision(ReplyClass.DEFERRED, "no", needs_own_request=True)),
    ],
)
def test_a_batch_without_a_result_has_one_decision_for_every_cvm(
    reply: Reply[BatchStopped], decision: Decision
) -> None:
    assert classify_batch_reply(reply, TWO, 2, 0.5) == dict.fromkeys(TWO, decision)


@pytest.mark.parametrize(
    ("said", "attempt", "decision"),
    [
        (BatchStopped(2, 0, {}), 1, Decision(ReplyClass.ACCEPTED)),
        (
            BatchStopped(0, 2, {}),
            1,
            Decision(ReplyClass.DEFERRED, "the batch took 0 and left 2 out", needs_own_request=True),
        ),
        (
            BatchStopped(0, 2, {}),
            2,
            Decision(ReplyClass.DEFERRED, "the batch took 0 and left 2 out", verify=True, needs_own_request=True),
        ),
        (
            BatchStopped(1, 1, {}),
            1,
            Decision(
                ReplyClass.UNKNOWN, "the batch took 1 and left 1 out, without saying which", needs_own_request=True
            ),
        ),
        (
            BatchStopped(1, 0, {}),
            1,
            Decision(
                ReplyClass.UNKNOWN, "the batch took 1 and left 0 out, without saying which", needs_own_request=True
            ),
        ),
    ],
)
def test_the_numbers_of_a_batch_decide_about_its_cvms(said: BatchStopped, attempt: int, decision: Decision) -> None:
    assert classify_batch_reply(Reply(value=said, http_status=200), TWO, attempt, 0.5) == dict.fromkeys(TWO, decision)


def test_an_error_of_a_cvm_in_a_batch_concerns_this_cvm_only() -> None:
    reply = Reply(value=BatchStopped(1, 0, {"cvm_2": "not found"}), http_status=200)
    assert classify_batch_reply(reply, TWO, 1, 0.5) == {
        "cvm_1": Decision(ReplyClass.ACCEPTED),
        "cvm_2": Decision(ReplyClass.DEFERRED, "not found", verify=True, needs_own_request=True),
    }


def test_an_error_of_a_cvm_outside_the_batch_makes_the_numbers_doubtful() -> None:
    reply = Reply(value=BatchStopped(2, 0, {"cvm_3": "not found"}), http_status=200)
    assert {each.reply_class for each in classify_batch_reply(reply, TWO, 1, 0.5).values()} == {ReplyClass.UNKNOWN}


def test_backoff_doubles_up_to_its_cap() -> None:
    assert [backoff_seconds(attempt, 0.5) for attempt in (1, 2, 3, 5, 6, 50)] == [1, 2, 4, 16, 30, 30]
    assert (backoff_seconds(1, 0), backoff_seconds(1, 1)) == (0.75, 1.25)


@pytest.mark.parametrize(
    ("reply", "decision"),
    [
        (Reply(problem="reset"), Decision(ReplyClass.UNKNOWN, "reset")),
        (Reply(http_status=500), Decision(ReplyClass.UNKNOWN)),
        (Reply(problem="no route", sent=False), Decision(ReplyClass.DEFERRED, "no route", 2.0)),
        (Reply(http_status=409, problem="busy"), Decision(ReplyClass.DEFERRED, "busy", 2.0)),
        (
            Reply(http_status=409, problem="busy", retry_after=10),
            Decision(ReplyClass.DEFERRED, "busy", 10.5, whole_run=True),
        ),
        (Reply(http_status=429), Decision(ReplyClass.DEFERRED, "", 2.0, whole_run=True)),
        (Reply(http_status=503, retry_after=10), Decision(ReplyClass.DEFERRED, "", 10.5, whole_run=True, verify=True)),
    ],
)
def test_a_reply_decides_the_wait_its_scope_and_the_need_for_a_status(
    reply: Reply[StatusRead], decision: Decision
) -> None:
    assert classify_reply(reply, 2, 0.5) == decision


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (Reply(http_status=429), 0.75),
        (Reply(http_status=503, retry_after=10), 10),
        (Reply(http_status=503), None),
        (Reply(http_status=409, retry_after=10), None),
        (Reply(problem="reset"), None),
        (ACCEPTED, None),
    ],
)
def test_a_read_pauses_the_run_only_if_the_reply_asks_for_a_wait(
    reply: Reply[StatusRead], seconds: float | None
) -> None:
    assert pause_seconds(reply, 1, 0.0) == seconds
