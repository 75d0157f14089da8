"""A small cloud for commands that name CVMs, made from the API document alone; it counts every request.

It shares nothing with the simulator, so that a misreading common to the client and the simulator shows.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.e2e.json_server import serve_json

APPS = ("a" * 40, "b" * 40)
Reply = tuple[int, dict[str, Any]]


@dataclass
class Machine:
    """A CVM of the cloud; its hashid is `cvm_` and its number."""

    number: int
    name: str
    status: str = "running"

    @property
    def uuid(self) -> str:
        return str(UUID(int=self.number, version=4))

    @property
    def app_id(self) -> str:
        return APPS[self.number % 2]

    @property
    def instance_id(self) -> str:
        return f"{self.number:040x}"

    @property
    def identifiers(self) -> set[str]:
        """Every text that a path of the API accepts for this CVM; the integer is not among them."""
        exact = {f"cvm_{self.number}", self.uuid, self.uuid.replace("-", ""), self.instance_id}
        return exact | {self.app_id, f"app_{self.app_id}", self.name}

    def describe(self) -> dict[str, Any]:
        """Write the current shape."""
        return {
            "id": f"cvm_{self.number}",
            "vm_uuid": self.uuid,
            "name": self.name,
            "app_id": self.app_id,
            "instance_id": self.instance_id,
            "node_info": {"id": 7, "name": "alpha", "region": "eu", "status": "online"},
            "resource": {"instance_type": "tdx.small", "vcpu": 1, "memory_in_gb": 2, "disk_in_gb": 20, "gpus": 0},
            "status": self.status,
            "in_progress": False,
            "created_at": "2026-01-02T03:04:05Z",
        }

    def describe_legacy(self) -> dict[str, Any]:
        """Write the shape of 2025-10-28: only a UUID, and no hashid."""
        hosted = {"id": self.uuid, "name": self.name, "app_id": self.app_id, "instance_id": self.instance_id}
        return {
            "hosted": {**hosted, "status": self.status},
            "name": self.name,
            "node": {"id": 7, "name": "alpha"},
            "status": self.status,
            "vcpu": 1,
            "memory": 2048,
            "disk_size": 20,
        }


@dataclass
class NamedCloud:
    """CVMs that change their status at once.

    Attributes:
        machines: the CVMs.
        is_legacy: whether the list has the legacy shape.
        wrong_identity: the number of another CVM, given in the answer to every read of a single CVM.
        requests: method and path of every request, in order.
        hold_stops: cleared to let requests to stop wait.
        api_key: a key; any key is accepted.
    """

    machines: list[Machine]
    is_legacy: bool = False
    wrong_identity: int | None = None
    requests: list[str] = field(default_factory=list)
    hold_stops: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    api_key: str = "phak_named"

    def __post_init__(self) -> None:
        self.hold_stops.set()

    @property
    def list_reads(self) -> list[str]:
        """The requests that read more than a single CVM."""
        return [each for each in self.requests if each.startswith(("GET /cvms/paginated", "GET /apps"))]

    @property
    def changes(self) -> list[str]:
        """The requests that change a CVM."""
        return [each for each in self.requests if each.startswith("POST /cvms/")]

    def answer(self, method: str, path: str, body: Any) -> Reply:  # noqa: ANN401 - parsed JSON
        """Answer a request."""
        self.requests.append(f"{method} {path}")
        parts = path.strip("/").split("/")
        if path == "/cvms/paginated":
            items = [each.describe_legacy() if self.is_legacy else each.describe() for each in self.machines]
            return 200, {"items": items, "total": len(items), "page": 1, "page_size": 100, "pages": 1}
        if path == "/status/batch":
            wanted = {UUID(text): text for text in body["vm_uuids"]}
            found = [each for each in self.machines if UUID(each.uuid) in wanted]
            return 200, {wanted[UUID(each.uuid)]: {"status": each.status, "in_progress": False} for each in found}
        if parts[0] != "cvms":
            return 404, {"detail": "Not Found"}
        matches = [each for each in self.machines if parts[1] in each.identifiers]
        if len(matches) != 1:
            code, word = ("ERR-03-010", "several CVMs match") if matches else ("ERR-03-001", "no CVM matches")
            return 400 if matches else 404, {"error_code": code, "message": word, "details": [], "suggestions": []}
        return self._act(matches[0], parts[2]) if method == "POST" else self._read(matches[0], parts[2:])

    def _read(self, machine: Machine, rest: list[str]) -> Reply:
        if rest:
            return 200, {"status": machine.status, "in_progress": False}
        if self.wrong_identity is not None:
            machine = next(each for each in self.machines if each.number == self.wrong_identity)
        return 200, machine.describe()

    def _act(self, machine: Machine, operation: str) -> Reply:
        self.hold_stops.wait(60)
        machine.status = "running" if operation in {"start", "restart"} else "stopped"
        words = {"stop": "stopping", "shutdown": "shutting_down", "start": "starting", "restart": "restarting"}
        identity = {"id": machine.number, "vm_uuid": machine.uuid, "name": machine.name}
        return 200, {**identity, "status": words[operation]}


@contextmanager
def serving(*names: str) -> Iterator[NamedCloud]:
    """Serve a cloud of CVMs with these names, numbered from 1."""
    cloud = NamedCloud([Machine(number, name) for number, name in enumerate(names, 1)])

    def answer(method: str, path: str, body: Any) -> Reply:  # noqa: ANN401 - parsed JSON
        return cloud.answer(method, path.partition("?")[0], body)

    with serve_json(answer) as cloud.url:
        try:
            yield cloud
        finally:
            cloud.hold_stops.set()
