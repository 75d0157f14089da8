"""Spoil an answer on its way out: the faults in HTTP or in the connection itself."""

import gzip
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from orchestrator.simulator.faults import Faults
from orchestrator.simulator.refusals import Refusal, without_code
from orchestrator.simulator.world import World

TRANSPORT = "simulator.transport"
"""Key of the scope's state under which the server leaves the connection's transport, so that faults can cut it."""

_ELSEWHERE = "https://elsewhere.invalid"
_PAGE = "<!DOCTYPE html>\n<html><head><title>Just a moment…</title></head><body><h1>Please wait</h1></body></html>\n"
_CHUNK = 65_536
_TRAILER = 8
"""Bytes at the end of a gzip body: its checksum and size."""


class CutConnectionError(ConnectionResetError):
    """Raised instead of a connection reset inside the process, without a connection."""


class CutBodyError(ConnectionAbortedError):
    """Raised instead of a cut body inside the process, without a connection."""


def retry_after(world: World, now: float, seconds: int, form: str) -> dict[str, str]:
    """Write the `Retry-After` header in a form; `none` gives no header, `zero` and `past` give a useless value."""
    if form == "none":
        return {}
    if form == "zero":
        return {"Retry-After": "0"}
    if form in {"date", "past"}:
        seconds = seconds if form == "date" else -60
        moment = world.calendar_time(now).replace(microsecond=0) + timedelta(seconds=seconds + 1)
        return {"Retry-After": format_datetime(moment, usegmt=True)}
    return {"Retry-After": str(seconds)}


def refuse_early(fault: str, faults: Faults, world: World, now: float, path: str) -> Refusal:
    """Make the refusal of a fault before the operation has an effect."""
    rng, seconds = faults.rng, faults.settings.retry_after_seconds
    if fault == "throttle":
        headers = retry_after(world, now, seconds, rng.choice(("seconds", "date")))
        return without_code(429, "Too many requests", headers)
    if fault == "unavailable":
        headers = retry_after(world, now, seconds, rng.choice(("seconds", "date", "none", "none")))
        return without_code(503, "Service temporarily unavailable", headers)
    if fault == "redirect":
        return Refusal(307, {"detail": "Temporary Redirect"}, {"Location": f"{_ELSEWHERE}{path}"})
    if fault == "gateway_404":
        return without_code(404, "no route to the API")
    if fault == "odd_before":
        return odd_answer(faults)
    if fault == "hang_before":
        return without_code(504, "Gateway timeout")
    return server_error(faults)


def server_error(faults: Faults) -> Refusal:
    """A 500, 502 or 504, as a server or its gateway sends."""
    status, detail = faults.rng.choice(((500, "Internal Server Error"), (502, "Bad Gateway"), (504, "Gateway timeout")))
    return without_code(status, detail)


def odd_answer(faults: Faults) -> Refusal:
    """An answer with an undocumented status."""
    return without_code(faults.rng.choice(faults.settings.odd_statuses), "unexpected")


def change_shape(body: object) -> object:
    """Valid JSON of another shape than the documented answer."""
    return {"data": body, "success": True} if isinstance(body, list) else [body]


def encode_json(body: object) -> bytes:
    """Encode JSON as the server does."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="backslashreplace")  # half a surrogate pair becomes its JSON escape


def make_response(fault: str | None, status: int, body: Any, headers: Mapping[str, str], faults: Faults) -> Response:  # noqa: ANN401 - any JSON value
    """Make the response with this body, spoilt if the fault spoils bodies."""
    if fault == "gateway_404":
        return Response(_PAGE, 404, dict(headers), media_type="text/html")
    if fault == "not_json":
        return Response(_PAGE, 200, dict(headers), media_type="text/html")
    if fault == "wrong_shape":
        return Response(encode_json(change_shape(body)), status, dict(headers), media_type="application/json")
    if fault == "gzip_cut":
        packed = gzip.compress(encode_json(body))[:-_TRAILER]
        return Response(packed, status, {**headers, "Content-Encoding": "gzip"}, media_type="application/json")
    if fault == "huge":
        bloated = _pad_body(encode_json(body), faults.settings.huge_bytes)
        return StreamingResponse(bloated, status, dict(headers), media_type="application/json")
    return Response(encode_json(body), status, dict(headers), media_type="application/json")


async def _pad_body(body: bytes, size: int) -> AsyncIterator[bytes]:
    yield body
    for _ in range(0, size, _CHUNK):
        yield b" " * _CHUNK


async def reset_connection(scope: Scope, receive: Receive) -> None:
    """Reset the connection, so the client reads an error instead of an answer."""
    transport = scope.get("state", {}).get(TRANSPORT)
    if transport is None:
        raise CutConnectionError("the connection was reset")
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # With a linger time of zero, closing sends a reset instead of an orderly end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await _wait_for_disconnect(receive)


async def cut_body(scope: Scope, receive: Receive, send: Send, response: Response) -> None:
    """Announce the whole body, send half of the body and close the connection."""
    transport = scope.get("state", {}).get(TRANSPORT)
    if transport is None:
        raise CutBodyError("the connection was closed in the middle of the body")
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    half = bytes(response.body)[: len(response.body) // 2]
    await send({"type": "http.response.body", "body": half, "more_body": True})
    transport.close()
    await _wait_for_disconnect(receive)


async def _wait_for_disconnect(receive: Receive) -> None:
    """Wait until the server notices the closed connection; otherwise the server would try to answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
