"""Signals to end a long-running command: the first signal ends the command in order, a second signal at once."""

import signal
from collections.abc import Callable

import anyio
from anyio.abc import TaskStatus


async def handle_stop_signals(
    stop: Callable[[signal.Signals], object], everything: anyio.CancelScope, *, task_status: TaskStatus[None]
) -> None:
    """Handle Ctrl-C and SIGTERM until cancelled; ignore the end of the terminal (SIGHUP).

    Args:
        stop: called with the first signal, to end in order.
        everything: cancelled at a second signal.
        task_status: told once signals are handled.
    """
    is_stopping = False
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
        task_status.started()
        async for number in received:
            if number is signal.SIGHUP:
                continue
            if is_stopping:
                everything.cancel()
                return
            is_stopping = True
            stop(number)
