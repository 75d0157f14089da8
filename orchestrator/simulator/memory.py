"""The simulator inside the process: an httpx transport with the failures of a network.

httpx's own in-memory transport has no timeouts and lets the application's exceptions through. Here a read timeout runs
on the caller's clock (a virtual clock in tests), and a cut connection raises the same error as on a socket. A response
arrives whole, so the read timeout covers the whole response, state streams included.
"""

import anyio
import httpx

from orchestrator.simulator.app import Simulator
from orchestrator.simulator.fault_injection import CutBodyError, CutConnectionError


class MemoryTransport(httpx.ASGITransport):
    """Carries requests to a simulator in the same process, under asyncio or trio."""

    def __init__(self, app: Simulator) -> None:
        super().__init__(app=app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, or raise the httpx error for a timeout, a reset or a cut body."""
        timeout = request.extensions.get("timeout", {}).get("read")
        try:
            with anyio.fail_after(timeout):
                return await super().handle_async_request(request)
        except TimeoutError as error:
            raise httpx.ReadTimeout("The read operation timed out", request=request) from error
        except CutConnectionError as error:
            raise httpx.ReadError(str(error), request=request) from error
        except CutBodyError as error:
            raise httpx.RemoteProtocolError(str(error), request=request) from error
