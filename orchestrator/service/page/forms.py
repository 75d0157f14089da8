"""Read the forms of the page: small, and in the encoding of forms only."""

from urllib.parse import parse_qsl

import anyio
from starlette.requests import Request

_MOST_BYTES = 16_384
_MOST_FIELDS = 20
_FORM_SECONDS = 10.0
_TOO_LARGE, _UNSUPPORTED, _BAD_REQUEST, _TIMEOUT = 413, 415, 400, 408


class FormError(Exception):
    """Raised for a form in another form.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


async def read_form(request: Request, seconds: float = _FORM_SECONDS) -> dict[str, str]:
    """Read the fields of a form; of a repeated field, the last value.

    Args:
        request: the request.
        seconds: time limit for the whole form.

    Raises:
        FormError: when the form is too large or too slow, or has another encoding.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise FormError("The form has another encoding.", _UNSUPPORTED)
    data = b""
    try:
        with anyio.fail_after(seconds):
            async for chunk in request.stream():
                data += chunk
                if len(data) > _MOST_BYTES:
                    raise FormError("The form is too large.", _TOO_LARGE)
    except TimeoutError as error:
        raise FormError("The form took too long. Send the form again.", _TIMEOUT) from error
    try:
        return dict(
            parse_qsl(data.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
        )
    except ValueError as error:
        raise FormError("The form can't be read.", _BAD_REQUEST) from error


def is_local_path(path: str) -> bool:
    """Check for the address of a page of this service: a redirect must not lead elsewhere."""
    return path.startswith("/") and not path.startswith("//") and path.isprintable() and "\\" not in path
