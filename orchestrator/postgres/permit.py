"""Permit of a run in the team store: requests with an effect only while the lease outlasts the request."""

from typing import Protocol

import anyio

_POLL_EVERY_S = 0.1


class RunLease(Protocol):
    """Lease of a run, renewed elsewhere, also from another thread."""

    @property
    def is_lost(self) -> bool:
        """True after another take of the run; a lost lease never comes back."""
        ...

    def lasts(self, seconds: float) -> bool:
        """Return True if the lease lasts for this long from now."""
        ...


class LeasePermit:
    """Permit over a lease; a `SendPermit`."""

    def __init__(self, lease: RunLease, timeout: float, outage: float) -> None:
        """Set up.

        Args:
            lease: the lease of the run.
            timeout: the longest duration of a request in seconds, `cloud.timeout`.
            outage: the longest wait for a renewal in seconds, `store.outage`.
        """
        self._lease, self._timeout, self._outage = lease, timeout, outage

    def may_send(self) -> bool:
        """Return True if the lease outlasts a request begun now."""
        return not self._lease.is_lost and self._lease.lasts(self._timeout)

    async def wait(self) -> None:
        """Wait until the lease is renewed or lost, at most for the longest outage."""
        with anyio.move_on_after(self._outage):
            while not self._lease.is_lost and not self.may_send():  # noqa: ASYNC110 - an event has no other thread
                await anyio.sleep(_POLL_EVERY_S)
