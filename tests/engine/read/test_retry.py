"""Reads with retries: the replies to try again, the waits in between, and the error for a person."""

from collections.abc import Sequence
from random import Random

import anyio
import pytest

from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.rate.gcra import Gcra
from orchestrator.engine.read.retry import read_error, read_with_retry
from orchestrator.reply import Reply
from tests.engine.fakes import VirtualClock

FINE: Reply[str] = Reply(value="fine", http_status=200)
MIDDLE = 0.5


class Middle(Random):
    """Jitter without chance: always the middle of its range."""

    def random(self) -> float:
        return MIDDLE


class Reading:
    """A read with scripted replies; the last reply repeats."""

    def __init__(self, *replies: Reply[str]) -> None:
        self.replies: Sequence[Reply[str]] = replies
        self.sent_at: list[float] = []
        self.in_flight: list[int] = []
        self.gate = Gate(Gcra(1000, 10), 5, VirtualClock())

    async def read(self) -> Reply[str]:
        return await read_with_retry(self._request, self.gate, Middle())

    async def _request(self) -> Reply[str]:
        self.sent_at.append(anyio.current_time())
        self.in_flight.append(self.gate.in_flight)
        return self.replies[min(len(self.sent_at), len(self.replies)) - 1]

    @property
    def waits(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.sent_at, self.sent_at[1:], strict=False)]


@pytest.mark.anyio
@pytest.mark.parametrize("status", [300, 304, 400, 401, 403, 404, 405, 422, 499])
async def test_a_final_answer_is_not_read_again(status: int) -> None:
    final: Reply[str] = Reply(http_status=status)
    reading = Reading(final, FINE)
    assert await reading.read() is final
    assert len(reading.sent_at) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("status", [200, 299, 408, 409, 425, 429, 500, 502, 503, 599, None])
async def test_an_answer_with_a_passing_cause_is_read_again(status: int | None) -> None:
    reading = Reading(Reply(http_status=status), FINE)
    assert await reading.read() is FINE
    assert len(reading.sent_at) == 2


@pytest.mark.anyio
@pytest.mark.parametrize(("sent", "attempts"), [(True, 5), (False, 2)])
async def test_a_read_gives_up_after_five_attempts_and_without_a_connection_after_two(
    sent: bool, attempts: int
) -> None:
    last: Reply[str] = Reply(sent=sent, problem="reset")
    reading = Reading(last)
    assert await reading.read() is last
    assert len(reading.sent_at) == attempts


@pytest.mark.anyio
async def test_a_value_ends_the_read_whatever_its_status() -> None:
    reading = Reading(Reply(value="", http_status=500), FINE)
    assert (await reading.read()).value == ""


@pytest.mark.anyio
async def test_the_waits_between_the_attempts_double() -> None:
    reading = Reading(Reply(http_status=500))
    await reading.read()
    assert reading.waits == pytest.approx([0.5, 1, 2, 4])


@pytest.mark.anyio
async def test_a_throttled_read_pauses_every_request_for_the_time_the_api_names() -> None:
    reading = Reading(Reply(http_status=429, retry_after=20.0), FINE)
    await reading.read()
    assert reading.waits == pytest.approx([20 * (1 + MIDDLE / 10)])


@pytest.mark.anyio
async def test_the_pauses_of_a_throttled_read_grow_with_the_attempts() -> None:
    reading = Reading(Reply(http_status=429))
    await reading.read()
    assert reading.waits == pytest.approx([1, 2, 4, 8])


@pytest.mark.anyio
async def test_each_attempt_has_its_own_turn_at_the_gate() -> None:
    reading = Reading(Reply(http_status=500), FINE)
    await reading.read()
    assert (reading.in_flight, reading.gate.in_flight, reading.gate.passed) == ([1, 1], 0, 2)


THING = "the list of CVMs"


@pytest.mark.parametrize(
    ("reply", "message", "hint"),
    [
        (
            Reply(http_status=401, problem="HTTP 401"),
            "the API refuses the key: HTTP 401",
            "check the API key (PHALA_CLOUD_API_KEY",
        ),
        (Reply(sent=False, problem="no route"), "the API can't be reached: no route", "check the network, and"),
        (
            Reply(http_status=404, problem="HTTP 404"),
            f"{THING} can't be read: HTTP 404",
            "nothing was sent; is this the address of the API?",
        ),
        (
            Reply(http_status=301, problem="moved"),
            f"{THING} can't be read: moved",
            "nothing was sent; is this the address of the API?",
        ),
        (Reply(http_status=500, problem="down"), f"{THING} can't be read: down", "nothing was sent; try again later"),
        (Reply(http_status=200), f"{THING} can't be read: the answer can not be read", "nothing was sent; try again"),
    ],
    ids=["key refused", "no connection", "not the API", "moved", "server error", "unreadable"],
)
def test_the_error_of_a_failed_read_says_what_was_wrong_and_what_to_do(
    reply: Reply[str], message: str, hint: str
) -> None:
    error = read_error(reply, THING)
    assert str(error) == message
    assert (error.hint or "").startswith(hint)


@pytest.mark.parametrize("reply", [Reply(http_status=401, problem="no"), Reply(sent=False, problem="no")])
def test_the_error_of_a_failed_read_has_the_request_id_for_the_vendors_support(reply: Reply[str]) -> None:
    identified: Reply[str] = Reply(http_status=reply.http_status, sent=reply.sent, problem="no", request_id="req-7")
    assert str(read_error(identified, THING)).endswith(": no (request req-7)")
