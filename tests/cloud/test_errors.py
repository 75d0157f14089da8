"""What is made of an answer that is no success."""

import pytest

from orchestrator.cloud.http import MOST_WORDS
from tests.cloud.fakes import ask

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (404, '{"detail": "CVM not found"}', "HTTP 404: CVM not found"),
        (404, '{"error_code": "ERR-03-001", "message": "No such CVM."}', "HTTP 404 ERR-03-001: No such CVM."),
        (
            409,
            '{"error_code": "E", "message": "Busy.", "suggestions": ["Wait.", 5, "Ask."]}',
            "HTTP 409 E: Busy. Wait. Ask.",
        ),
        (409, '{"detail": {"error_code": "E", "message": "Busy."}}', "HTTP 409 E: Busy."),
        (409, '{"detail": {"error_code": "", "message": ""}}', "HTTP 409: Conflict"),
        (
            422,
            '{"detail": [{"loc": ["body", "vm_uuids", 0], "msg": "bad", "type": "t"}, {"msg": "worse"}, "x", 5, null]}',
            "HTTP 422: body.vm_uuids.0: bad; worse; x; no error text; no error text",
        ),
        (422, '{"detail": []}', "HTTP 422: Unprocessable"),
        (403, '{"detail": 5}', "HTTP 403: Forbidden"),
        (403, '{"message": 5, "detail": "rented"}', "HTTP 403: rented"),
        (500, "", "HTTP 500: Internal Server Error"),
        (502, "<html>Bad Gateway</html>\n", "HTTP 502: <html>Bad Gateway</html>"),
        (503, "[]", "HTTP 503: Service Unavailable"),
        (503, "null", "HTTP 503: Service Unavailable"),
        (503, '"text"', "HTTP 503: Service Unavailable"),
        (599, "", "HTTP 599: no error text"),
        (200, "", "HTTP 200: the body is not JSON: (empty)"),
        (204, "", "HTTP 204: the body is not JSON: (empty)"),
        (200, "<html>", "HTTP 200: the body is not JSON: <html>"),
        (200, "[]", "HTTP 200: can't read the body: the answer to an action is not a JSON object"),
        (200, "{}", "HTTP 200: can't read the body: the status entry has no `status` field"),
        (200, '{"status": null}', "HTTP 200: can't read the body: the status entry has no `status` field"),
    ],
)
async def test_an_error_is_told_in_the_api_s_own_words(status: int, body: str, problem: str) -> None:
    reply = await ask("stop", status, body.encode())
    assert (reply.value, reply.http_status, reply.sent) == (None, status, True)
    assert (reply.problem or "").startswith(problem)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"error_code": "ERR-03-001"}', "ERR-03-001"),
        ('{"detail": {"error_code": "ERR-03-001"}}', "ERR-03-001"),
        ('{"detail": "ERR-03-001"}', None),
        ('{"error_code": 5}', None),
        ('{"error_code": ""}', None),
        ('[{"error_code": "E"}]', None),
        ("", None),
    ],
)
async def test_an_error_code_is_found_at_the_top_or_in_the_detail(body: str, code: str | None) -> None:
    assert (await ask("stop", 409, body.encode())).error_code == code


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("9" * 400, 999999999),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("5, 7", None),
        ("Mon, 23 Nov 2026 08:00:30 GMT", 30),
        ("Mon, 23 Nov 2026 08:00:30", 30),
        ("Mon, 23 Nov 2026 07:00:00 GMT", 0),
        ("Mon, 23 Nov 2026 09:00:10 +0100", 10),
        ("Mon, 23 Nov 99999 08:00:30 GMT", None),
        ("Mon, 99 Nov 2026 08:00:30 GMT", None),
        ("Mon, 23 Nov 2026 08:00:30 +9999", None),
    ],
)
async def test_retry_after_is_seconds_or_a_date_by_the_server_s_own_clock(written: str, seconds: float | None) -> None:
    headers = {"retry-after": written, "date": "Mon, 23 Nov 2026 08:00:00 GMT"}
    assert (await ask("stop", 429, b"", headers)).retry_after == seconds


async def test_a_retry_after_date_without_the_server_s_date_is_read_by_this_clock() -> None:
    far = {"retry-after": "Mon, 23 Nov 2099 08:00:00 GMT"}
    assert ((await ask("stop", 429, b"", far)).retry_after or 0) > 86400
    assert (await ask("stop", 429, b"", {"retry-after": "Mon, 23 Nov 1999 08:00:00 GMT"})).retry_after == 0
    assert (await ask("stop", 429, b"", {**far, "date": "garbage"})).retry_after is not None


@pytest.mark.parametrize(
    ("headers", "body", "found"),
    [
        ({"X-Request-ID": "r1"}, "{}", "r1"),
        ({"X-Request-ID": "r1"}, '{"request_id": "r2"}', "r1"),
        ({}, '{"request_id": "r2"}', "r2"),
        ({"X-Request-ID": ""}, '{"request_id": "r2"}', "r2"),
        ({}, '{"detail": {"request_id": "r3"}}', "r3"),
        ({}, '{"request_id": 5}', None),
        ({}, "", None),
    ],
)
async def test_the_request_id_comes_from_the_header_else_from_the_body(
    headers: dict[str, str], body: str, found: str | None
) -> None:
    for status in (200, 503):
        assert (await ask("stop", status, body.encode(), headers)).request_id == found


LONG = "x" * 1_000_000


@pytest.mark.parametrize("status", [200, 422])
@pytest.mark.parametrize(
    "body",
    [
        LONG,
        f'{{"detail": "{LONG}"}}',
        f'{{"message": "{LONG}", "error_code": "{LONG}", "request_id": "{LONG}"}}',
        '{"detail": [' + ", ".join(['{"msg": "no"}'] * 50_000) + "]}",
        f'{{"vm_uuid": "{LONG}", "status": "{LONG}"}}',
    ],
    ids=["text", "detail", "message", "findings", "another CVM"],
)
async def test_an_error_is_logged_whole_and_what_names_it_is_cut(status: int, body: str) -> None:
    reply = await ask("stop", status, body.encode())
    assert reply.problem is not None
    assert len(reply.problem) <= MOST_WORDS
    assert len(reply.error_code or "") <= 200
    assert len(reply.request_id or "") <= 200
    if status == 422 and '"vm_uuid"' not in body and LONG in body:
        assert LONG in reply.problem


@pytest.mark.parametrize("depth", [3, 100, 5000, 100_000])
async def test_details_within_details_are_no_way_to_break_the_reading(depth: int) -> None:
    reply = await ask("stop", 500, b'{"detail": ' * depth + b"1" + b"}" * depth)
    assert (reply.http_status, reply.value) == (500, None)
    assert reply.problem
