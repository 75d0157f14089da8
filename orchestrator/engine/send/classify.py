"""Classify the reply to an action, and decide about retries. Pure.

| answer | meaning |
|---|---|
| 2xx that can be read | accepted |
| 401 | the key is refused: ends the run |
| 403 | refused: a GPU rental manages the CVM |
| 404 with the API's own code | gone |
| 409 with an error code | failed: final |
| 409 without an error code; 429 | deferred: had no effect, sent again later |
| 503 with Retry-After | deferred, and sent again only after the status shows that the request had no effect |
| no connection could be made | deferred: the request never left |
| the permit refused | not permitted: nothing was sent, and the target waits for another turn |
| 400, 402, 405, 406, 410 to 417, 422, 428, 431, 451; any other 4xx but 404 with an error code | failed |
| anything else: other 5xx, any other 404, a reset, a time-out, an unreadable success | unknown: the status decides |

A reply to a batch concerns all its CVMs. If the batch was not carried out, the same table applies, with one exception:
instead of a final outcome, every CVM is sent again in a request of its own. If the batch left CVMs out, the status
shows which CVMs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator.reply import BatchStopped, Reply

RETRY_AFTER_CAP = 300.0
"""Seconds; a longer Retry-After is shortened to this."""
BACKOFF_CAP = 30.0
"""Seconds; the longest backoff if the API names no wait."""
PATIENCE_ATTEMPTS = 4
"""Fewest attempts before a deferred target is given up."""

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _TOO_MANY = 401, 403, 404, 409, 429
_NOT_IMPLEMENTED, _UNAVAILABLE = 501, 503
_CLIENT_ERROR = range(400, 500)
_NO_EFFECT = frozenset({400, 402, 405, 406, *range(410, 418), 422, 428, 431, 451})
"""Statuses of a request that was certainly refused. After any other error, the CVM's status decides."""
_MAY_HAVE_ACTED = frozenset({408, 425})
"""4xx statuses with a passing cause, not a fault of the request."""


