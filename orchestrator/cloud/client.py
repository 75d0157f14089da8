"""Client of Phala Cloud: a method per operation, returning a value or a problem."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx

from orchestrator import __version__
from orchestrator.action import Action
from orchestrator.cloud import wire, wire_usage
from orchestrator.cloud.http import MEBIBYTE, Http, make_reply, seconds_ahead
from orchestrator.cloud.transport import Destination, ThroughHttpx, choose_carrier
from orchestrator.cvm import Cvm, CvmRef
from orchestrator.errors import CloudError
from orchestrator.reply import BatchStopped, Identity, OperationsPage, Page, Reply, StatusRead, UsagePage
from orchestrator.times import utc_now

if TYPE_CHECKING:  # files have no permit
    from orchestrator.permit import SendPermit

BASE_URL = "https://cloud-api.phala.com/api/v1"
API_VERSIONS = ("2025-10-28", "2026-01-21", "2026-05-22", "2026-06-23")
"""The values of `X-Phala-Version` whose shapes are known; the header is always sent."""

_ACTION_ANSWER = 4 * MEBIBYTE


class PhalaCloud:
    """Phala Cloud client over a pool of HTTP connections."""

    _permit: "SendPermit | None" = None

    def __init__(self, http: Http, *, wall: Callable[[], datetime] = utc_now) -> None:
        self._http = http
        self._wall = wall

    def require_permit(self, permit: "SendPermit") -> None:
        """Let every later request with an effect depend on a permit."""
        self._permit = permit

    @property
    def simulated(self) -> bool:
        """Whether an answer came from a simulated cloud."""
        return self._http.simulated

    async def list_page(self, page: int, page_size: int) -> Reply[Page]:
        """`GET /cvms/paginated`: pages count from 1, a page has at most 100 CVMs."""
        exchange = await self._http.exchange("GET", "/cvms/paginated", params={"page": page, "page_size": page_size})
        return make_reply(exchange, lambda body: wire.read_page(body, page_size), self._wall())

    async def list_app(self, app_id: str) -> Reply[tuple[Cvm, ...]]:
        """`GET /apps/{app_id}/cvms`, unpaginated."""
        if not wire.is_address(app_id):
            return _refuse_identifier("app_id", app_id)
        exchange = await self._http.exchange("GET", f"/apps/{app_id}/cvms")
        return make_reply(exchange, wire.read_cvms, self._wall())

    async def read_cvm(self, ref: CvmRef) -> Reply[Cvm]:
        """`GET /cvms/{cvm_id}`."""
        if not wire.is_address(ref.address):
            return _refuse_identifier("CVM identifier", ref.address)
        exchange = await self._http.exchange("GET", f"/cvms/{ref.address}", largest=_ACTION_ANSWER)
        return make_reply(exchange, lambda body: wire.read_detail(body, ref), self._wall())

    async def read_by_id(self, cvm_id: str) -> Reply[tuple[Cvm, ...]]:
        """`GET /cvms/{cvm_id}` by hashid, UUID or instance id; empty if the API took the text for an app or a name."""
        if not wire.is_address(cvm_id):
            return _refuse_identifier("CVM identifier", cvm_id)
        exchange = await self._http.exchange("GET", f"/cvms/{cvm_id}", largest=_ACTION_ANSWER)
        return make_reply(exchange, lambda body: wire.read_detail_of(body, cvm_id), self._wall())

    async def price_list(self) -> Reply[Mapping[str, Decimal]]:
        """`GET /instance-types`, public."""
        exchange = await self._http.exchange("GET", "/instance-types")
        return make_reply(exchange, wire.read_price_list, self._wall())

    async def usage_page(
        self, app_id: str, *, since: datetime, until: datetime, limit: int, offset: int
    ) -> Reply[UsagePage]:
        """`GET /apps/{app_id}/usage`: metered usage in a period; a page has at most 5000 records."""
        if not wire.is_address(app_id):
            return _refuse_identifier("app_id", app_id)
        params: dict[str, int | str] = {
            "start_date": wire_usage.format_moment(since),
            "end_date": wire_usage.format_moment(until),
            "limit": limit,
            "offset": offset,
        }
        exchange = await self._http.exchange("GET", f"/apps/{app_id}/usage", params=params)
        now = self._wall()
        ahead = seconds_ahead(exchange, now)
        return make_reply(exchange, lambda body: wire_usage.read_usage_page(body, ahead), now)

    async def read_workspace(self) -> Reply[str]:
        """`GET /auth/me`: the id of the key's workspace."""
        exchange = await self._http.exchange("GET", "/auth/me")
        return make_reply(exchange, wire.read_workspace, self._wall())

    async def read_identity(self) -> Reply[Identity]:
        """`GET /auth/me`: the user and the workspace of the key."""
        exchange = await self._http.exchange("GET", "/auth/me")
        now = self._wall()
        ahead = seconds_ahead(exchange, now)
        return make_reply(exchange, lambda body: replace(wire.read_identity(body), clock_ahead=ahead), now)

    async def read_operations(self, ref: CvmRef) -> Reply[OperationsPage]:
        """`GET /cvms/{cvm_id}/operations`: the newest operations of a CVM, at most 50."""
        from orchestrator.cloud.wire_operations import read_operations  # noqa: PLC0415 - few runs read the history

        if not wire.is_address(ref.address):
            return _refuse_identifier("CVM identifier", ref.address)
        path = f"/cvms/{ref.address}/operations"
        exchange = await self._http.exchange("GET", path, params={"limit": 50}, largest=_ACTION_ANSWER)
        now = self._wall()
        ahead = seconds_ahead(exchange, now)
        return make_reply(exchange, lambda body: read_operations(body, ahead), now)

    async def act(self, action: Action, ref: CvmRef) -> Reply[StatusRead]:
        """`POST /cvms/{cvm_id}/…`: stop, shutdown, start, or restart (without `force`).

        A stop cuts the power and cancels any operation in progress. A shutdown sends SIGTERM, and SIGKILL after a
        while. Both trigger billing. A start allocates the GPUs. A restart is a graceful shutdown and a start.
        """
        if not wire.is_address(ref.address):
            return _refuse_identifier("CVM identifier", ref.address)
        path = f"/cvms/{ref.address}/{action.spec.endpoint}"
        exchange = await self._http.exchange("POST", path, largest=_ACTION_ANSWER, permit=self._permit)
        return make_reply(exchange, lambda body: wire.read_action_answer(body, ref), self._wall())

    async def stop_many(self, hashids: Sequence[str]) -> Reply[BatchStopped]:
        """`POST /cvms/batch-stop`: force-stops up to 50 CVMs; the answer counts skipped CVMs without their ids."""
        body = {"cvm_ids": list(hashids)}
        exchange = await self._http.exchange("POST", "/cvms/batch-stop", body=body, permit=self._permit)
        return make_reply(exchange, wire.read_batch_stop, self._wall())

    async def read_statuses(self, uuids: Sequence[str]) -> Reply[Mapping[str, StatusRead]]:
        """`POST /status/batch`: the server groups the CVMs by teepod and reads the statuses in parallel."""
        exchange = await self._http.exchange("POST", "/status/batch", body={"vm_uuids": list(uuids)})
        return make_reply(exchange, wire.read_statuses, self._wall())

    async def read_state(self, ref: CvmRef) -> Reply[StatusRead]:
        """`GET /cvms/{cvm_id}/state`, without its event stream."""
        if not wire.is_address(ref.address):
            return _refuse_identifier("CVM identifier", ref.address)
        path = f"/cvms/{ref.address}/state"
        exchange = await self._http.exchange("GET", path, largest=_ACTION_ANSWER)
        return make_reply(exchange, wire.read_status, self._wall())


