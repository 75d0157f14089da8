"""The error answers, in both forms of the API: `{"detail": …}` and the structured one with an error code."""

from typing import Any

_DOCS = "https://docs.phala.com/phala-cloud/references/error-codes"


class Refusal(Exception):  # noqa: N818 - an answer of the API, not a failure of the simulator
    """Raised by an operation for an error answer: HTTP status, JSON body and extra headers."""

    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.headers = headers or {}


def without_code(status: int, detail: str, headers: dict[str, str] | None = None) -> Refusal:
    """Make a refusal in the web framework's form, without an error code."""
    return Refusal(status, {"detail": detail}, headers)


def with_code(status: int, code: str, message: str, *, field: str, value: str, suggestion: str) -> Refusal:
    """Make a refusal with an error code `ERR-MM-NNN`, details, suggestions and links."""
    body = {
        "error_code": code,
        "message": message,
        "details": [{"field": field, "value": value, "message": message}],
        "suggestions": [suggestion],
        "links": [{"label": "Error codes", "url": f"{_DOCS}#{code.lower()}"}],
    }
    return Refusal(status, body)


def invalid_request(problems: list[dict[str, Any]]) -> Refusal:
    """A 422 with the problems of the request: `loc`, `msg` and `type` of every problem."""
    return Refusal(422, {"detail": problems})


def not_authenticated() -> Refusal:
    """The API key is missing or unknown."""
    return without_code(401, "Not authenticated")


def cvm_not_found(identifier: str) -> Refusal:
    """The identifier matches no CVM."""
    return with_code(
        404,
        "ERR-03-001",
        f"CVM not found: {identifier}",
        field="cvm_id",
        value=identifier,
        suggestion="List your CVMs to see their identifiers.",
    )


def app_not_found(identifier: str) -> Refusal:
    """No app has this id."""
    return without_code(404, f"App {identifier} not found")


def shared_name(name: str, count: int) -> Refusal:
    """Several CVMs share the name."""
    return with_code(
        409,
        "ERR-03-002",
        f"{count} CVMs share the name {name}",
        field="cvm_id",
        value=name,
        suggestion="Use the CVM's id or UUID.",
    )


def ambiguous_identifier(identifier: str, count: int) -> Refusal:
    """Several CVMs match the identifier."""
    return with_code(
        400,
        "ERR-03-010",
        f"{count} CVMs match the identifier {identifier}",
        field="cvm_id",
        value=identifier,
        suggestion="Use the CVM's id or UUID.",
    )


def gpu_rental() -> Refusal:
    """The CVM belongs to an on-demand GPU rental."""
    return without_code(403, "This CVM is managed by an on-demand GPU rental")


def operation_in_progress() -> Refusal:
    """Another operation holds the CVM; transient, so without an error code."""
    return without_code(409, "Another operation is in progress")


def final_conflict(identifier: str) -> Refusal:
    """A conflict not resolved by waiting; final, so with an error code."""
    return with_code(
        409,
        "ERR-03-007",
        "The CVM conflicts with another one of the same app",
        field="cvm_id",
        value=identifier,
        suggestion="Resolve the conflict in the dashboard.",
    )


def balance_too_low(balance: str) -> Refusal:
    """The workspace can't pay for a start."""
    return with_code(
        400,
        "ERR-04-001",
        "Insufficient balance",
        field="balance",
        value=balance,
        suggestion="Top up the workspace.",
    )


def workspace_suspended() -> Refusal:
    """The workspace is suspended."""
    return without_code(403, "Workspace is suspended")


def no_gpu(instance_type: str) -> Refusal:
    """No GPU is free for a start."""
    return with_code(
        500,
        "ERR-02-006",
        "GPU allocation failed",
        field="instance_type",
        value=instance_type,
        suggestion="Try again later.",
    )