class ReplyClass(StrEnum):
    """Classes of replies to an action."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    GONE = "gone"
    DEFERRED = "deferred"
    NOT_PERMITTED = "not_permitted"
    UNKNOWN = "unknown"
    FAILED = "failed"
    KEY_REFUSED = "key_refused"


@dataclass(frozen=True, slots=True)
class Decision:
    """Decision about a target after a reply.

    Attributes:
        reply_class: the class of the reply.
        reason: the reason in words; empty for an accepted request.
        wait: seconds until a deferred request may be sent again.
        whole_run: whether all requests of the run have to wait.
        verify: whether the status has to show first that a deferred request had no effect.
        needs_own_request: whether the target is sent in a request of its own from now on.
    """

    reply_class: ReplyClass
    reason: str = ""
    wait: float = 0.0
    whole_run: bool = False
    verify: bool = False
    needs_own_request: bool = False


def classify_reply(reply: Reply[object], attempt: int, jitter: float) -> Decision:
    """Classify the reply to a request for a single CVM.

    Args:
        reply: the reply.
        attempt: the number of the request for this CVM, from 1.
        jitter: a random number from 0 to 1, to spread retries in time.
    """
    status, reason = reply.http_status, reply.problem or ""
    if reply.value is not None:
        return Decision(ReplyClass.ACCEPTED)
    if status is None:
        if reply.sent:
            return Decision(ReplyClass.UNKNOWN, reason)
        if not reply.permitted:
            return Decision(ReplyClass.NOT_PERMITTED, reason, backoff_seconds(attempt, jitter))
        return Decision(ReplyClass.DEFERRED, reason, backoff_seconds(attempt, jitter))
    final = {_UNAUTHORIZED: ReplyClass.KEY_REFUSED, _FORBIDDEN: ReplyClass.REFUSED}.get(status)
    if reply.says_not_found:
        final = ReplyClass.GONE
    if final is not None:
        return Decision(final, reason)
    throttled = _is_throttled(reply)
    if throttled or (status == _CONFLICT and reply.error_code is None):
        return Decision(
            ReplyClass.DEFERRED,
            reason,
            _wait_seconds(reply, attempt, jitter),
            whole_run=throttled or reply.retry_after is not None,
            verify=status == _UNAVAILABLE,  # a proxy may answer 503 for a request that did reach the API
        )
    has_own_code = status in _CLIENT_ERROR and reply.error_code is not None
    own_refusal = has_own_code and status not in _MAY_HAVE_ACTED | {_NOT_FOUND}
    if status in _NO_EFFECT or own_refusal:
        return Decision(ReplyClass.FAILED, reason)
    return Decision(ReplyClass.UNKNOWN, reason)


def classify_batch_reply(
    reply: Reply[BatchStopped], hashids: Sequence[str], attempt: int, jitter: float
) -> dict[str, Decision]:
    """Classify the reply to a batch stop; return a decision for every CVM.

    Args:
        reply: the reply.
        hashids: the CVMs in the request.
        attempt: the highest request number among these CVMs, from 1.
        jitter: a random number from 0 to 1.
    """
    numbers = reply.value
    if numbers is None:
        decision = classify_reply(reply, attempt, jitter)
        status = reply.http_status
        if decision.reply_class not in _OF_THE_WHOLE or status in {_NOT_FOUND, _NOT_IMPLEMENTED}:
            # The error may concern a CVM in the middle, after others were stopped; unless the batch was not even begun.
            decision = Decision(
                ReplyClass.DEFERRED, decision.reason, verify=status not in _NOT_BEGUN, needs_own_request=True
            )
        elif status == _CONFLICT:
            decision = replace(decision, verify=True)
        return dict.fromkeys(hashids, decision)
    rest = [each for each in hashids if each not in numbers.errors]
    adds_up = len(rest) + len(numbers.errors) == len(hashids) and numbers.stopped + numbers.skipped == len(rest)
    found = dict.fromkeys(rest, _decide_rest(numbers, adds_up=adds_up, first=attempt == 1))
    for each in hashids:
        if each in numbers.errors:
            found[each] = Decision(ReplyClass.DEFERRED, numbers.errors[each], verify=True, needs_own_request=True)
    return found


def _decide_rest(numbers: BatchStopped, *, adds_up: bool, first: bool) -> Decision:
    """Decide about CVMs without an error of their own, by the numbers of a batch reply.

    A skipped CVM may be on its way down from an earlier request.
    """
    words = f"the batch took {numbers.stopped} and left {numbers.skipped} out"
    if adds_up and not numbers.skipped:
        return Decision(ReplyClass.ACCEPTED)
    if adds_up and not numbers.stopped:
        return Decision(ReplyClass.DEFERRED, words, verify=not first, needs_own_request=True)
    return Decision(ReplyClass.UNKNOWN, f"{words}, without saying which", needs_own_request=True)


_NOT_BEGUN = frozenset({405, 413, 422, _NOT_IMPLEMENTED})
"""Statuses of a batch that was not understood, or of a server without a batch stop."""

_OF_THE_WHOLE = frozenset({ReplyClass.KEY_REFUSED, ReplyClass.UNKNOWN, ReplyClass.DEFERRED, ReplyClass.NOT_PERMITTED})
"""Reply classes that can hold for a whole batch; a refusal or a failure may concern a single CVM."""


def backoff_seconds(attempt: int, jitter: float) -> float:
    """Seconds to wait after this many attempts if the API names no time: doubling, capped, with jitter."""
    return float(min(BACKOFF_CAP, 2 ** min(attempt - 1, 10)) * (0.75 + jitter / 2))


def pause_seconds(reply: Reply[object], attempt: int, jitter: float) -> float | None:
    """Seconds of pause for the whole run, requested by the reply to a read; None without such a request."""
    return _wait_seconds(reply, attempt, jitter) if _is_throttled(reply) else None


def _is_throttled(reply: Reply[object]) -> bool:
    """Whether the API asks every request of the run to wait."""
    return reply.http_status == _TOO_MANY or (reply.http_status == _UNAVAILABLE and reply.retry_after is not None)


def _wait_seconds(reply: Reply[object], attempt: int, jitter: float) -> float:
    """Seconds to wait: the API's Retry-After, capped and with jitter upwards, and at least the backoff."""
    asked_for = min(reply.retry_after or 0.0, RETRY_AFTER_CAP) * (1 + jitter / 10)
    return max(asked_for, backoff_seconds(attempt, jitter))
