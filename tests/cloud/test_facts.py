"""The facts of a CVM in answers: creator, region, uptime; a malformed fact is unknown."""

import pytest

from orchestrator.cloud.wire import read_cvm, read_identity, read_statuses, read_uptime
from orchestrator.reply import Identity
from tests.cloud.fakes import UUID
from tests.cloud.test_shapes import CURRENT, LEGACY

_BAD_UPTIMES: list[object] = ["", "soon", "8d and more", "-3s", -3, True, None, [], "9" * 200, "999999999d", 1e300]
_BAD_CREATORS: list[object] = [None, [], {}, {"id": [], "username": {}}]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("8d 12h 4s", 8 * 86400 + 12 * 3600 + 4),
        ("3 minutes, 2 seconds", 182),
        ("1w", 604800),
        ("0s", 0),
        (90, 90),
        (1.5, 1.5),
        *((bad, None) for bad in _BAD_UPTIMES),
    ],
)
def test_an_uptime_is_text_or_seconds_and_anything_else_is_unknown(value: object, seconds: float | None) -> None:
    assert read_uptime(value) == seconds


def test_statuses_bring_the_uptime() -> None:
    (read,) = read_statuses({UUID: {"status": "running", "uptime": "2m 3s"}}).values()
    assert read.uptime == 123


@pytest.mark.parametrize(
    ("creator", "read"),
    [
        ({"id": "usr_1", "username": "jane"}, ("jane", "usr_1")),
        ({"id": 7, "username": None}, (None, "7")),
        ({"id": "usr_1", "username": "jane@example.com"}, (None, "usr_1")),
        ("jane", ("jane", None)),
        ("jane@example.com", (None, None)),
        *((bad, (None, None)) for bad in _BAD_CREATORS),
    ],
)
def test_a_creator_has_a_username_and_an_id_and_never_an_e_mail_address(
    creator: object, read: tuple[str | None, str | None]
) -> None:
    cvm = read_cvm(CURRENT | {"creator": creator})
    assert (cvm.creator, cvm.creator_id) == read


def test_both_shapes_name_the_region() -> None:
    assert read_cvm(CURRENT).region == "x"
    assert read_cvm(LEGACY | {"node": {"id": 3, "region_identifier": "eu"}}).region == "eu"
    assert read_cvm(CURRENT | {"node_info": {"region": 5}, "resource": {"gpus": -1}}).region is None


@pytest.mark.parametrize(
    "body",
    [
        {"user": {"username": "jane@example.com"}, "workspace": {"id": "ws_1", "name": "jane@example.com's fleet"}},
        {"username": "jane@example.com", "team_name": "jane@example.com", "workspace": {"id": "ws_1"}},
    ],
)
def test_the_owner_of_a_key_is_never_an_email_address(body: object) -> None:
    assert read_identity(body) == Identity(user=None, workspace=None, workspace_id="ws_1")
