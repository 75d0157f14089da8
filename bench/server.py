"""A minimal server with the parts of the API needed by a run: `python -m bench.server N`.

The list (current shape), stops of one and of many, the status batch and the price list; keep-alive HTTP/1.1 by hand on
an `asyncio.Protocol`, on uvloop where it is installed. Its first line of stdout is `{"url": …}`. Under `/__bench__`:
`GET marks` gives the times of the first stop and of the last answer; `POST reset` starts all CVMs again.

With `--workspaces W` the keys `key-0`, `key-1`, … have N CVMs each, and a rate limit each with `--requests-per-second`.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

PREFIX = "/api/v1"
TEEPODS = 25
CREATED = "2026-01-15T12:00:00.000000Z"
MOST_AT_ONCE = 50
_LENGTH = b"content-length:"
_API_KEY = b"x-api-key: key-"


def hashid(number: int) -> str:
    """Make the id of the CVM with that number."""
    return f"cvm_{number:08x}"


def _uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


class Fleet:
    """CVMs that go down some seconds after their stop, and the times of the requests.

    Attributes:
        stops: number of single stops.
        requests: number of requests.
    """

    def __init__(
        self, count: int, settle_seconds: float, *, first: int = 0, rate: float | None = None, burst: int = 10
    ) -> None:
        self.count, self._settle = count, settle_seconds
        self._first, self._rate, self._burst = first, rate, burst
        self._number = {hashid(first + number): number for number in range(count)}
        self._by_uuid = {_uuid(first + number).replace("-", ""): number for number in range(count)}
        self._stopped_at: list[float | None] = []
        self.reset()

    def reset(self) -> None:
        """Start every CVM, and clear the counts."""
        self._stopped_at = [None] * self.count
        self.requests = self.stops = self.batches = self.effects = 0
        self.first_stop = self.last_answer = 0.0
        self.first_request = self.last_request = 0.0
        self.requests_to_last_stop = 0
        self.throttled, self._tokens, self._filled_at = 0, float(self._burst), time.monotonic()
        self._cpu = time.process_time()

    def marks(self) -> dict[str, float]:
        """The counts and times of the requests."""
        return {
            "requests": self.requests,
            "stops": self.stops,
            "batches": self.batches,
            "effects": self.effects,
            "first_stop_at_seconds": self.first_stop,
            "last_stop_answered_at_seconds": self.last_answer,
            "first_request_at_seconds": self.first_request,
            "last_request_at_seconds": self.last_request,
            "requests_to_last_stop": self.requests_to_last_stop,
            "throttled": self.throttled,
            "cpu_seconds": time.process_time() - self._cpu,
        }

    def take_token(self) -> bool:
        """Note a request, and take a token of the rate limit; False if the limit refuses the request."""
        now = self.last_request = time.monotonic()
        self.first_request = self.first_request or now
        if self._rate is None:
            return True
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            self.throttled += 1
            return False
        self._tokens -= 1
        return True

    def _status(self, number: int, now: float) -> tuple[str, bool]:
        at = self._stopped_at[number]
        if at is None:
            return "running", False
        return ("stopped", False) if now - at >= self._settle else ("stopping", True)

    def _take(self, number: int) -> None:
        if self._stopped_at[number] is None:
            self._stopped_at[number] = time.monotonic()
            self.effects += 1

    def stop(self, address: str) -> bytes | None:
        """Stop one CVM; return the body of the answer, or None for an unknown CVM."""
        number = self._number.get(address)
        if number is None:
            return None
        if not self.stops:
            self.first_stop = time.monotonic()
        self.stops += 1
        self._take(number)
        number, teepod = self._first + number, number % TEEPODS
        return _VM % (
            number,
            number,
            teepod,
            teepod,
            teepod,
            number % 500,
            _uuid(number).encode(),
            number,
        )

    def stop_many(self, body: bytes) -> bytes:
        """Stop up to fifty CVMs."""
        if not self.batches and not self.stops:
            self.first_stop = time.monotonic()
        self.batches += 1
        asked = json.loads(body)["cvm_ids"][:MOST_AT_ONCE]
        stopped, errors = 0, []
        for address in asked:
            number = self._number.get(address)
            if number is None:
                errors.append({"cvm_id": address, "error": "CVM not found"})
                continue
            self._take(number)
            stopped += 1
        return json.dumps({"total": len(asked), "stopped": stopped, "skipped": 0, "errors": errors}).encode()

    def statuses(self, body: bytes) -> bytes:
        """The statuses of many CVMs."""
        now = time.monotonic()
        found: dict[str, dict[str, Any]] = {}
        for uuid in json.loads(body)["vm_uuids"]:
            number = self._by_uuid.get(uuid.replace("-", ""))
            if number is not None:
                status, busy = self._status(number, now)
                shown = _uuid(self._first + number)
                found[shown] = {
                    "vm_uuid": shown,
                    "status": status,
                    "uptime": None,
                    "in_progress": busy,
                    "boot_progress": None,
                    "boot_error": None,
                    "shutdown_progress": None,
                    "events": [],
                    "operation_type": "power_off" if busy else None,
                    "operation_started_at": CREATED if busy else None,
                    "correlation_id": None,
                }
        return json.dumps(found).encode()

    def page(self, query: str) -> bytes:
        """One page of the list."""
        asked = dict(part.partition("=")[::2] for part in query.split("&"))
        page, size = int(asked.get("page", 1)), min(100, int(asked.get("page_size", 30)))
        now = time.monotonic()
        first = (page - 1) * size
        items = [self._item(number, now) for number in range(first, min(first + size, self.count))]
        pages = -(-self.count // size)
        return json.dumps(
            {"items": items, "total": self.count, "page": page, "page_size": size, "pages": pages}
        ).encode()

    def _item(self, number: int, now: float) -> dict[str, Any]:
        status, busy = self._status(number, now)
        number, teepod = self._first + number, number % TEEPODS
        return {
            "id": hashid(number),
            "name": f"web-{number}",
            "app_id": f"{number % 500:040x}",
            "vm_uuid": _uuid(number),
            "instance_id": f"{number:040x}",
            "resource": {
                "instance_type": "tdx.small",
                "vcpu": 1,
                "memory_in_gb": 2.0,
                "disk_in_gb": 20,
                "gpus": 0,
                "compute_billing_price": "0.058",
                "billing_period": "hourly",
            },
            "node_info": {
                "object_type": "node",
                "id": teepod,
                "name": f"prod-{teepod}",
                "region": "us",
                "status": "ONLINE",
            },
            "status": status,
            "in_progress": busy,
            "progress": None,
            "created_at": CREATED,
            "hourly_rate": {"total": "0.06078", "compute": "0.058", "disk": "0.00278"},
            "billing_interval": "hour",
            "gpu_rental_order": None,
        }


_VM = (
    b'{"id":"cvm_%08x","name":"web-%d","status":"stopping","teepod_id":%d,"teepod":{"id":%d,"name":"prod-%d"},'
    b'"user_id":1,"app_id":"%040x","vm_uuid":"%s","instance_id":"%040x","app_url":null,"base_image":"dstack-0.5.4",'
    b'"vcpu":1,"memory":2048,"disk_size":20,"manifest_version":2,"version":"1.0.0","runner":"docker-compose",'
    b'"docker_compose_file":null,"features":["kms","tproxy-net"],"created_at":"2026-01-15T12:00:00.000000Z",'
    b'"encrypted_env_pubkey":null}'
)

_PRICES = json.dumps(
    {
        "result": [
            {
                "name": "cpu",
                "items": [{"id": "tdx.small", "name": "Small", "vcpu": 1, "memory_mb": 2048, "hourly_rate": "0.058"}],
                "total": 1,
            }
        ]
    }
).encode()


class ServerProtocol(asyncio.Protocol):
    """One connection: parses requests as they arrive, pipelined requests too, and answers at once."""

    def __init__(self, fleets: Sequence[Fleet]) -> None:
        self._fleets = fleets
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        if isinstance(transport, asyncio.WriteTransport) or hasattr(transport, "write"):
            self._transport = transport  # type: ignore[assignment]  # uvloop's transports are of classes of their own

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            begin, length = end + 4, 0
            head = buffer[:end]
            lower = head.lower()
            at = lower.find(_LENGTH)
            if at >= 0:
                line_end = head.find(b"\r\n", at)
                length = int(head[at + len(_LENGTH) : line_end if line_end >= 0 else end])
            if len(buffer) < begin + length:
                break
            body, buffer = buffer[begin : begin + length], buffer[begin + length :]
            method, target, _ = head[: head.index(b"\r\n")].decode("latin-1").split(" ", 2)
            self._answer(self._find_fleet(lower), method, target, body)
        self._buffer = buffer

    def _find_fleet(self, head: bytes) -> Fleet:
        if len(self._fleets) == 1:
            return self._fleets[0]
        at = head.find(_API_KEY)
        if at < 0:
            return self._fleets[0]
        line_end = head.find(b"\r\n", at)
        return self._fleets[int(head[at + len(_API_KEY) : line_end if line_end >= 0 else None])]

    def _answer(self, fleet: Fleet, method: str, target: str, body: bytes) -> None:
        if not target.startswith("/__bench__") and not fleet.take_token():
            self._write(fleet, b"429 Too Many Requests\r\nretry-after: 1", b'{"detail":"Rate limit exceeded"}')
            return
        stop = method == "POST" and target.endswith("/stop")
        if stop:
            reply = fleet.stop(target[len(PREFIX) + 6 : -5])
        else:
            path, _, query = target.partition("?")
            if path == "/__bench__/all":
                self._write(fleet, b"200 OK", json.dumps([each.marks() for each in self._fleets]).encode())
                return
            answer = _ANSWERS.get((method, path))
            reply = None if answer is None else answer(fleet, query, body)
        status = b"200 OK" if reply is not None else b"404 Not Found"
        self._write(fleet, status, b'{"detail":"Not Found"}' if reply is None else reply)
        if stop or target.endswith("/batch-stop"):
            fleet.last_answer = time.monotonic()
            fleet.requests_to_last_stop = fleet.requests - fleet.throttled

    def _write(self, fleet: Fleet, status: bytes, reply: bytes) -> None:
        fleet.requests += 1
        if self._transport is not None:
            self._transport.write(
                b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n"
                b"x-request-id: req_%024x\r\ncontent-length: %d\r\n\r\n%s" % (status, fleet.requests, len(reply), reply)
            )


def _reset(fleet: Fleet) -> bytes:
    fleet.reset()
    return b"{}"


_ANSWERS: dict[tuple[str, str], Callable[[Fleet, str, bytes], bytes]] = {
    ("GET", f"{PREFIX}/cvms/paginated"): lambda fleet, query, _body: fleet.page(query),
    ("POST", f"{PREFIX}/cvms/batch-stop"): lambda fleet, _query, body: fleet.stop_many(body),
    ("POST", f"{PREFIX}/status/batch"): lambda fleet, _query, body: fleet.statuses(body),
    ("GET", f"{PREFIX}/instance-types"): lambda _fleet, _query, _body: _PRICES,
    ("GET", "/__bench__/marks"): lambda fleet, _query, _body: json.dumps(fleet.marks()).encode(),
    ("POST", "/__bench__/reset"): lambda fleet, _query, _body: _reset(fleet),
}


async def serve(fleets: Sequence[Fleet]) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ServerProtocol(fleets), "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}{PREFIX}"}), flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve `count` CVMs in each workspace."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--settle-seconds", type=float, default=0.2)
    parser.add_argument("--workspaces", type=int, default=1)
    parser.add_argument("--requests-per-second", type=float)
    parser.add_argument("--burst", type=int, default=10)
    asked = parser.parse_args()
    fleets = [
        Fleet(
            asked.count,
            asked.settle_seconds,
            first=number * asked.count,
            rate=asked.requests_per_second,
            burst=asked.burst,
        )
        for number in range(asked.workspaces)
    ]
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    try:
        import uvloop  # noqa: PLC0415 - not installed everywhere
    except ImportError:
        pass
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(fleets))


if __name__ == "__main__":
    main()
