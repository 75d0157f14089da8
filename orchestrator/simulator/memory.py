"""The simulator inside the process: an httpx transport that fails the way a network does.

httpx's own in-memory transport knows no time-outs and lets the application's exceptions through; here a read time-out
runs on the caller's clock (a virtual one in tests), and a cut connection is the error that a socket would give.
A response is handed over whole, so the read time-out covers all of it, state streams included.
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
        """Answer, or raise the httpx error for a time-out, a reset or a body that was cut."""
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
