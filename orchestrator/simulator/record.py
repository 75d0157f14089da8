"""The record of every request to the simulator."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request as seen by the server.

    Attributes:
        seq: number of the request, from 1, in the order of the decisions.
        at: time of the decision, in seconds since the world began.
        method: the HTTP method.
        path: the path, with the prefix and without the query.
        operation: the API operation, such as `stop_cvm`; None for an unknown path.
        cvm_hashid: the CVM in the path, if it exists.
        status: the HTTP status sent; 0 if the connection is cut before a status.
        effect: True if the request changed a CVM.
        fault: the fault injected, or None.
        request_id: the `X-Request-ID` sent.
    """

    seq: int
    at: float
    method: str
    path: str
    operation: str | None
    cvm_hashid: str | None
    status: int
    effect: bool
    fault: str | None
    request_id: str

    def as_dict(self) -> dict[str, Any]:
        """The record as a dictionary for JSON."""
        return asdict(self)
