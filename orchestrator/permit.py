"""Permit for the requests of a run with an effect, such as the lease of a run in a team store.

A run over files has no permit: the lock of its log holds for as long as the process lives.
"""

from typing import Protocol


class SendPermit(Protocol):
    """Permit to send requests with an effect; ends by itself."""

    def may_send(self) -> bool:
        """Return True if a request begun now ends before the permit; asked again directly before the first byte."""
        ...

    async def wait(self) -> None:
        """Wait a limited time until requests may be sent; return also after the end of that time."""
        ...
