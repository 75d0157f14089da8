"""A bell: one task waits until another rings, or until a time has passed."""

import anyio
import anyio.lowlevel


class AutoResetEvent:
    """Rings that nobody hears yet are kept, so none is lost between two waits."""

    def __init__(self) -> None:
        self._rung = False
        self._event: anyio.Event | None = None  # made only where somebody has to wait

    def ring(self) -> None:
        """End the wait that is going on, or the next one."""
        self._rung = True
        if self._event is not None:
            self._event.set()

    async def wait(self, timeout: float = float("inf")) -> None:  # noqa: ASYNC109 - a wait that ends early is the point
        """Return when the bell rings or after so many seconds, whichever comes first."""
        if not self._rung:
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
        self._rung = False