def _refuse_identifier(what: str, identifier: str) -> Reply[Any]:
    """Build the reply for an unusable identifier: with this identifier in its path, a request would go elsewhere."""
    return Reply(sent=False, problem=f"{identifier[:100]!r} is not a valid {what}; nothing was sent")


@asynccontextmanager
async def connect(
    base_url: str,
    api_key: str,
    *,
    api_version: str,
    timeout: float,  # noqa: ASYNC109 - a bound on each exchange, not on this call
    max_in_flight: int,
    many: bool = False,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[PhalaCloud]:
    """Open a client for the duration of the block.

    Args:
        base_url: the base URL, including `/api/v1`.
        api_key: sent as `X-API-Key`, only to this base URL.
        api_version: sent as `X-Phala-Version`.
        timeout: seconds for one exchange.
        max_in_flight: the most connections.
        many: whether the caller will send many requests a second. The setup then takes a quarter of a second, and
            needs asyncio.
        transport: replacement of the sockets, for tests.

    Raises:
        CloudError: when the environment's proxy or certificates can't be used.
    """
    headers = {
        "X-API-Key": api_key,
        "X-Phala-Version": api_version,
        "User-Agent": f"orchestrator/{__version__}",
        "Accept": "application/json",
        "Accept-Encoding": "gzip, deflate",
    }
    target = Destination(base_url=base_url, headers=headers, timeout=timeout, connections=max_in_flight)
    try:
        carrier = choose_carrier(target, many=many) if transport is None else ThroughHttpx(target, transport)
    except (ImportError, ValueError, OSError, httpx.InvalidURL) as error:
        raise CloudError(
            f"no connection can be set up: {error}",
            hint="check the environment's HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR",
        ) from error
    async with carrier:
        yield PhalaCloud(Http(carrier, timeout))
