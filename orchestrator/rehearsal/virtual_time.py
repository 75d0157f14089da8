"""An event loop on virtual time: a wait takes no real time, because the clock jumps to the next timer.

The loop is the asyncio loop of a real run, so the engine and its clock need no change. trio's `MockClock` would be a
further dependency at run time, and takes more CPU per task.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import anyio.to_thread

_T = TypeVar("_T")


class DeadlockError(RuntimeError):
    """Raised when every task waits, and no timer, thread or socket can end a wait."""


class _JumpingSelector(selectors.DefaultSelector):
    """Selector of a virtual loop: advances the clock of the loop instead of a wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.threads: anyio.CapacityLimiter | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the events of now; without events, advance the clock by the timeout."""
        found = super().select(0)
        if found or timeout == 0:
            return found
        if self.threads is not None and self.threads.borrowed_tokens:
            return super().select(None)  # time stands still while a thread works
        if timeout is None:
            raise DeadlockError("every task waits, and no timer is set")
        self.now += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop with a clock from 0, in seconds of virtual time."""

    def __init__(self) -> None:
        self.selector = _JumpingSelector()
        super().__init__(self.selector)

    def time(self) -> float:
        """Return the seconds of virtual time since the start of the loop."""
        return self.selector.now


def run_on_virtual_time(work: Callable[..., Awaitable[_T]], *arguments: object) -> _T:
    """Run a task to its end on virtual time. Tasks run in the same order every time.

    Args:
        work: the task.
        arguments: the arguments of the task.

    Raises:
        DeadlockError: when every task waits for good.
    """

    async def run() -> _T:
        """Let the clock stand still while a thread works."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)  # noqa: S101 - the factory below
        loop.selector.threads = anyio.to_thread.current_default_thread_limiter()
        return await work(*arguments)

    return anyio.run(run, backend="asyncio", backend_options={"loop_factory": VirtualTimeLoop})
