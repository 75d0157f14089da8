"""A bell: one task waits until another rings, or until a time has passed."""

import anyio


class Bell:
    """Rings that nobody hears yet are kept, so none is lost between two waits."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def ring(self) -> None:
        """End the wait that is going on, or the next one."""
        self._event.set()

    async def wait(self, timeout: float = float("inf")) -> None:  # noqa: ASYNC109 - a wait that ends early is the point
        """Return when the bell rings or after so many seconds, whichever comes first."""
        with anyio.move_on_after(timeout):
            await self._event.wait()
        if self._event.is_set():
            self._event = anyio.Event()
