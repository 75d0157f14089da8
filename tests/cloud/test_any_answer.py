"""Whatever comes back from any operation: a reply, never an exception."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.reply import Reply
from tests.cloud.fakes import OPERATIONS, UUID, ask

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=8),
    st.sampled_from([UUID, "cvm_1", "running", "1e999999999999", "-1", "\ud800"]),
)
KEYS = st.sampled_from(
    [
        *(
            "items",
            "total",
            "pages",
            "page_size",
            "status",
            "in_progress",
            "hosted",
            "node",
            "node_info",
            "resource",
            "id",
        ),
        *(
            "vm_uuid",
            "app_id",
            "name",
            "gpus",
            "configuration",
            "hourly_rate",
            "compute",
            "disk",
            "disk_in_gb",
            "result",
        ),
        *("detail", "error_code", "message", "suggestions", "request_id", "loc", "msg", "boot_error", UUID),
    ],
)
BODIES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=6)),
    max_leaves=20,
)
NASTY = [
    b'{"total": NaN, "items": []}',
    b'{"total": Infinity, "items": []}',
    b'{"items": [], "total": 1e99999999999999999999}',
    b'{"items": [], "total": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b"\xff\xfe{\x00}\x00",
    b"\x00",
    b'{"status": "\\ud800"}',
    b'{"status": "a", "status": "b"}',
]
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "x-request-id", "location", "content-type", "date"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    max_size=3,
)


@pytest.mark.anyio
@pytest.mark.parametrize("operation", OPERATIONS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    status=st.sampled_from([200, 200, 200, 201, 204, 302, 401, 404, 409, 422, 429, 500, 503, 599]),
    body=st.one_of(st.binary(max_size=40), st.sampled_from(NASTY), BODIES.map(lambda body: json.dumps(body).encode())),
    headers=HEADERS,
)
async def test_any_answer_to_any_operation_gives_a_reply(
    operation: str, status: int, body: bytes, headers: dict[str, str]
) -> None:
    reply = await ask(operation, status, body, headers)
    assert isinstance(reply, Reply)
    assert (reply.http_status, reply.sent) == (status, True)
    assert (reply.value is None) == (reply.problem is not None)
    assert reply.value is None or status < 300
    assert reply.retry_after is None or 0 <= reply.retry_after < float("inf")
