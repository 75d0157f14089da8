"""Read requests through the gate, with retries."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

import anyio

from orchestrator.engine.rate.gate import Gate, Priority
from orchestrator.engine.send.classify import backoff_seconds, pause_seconds
from orchestrator.errors import CloudError, KeyRefusedError
from orchestrator.reply import Reply

_T = TypeVar("_T")

_ATTEMPTS = 5
_ATTEMPTS_TO_CONNECT = 2
"""Attempts without a connection: the address is usually wrong, and a person waits."""

_NOT_THE_API = frozenset({301, 302, 303, 307, 308, 404, 405})
_PASSING = frozenset({408, 409, 425, 429})


async def read_with_retry(request: Callable[[], Awaitable[Reply[_T]]], gate: Gate, rng: Random) -> Reply[_T]:
    """Send a read request with retries, until an answer is final or the attempts are used up.

    Args:
        request: sends the request once; the request must change nothing.
        gate: rate limit and concurrency limit for every request.
        rng: source of jitter.
    """
    attempt = 0
    while True:
        attempt += 1
        async with gate.turn(Priority.READ):
            reply = await request()
        status = reply.http_status
        final = status is not None and 300 <= status < 500 and status not in _PASSING  # noqa: PLR2004 - 3xx, 4xx
        attempts = _ATTEMPTS if reply.sent else _ATTEMPTS_TO_CONNECT
        if reply.value is not None or final or attempt >= attempts:
            return reply
        wait = pause_seconds(reply, attempt, rng.random())
        if wait is not None:
            gate.pause(wait)
        else:
            await anyio.sleep(backoff_seconds(attempt, rng.random()) / 2)


def read_error(reply: Reply[_T], what: str) -> CloudError:
    """Build the user's error for a failed read.

    Args:
        reply: the last reply.
        what: the thing to read, such as `the list of CVMs`.
    """
    request = f" (request {reply.request_id})" if reply.request_id else ""
    problem = f"{reply.problem or 'the answer can not be read'}{request}"
    if reply.says_key_refused:
        hint = "check the API key (PHALA_CLOUD_API_KEY, or the settings); the key may be revoked or of another service"
        return KeyRefusedError(f"the API refuses the key: {problem}", hint=hint)
    if not reply.sent:
        return CloudError(
            f"the API can't be reached: {problem}",
            hint="check the network, and cloud.base_url in the settings",
        )
    if reply.http_status in _NOT_THE_API:
        return CloudError(f"{what} can't be read: {problem}", hint="nothing was sent; is this the address of the API?")
    return CloudError(f"{what} can't be read: {problem}", hint="nothing was sent; try again later")
