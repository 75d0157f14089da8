"""The state of one CVM as a stream of server-sent events."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import anyio

from orchestrator.simulator.operations.call import StateWatch
from orchestrator.simulator.wire import shared
from orchestrator.simulator.wire.view import WorldView


async def stream_states(
    watch: StateWatch, view: WorldView, now: Callable[[], float], lag: float
) -> AsyncIterator[bytes]:
    """Send `state` events and a last event: `complete`, `timeout`, or `error` for a deleted CVM.

    Args:
        watch: the CVM and its target status.
        view: the world at the start of the stream; only its world and version matter.
        now: the clock, in seconds since the world began.
        lag: seconds by which reads lag.
    """
    begun = now()
    while True:
        seen = replace(view, at=now() - lag)
        if not watch.cvm.exists(seen.at):
            yield _encode_event("error", {"error": "CVM not found"})
            return
        yield _encode_event("state", shared.cvm_state(seen, watch.cvm))
        if seen.phase_of(watch.cvm).status == watch.target:
            yield _encode_event("complete", {"status": watch.target, "elapsed": round(now() - begun, 3)})
            return
        left = begun + watch.timeout - now()
        if left <= 0:
            yield _encode_event("timeout", {"status": seen.phase_of(watch.cvm).status, "elapsed": watch.timeout})
            return
        await anyio.sleep(min(watch.interval, left))


def _encode_event(kind: str, data: dict[str, object]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
