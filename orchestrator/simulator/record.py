"""The record of every request that the simulator received."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as the server saw it.

    Attributes:
        seq: counts from 1, in the order of the decisions.
        at: when it was decided, in seconds since the world began.
        method: the HTTP method.
        path: the path, with the prefix and without the query.
        operation: the API operation, such as `stop_cvm`; None if the path is none.
        cvm_hashid: the CVM it was about, where it was about one that exists.
        status: the HTTP status sent; 0 where the connection is cut before any.
        effect: whether it changed a CVM.
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
        """The same, ready for JSON."""
        return asdict(self)
