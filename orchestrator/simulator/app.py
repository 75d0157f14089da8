"""The simulated cloud as an ASGI application, for asyncio and trio alike."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from time import monotonic

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from orchestrator.simulator import control, refusals
from orchestrator.simulator.fault_injection import (
    cut_body,
    encode_json,
    make_response,
    odd_answer,
    refuse_early,
    reset_connection,
    retry_after,
    server_error,
)
from orchestrator.simulator.faults import PLAYED_BY_OPERATION, WITHOUT_EFFECT, Faults
from orchestrator.simulator.operations.call import ApiOperation, ApiReply, Call, StateWatch
from orchestrator.simulator.operations.table import Routes
from orchestrator.simulator.randomness import draw_between, random_hex, seeded_random
from orchestrator.simulator.rate_limit import TokenBucket, whole_seconds
from orchestrator.simulator.record import RequestRecord
from orchestrator.simulator.refusals import Refusal
from orchestrator.simulator.request_parsing import read_body, read_query
from orchestrator.simulator.settings import VERSIONS, SimulatorSettings
from orchestrator.simulator.stream import stream_states
from orchestrator.simulator.wire.view import WorldView
from orchestrator.simulator.world import World

_NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class _Answer:
    reply: ApiReply
    headers: dict[str, str]
    version: str
    fault: str | None


class Simulator:
    """The ASGI application.

    Attributes:
        world: the state.
        requests: the record of every request to the API, oldest first.
        faults: the fault of each request; tests can force one.
        open_streams: number of open state streams.
    """

    def __init__(self, world: World, clock: Callable[[], float]) -> None:
        settings = world.settings
        seed = settings.fleet.seed
        self.world = world
        self.requests: list[RequestRecord] = []
        self.faults = Faults(settings.faults, seed)
        self.open_streams = 0
        self._clock = clock
        self._began_at: float | None = None  # the clock at the start of the world
        self._limit = TokenBucket(settings.limit)
        self._marker_headers = {"X-Simulated": "true"} if settings.api.simulated_header else {}
        self._routes = Routes()
        self._ids = seeded_random(seed, "request ids")
        self._latency = seeded_random(seed, "latency")

    def __repr__(self) -> str:
        return f"<Simulator of {self.world!r}, {len(self.requests)} requests so far>"

    def now(self) -> float:
        """Seconds since the world began; the first call begins the world."""
        reading = self._clock()
        if self._began_at is None:
            self._began_at = reading
        return reading - self._began_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        self.now()
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        if scope["path"].startswith(control.PREFIX):
            await self._respond_to_control(scope, body)(scope, receive, send)
            return
        await anyio.sleep(draw_between(self._latency, self.world.settings.timing.latency))
        await self._send_answer(self._answer_request(request, body), scope, receive, send)

    def _answer_request(self, request: Request, body: bytes) -> _Answer:
        """Decide the answer to a request, change the world and record the request; no input or output."""
        now = self.now()
        seq = len(self.requests) + 1
        request_id = f"req_{random_hex(self._ids, 24)}"
        path, method = request.scope["path"], request.method
        operation, values, known = self._routes.find_operation(method, path)
        default = self.world.settings.api.default_version
        call = Call(self.world, now, request.headers.get("x-phala-version", default), values, seq=seq)
        fault = None
        try:
            if operation is None:
                raise refusals.without_code(405 if known else 404, "Method Not Allowed" if known else "Not Found")
            self._check_access(request, operation, now)
            fault = self.faults.draw_fault(operation.name)
            reply = self._perform_operation(
                call, operation, request.scope["query_string"].decode("latin-1"), body, fault
            )
        except Refusal as refusal:
            reply = ApiReply(refusal.body, refusal.status, refusal.headers)
        if fault in {"error_after", "odd_after"}:
            error = server_error(self.faults) if fault == "error_after" else odd_answer(self.faults)
            reply = ApiReply(error.body, error.status, effect=reply.effect)
        status = (
            _NO_ANSWER if fault in {"reset_before", "reset_after"} else 200 if fault == "not_json" else reply.status
        )
        self.requests.append(
            RequestRecord(
                seq=seq,
                at=now,
                method=method,
                path=path,
                operation=operation.name if operation else None,
                cvm_hashid=call.subject.hashid if call.subject else None,
                status=status,
                effect=reply.effect,
                fault=fault,
                request_id=request_id,
            )
        )
        return _Answer(
            reply, {**reply.headers, "X-Request-ID": request_id, **self._marker_headers}, call.version, fault
        )

    def _check_access(self, request: Request, operation: ApiOperation, now: float) -> None:
        """Refuse a request without a valid key or above the rate limit."""
        if not operation.public and request.headers.get("x-api-key") != self.world.api_key:
            raise refusals.not_authenticated()
        wait = self._limit.take_token(now)
        if wait > 0:
            form = self.world.settings.limit.retry_after
            headers = retry_after(self.world, now, whole_seconds(wait), form)
            raise refusals.without_code(429, "Rate limit exceeded", headers)

    def _perform_operation(
        self, call: Call, operation: ApiOperation, query: str, body: bytes, fault: str | None
    ) -> ApiReply:
        """Perform the operation, unless a fault strikes first."""
        if fault in WITHOUT_EFFECT:
            self._note_cvm(call)
            raise refuse_early(fault, self.faults, self.world, call.now, operation.path)
        if call.version not in VERSIONS:
            raise refusals.without_code(400, f"Unsupported API version: {call.version}")
        call.fault = fault if fault in PLAYED_BY_OPERATION else None
        call.query = read_query(operation, query)
        call.body = read_body(operation, body)
        reply = operation.answer(call)
        if reply.watch is not None:
            if self.open_streams >= self.world.settings.api.state_streams:
                raise refusals.without_code(429, "Too many concurrent state streams")
            self.open_streams += 1
        return reply

    def _note_cvm(self, call: Call) -> None:
        if "cvm_id" in call.path:
            try:
                call.find_cvm()
            except Refusal:
                call.subject = None

    async def _send_answer(self, answer: _Answer, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, spoilt by its fault if a fault struck."""
        reply, fault = answer.reply, answer.fault
        try:
            if fault in {"reset_before", "reset_after"}:
                await reset_connection(scope, receive)
                return
            if fault in {"hang_before", "hang_after"}:
                await anyio.sleep(self.faults.settings.hang_seconds)
            if reply.watch is not None:
                stream = self._stream_states(reply.watch, answer.version)
                response: Response = StreamingResponse(stream, 200, answer.headers, media_type="text/event-stream")
            else:
                response = make_response(fault, reply.status, reply.body, answer.headers, self.faults)
            if fault == "truncated" and reply.watch is None:
                await cut_body(scope, receive, send, response)
            else:
                await response(scope, receive, send)
        finally:
            if reply.watch is not None:
                self.open_streams -= 1

    def _stream_states(self, watch: StateWatch, version: str) -> AsyncIterator[bytes]:
        view = WorldView(self.world, self.now(), version)
        return stream_states(watch, view, self.now, self.world.settings.timing.read_lag)

    def _respond_to_control(self, scope: Scope, body: bytes) -> Response:
        try:
            reply = control.answer_control(
                self.world, self.requests, self.now(), method=scope["method"], path=scope["path"], body=body
            )
        except Refusal as refusal:
            reply = ApiReply(refusal.body, refusal.status)
        return Response(encode_json(reply.body), reply.status, media_type="application/json")


def create_app(
    world: World, *, settings: SimulatorSettings | None = None, clock: Callable[[], float] = monotonic
) -> Simulator:
    """Make the ASGI application of a world.

    Args:
        world: the state; time begins at the first request or at the first `Simulator.now`.
        settings: replace the world's own settings; the fleet stays unchanged.
        clock: a clock in seconds that never goes back, such as `time.monotonic` or `anyio.current_time`.
    """
    if settings is not None:
        world.settings = settings
    return Simulator(world, clock)
