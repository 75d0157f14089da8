"""What the answer to a stop means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.send.classify import RETRY_AFTER_CAP, Kind, backoff, decide, pause_for
from orchestrator.reply import Reply, StatusRead

ACCEPTED: Reply[StatusRead] = Reply(value=StatusRead("stopping"), http_status=200)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (ACCEPTED, Kind.ACCEPTED),
        (Reply(http_status=200, problem="not JSON"), Kind.UNKNOWN),
        (Reply(http_status=401), Kind.KEY_REFUSED),
        (Reply(http_status=403), Kind.REFUSED),
        *((Reply(http_status=404, error_code=f"ERR-03-00{n}"), Kind.GONE) for n in (1, 4, 5)),
        (Reply(http_status=404), Kind.UNKNOWN),
        (Reply(http_status=404, is_json=False), Kind.UNKNOWN),
        (Reply(http_status=404, error_code="ERR-03-002"), Kind.UNKNOWN),
        (Reply(http_status=409), Kind.DEFERRED),
        (Reply(http_status=409, error_code="ERR-03-007"), Kind.FAILED),
        (Reply(http_status=422), Kind.FAILED),
        (Reply(http_status=429), Kind.DEFERRED),
        (Reply(http_status=500), Kind.UNKNOWN),
        (Reply(http_status=502), Kind.UNKNOWN),
        (Reply(http_status=503), Kind.UNKNOWN),
        (Reply(http_status=503, retry_after=3), Kind.DEFERRED),
        (Reply(http_status=499, error_code="ERR-01-001"), Kind.FAILED),
        (Reply(http_status=425, error_code="ERR-01-001"), Kind.UNKNOWN),
        *((Reply(http_status=status), Kind.UNKNOWN) for status in (101, 300, 307, 399, 408, 421, 425, 499, 600, 999)),
        *((Reply(http_status=status), Kind.FAILED) for status in (400, 402, 405, 410, 413, 415, 451)),
        (Reply(problem="reset"), Kind.UNKNOWN),
        (Reply(problem="refused", sent=False), Kind.DEFERRED),
    ],
)
def test_each_answer_has_its_meaning(reply: Reply[StatusRead], kind: Kind) -> None:
    assert decide(reply, 1, 0.5).kind is kind


@pytest.mark.parametrize("status", [429, 503, 409])
def test_a_retry_after_holds_for_the_whole_run(status: int) -> None:
    decision = decide(Reply(http_status=status, retry_after=7), 1, 0.0)
    assert (decision.wait, decision.whole_run) == (7, True)


@given(st.integers(1, 100), st.floats(0, 1), st.floats(0, 1000))
def test_no_retry_after_shortens_the_backoff(attempt: int, jitter: float, retry_after: float) -> None:
    for status in (409, 429, 503):
        reply: Reply[StatusRead] = Reply(http_status=status, retry_after=retry_after)
        assert decide(reply, attempt, jitter).wait >= backoff(attempt, jitter)
        assert status == 409 or (pause_for(reply, attempt, jitter) or 0) >= backoff(attempt, jitter)


def test_a_cvm_that_is_busy_holds_up_nobody_else() -> None:
    assert not decide(Reply(http_status=409), 1, 0.0).whole_run


def test_a_retry_after_is_capped_and_never_shortened_by_jitter() -> None:
    assert decide(Reply(http_status=429, retry_after=10**9), 1, 0.0).wait == RETRY_AFTER_CAP
    assert decide(Reply(http_status=429, retry_after=10), 1, 0.9).wait > 10


@given(st.integers(1, 100), st.floats(0, 1))
def test_backoff_grows_with_the_attempts_and_stays_bounded(attempt: int, jitter: float) -> None:
    assert 0.7 < backoff(attempt, jitter) <= 30 * 1.25
    assert backoff(attempt, jitter) <= backoff(attempt + 1, jitter)


@given(
    st.none() | st.integers(100, 599),
    st.booleans(),
    st.none() | st.just("ERR-01-001"),
    st.none() | st.floats(0, 1e9),
)
def test_only_a_success_that_was_read_is_accepted_and_no_server_fault_is_final(
    status: int | None, sent: bool, code: str | None, retry_after: float | None
) -> None:
    kind = decide(Reply(http_status=status, sent=sent, error_code=code, retry_after=retry_after), 1, 0.5).kind
    assert kind is not Kind.ACCEPTED
    if status is None or status >= 500:
        assert kind in {Kind.UNKNOWN, Kind.DEFERRED}
