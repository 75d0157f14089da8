"""An event with automatic reset: one task waits until another task signals, or until a timeout."""

import anyio
import anyio.lowlevel


class AutoResetEvent:
    """Event for a single waiting task; a signal sent between two waits is kept for the next wait."""

    _is_set: bool = False
    _event: anyio.Event | None = None  # created only for a wait that blocks

    def set(self) -> None:
        """End the current wait, or the next wait if no task waits now."""
        self._is_set = True
        if self._event is not None:
            self._event.set()

    async def wait(self, timeout: float = float("inf")) -> None:  # noqa: ASYNC109 - a wait that ends early is the point
        """Return at the signal, or after `timeout` seconds at the latest."""
        if not self._is_set:
            self._event = anyio.Event()
            try:
                if timeout == float("inf"):
                    await self._event.wait()
                else:
                    with anyio.move_on_after(timeout):
                        await self._event.wait()
            finally:
                self._event = None
        else:
            await anyio.lowlevel.checkpoint()
        self._is_set = False
