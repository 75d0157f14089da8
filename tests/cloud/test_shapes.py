"""The shapes of answers: both lists, what may be missing, and what must never break the reading."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from orchestrator.cloud.wire import ShapeError, read_action_answer, read_cvm, read_page, read_price_list, read_statuses
from orchestrator.cvm import CvmRef
from orchestrator.reply import StatusRead
from tests.cloud.fakes import REF, UUID, ask

LEGACY = {
    "name": "dev-1",
    "status": "running",
    "hosted": {"id": UUID, "app_id": "0xAB", "instance_id": "i1", "configuration": {"gpus": {"gpus": [{}, {}]}}},
    "node": {"id": 3, "name": "prod-3"},
    "disk_size": 40,
    "billing_period": "hourly",
}
CURRENT = {
    "id": "cvm_1",
    "vm_uuid": UUID,
    "app_id": "app_AB",
    "instance_id": "i1",
    "name": "dev-1",
    "status": "running",
    "in_progress": True,
    "node_info": {"id": 3, "name": "prod-3", "region": "x"},
    "resource": {
        "instance_type": "tdx.small",
        "disk_in_gb": 40,
        "gpus": 2,
        "compute_billing_price": "0.058000",
        "billing_period": "hourly",
    },
    "hourly_rate": {"total": "0.07", "compute": "0.06", "disk": "0.01"},
    "gpu_rental_order": {"id": 1},
    "something_new": [1, {}],
}


def test_a_legacy_entry_is_read() -> None:
    cvm = read_cvm(LEGACY)
    assert cvm.ref == CvmRef(None, UUID, "dev-1", "ab", 3, "prod-3")
    assert (cvm.disk_gb, cvm.gpus, cvm.billing_period, cvm.in_progress, cvm.instance_id) == (
        Decimal(40),
        2,
        "hourly",
        False,
        "i1",
    )


def test_a_current_entry_is_read_and_what_is_new_is_ignored() -> None:
    cvm = read_cvm(CURRENT)
    assert cvm.ref == CvmRef("cvm_1", UUID, "dev-1", "ab", 3, "prod-3")
    assert (cvm.billing_price, cvm.hourly_compute, cvm.hourly_disk) == (
        Decimal("0.058"),
        Decimal("0.06"),
        Decimal("0.01"),
    )
    assert (cvm.disk_gb, cvm.gpus, cvm.gpu_rental, cvm.in_progress, cvm.instance_type) == (
        Decimal(40),
        2,
        True,
        True,
        "tdx.small",
    )


def test_what_is_missing_or_null_is_unknown() -> None:
    entries: list[dict[str, object]] = [
        {},
        dict.fromkeys(CURRENT),
        {"hosted": {}},
        {"hosted": dict.fromkeys(LEGACY)},
        {"status": ""},
    ]
    for entry in entries:
        cvm = read_cvm(entry)
        assert (cvm.ref, cvm.status) == (CvmRef(None, None, ""), "unknown")
        assert (cvm.disk_gb, cvm.gpus, cvm.hourly_compute, cvm.billing_price) == (None, None, None, None)


@pytest.mark.parametrize("bad", ["", "..", "a/b", "a b", "a\0", "é", "x" * 1_000_000, 5, None, ["cvm_1"], "\ud800"])
def test_an_identifier_that_could_not_stand_in_a_path_is_none(bad: object) -> None:
    assert read_cvm({**CURRENT, "id": bad, "vm_uuid": bad}).ref.address == ""
    assert read_cvm({**LEGACY, "hosted": {"id": bad}}).ref.address == ""


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("0.058000", "0.058"),
        (0, "0"),
        ("-0", "0"),
        (Decimal("0.1"), "0.1"),
        ("-1", None),
        ("NaN", None),
        ("sNaN", None),
        ("Infinity", None),
        ("1e999999999999", None),
        ("1e-999999999999", None),
        ("9" * 5000, None),
        ("", None),
        ("free", None),
        (True, None),
        (None, None),
        (["1"], None),
    ],
)
def test_money_is_a_sane_decimal_or_unknown(written: object, amount: str | None) -> None:
    cvm = read_cvm({**CURRENT, "hourly_rate": {"compute": written}})
    assert cvm.hourly_compute == (None if amount is None else Decimal(amount))
    assert cvm.hourly_compute is None or not cvm.hourly_compute.is_signed()


@pytest.mark.parametrize(
    ("more", "pages"),
    [
        ({"total": 0, "pages": 0}, 0),
        ({"total": 101, "pages": 2}, 2),
        ({"total": 101}, 2),
        ({"total": 101, "page_size": 50}, 3),
        ({"total": 101, "page_size": 0}, 2),
        ({"total": 101, "page_size": -5}, 2),
        ({"total": 101, "pages": None}, 2),
    ],
)
def test_pages_are_counted_where_they_are_not_given(more: dict[str, Any], pages: int) -> None:
    assert read_page({"items": [CURRENT, LEGACY], **more}, 100).pages == pages


@pytest.mark.parametrize(
    "body",
    [
        [],
        None,
        {},
        {"items": []},
        {"items": {}, "total": 1},
        {"items": [], "total": "1"},
        {"items": [], "total": True},
        {"items": [], "total": -1},
        {"items": [], "total": 10**400},
        {"items": [], "total": 1, "pages": 10**9},
        {"items": [], "total": 1, "pages": -1},
        {"items": [5], "total": 1},
    ],
)
def test_a_page_that_makes_no_sense_is_refused(body: object) -> None:
    with pytest.raises(ShapeError):
        read_page(body, 100)


def test_a_batch_is_keyed_by_uuid_in_normal_form_and_leaves_out_what_can_not_be_read() -> None:
    body = {
        UUID.upper(): {"status": "stopped"},
        "b": {"status": "running", "in_progress": True, "boot_error": "no disk"},
        "c": {"status": None},
        "d": None,
        "e": "stopped",
    }
    assert read_statuses(body) == {
        UUID.replace("-", ""): StatusRead("stopped"),
        "b": StatusRead("running", in_progress=True, error="no disk"),
    }


@pytest.mark.parametrize("vm_uuid", [UUID, UUID.replace("-", ""), UUID.upper(), None, ""])
@pytest.mark.parametrize("number", [1, "cvm_1", "1", None])
def test_a_stop_is_told_by_uuid_in_any_spelling_and_its_id_does_not_matter(vm_uuid: str | None, number: object) -> None:
    assert read_action_answer({"id": number, "vm_uuid": vm_uuid, "status": "stopping"}, REF).status == "stopping"


@pytest.mark.anyio
async def test_an_answer_about_another_cvm_is_not_taken_for_this_one() -> None:
    body = {"id": 1, "vm_uuid": UUID.replace("f", "e"), "status": "stopped"}
    reply = await ask("stop", 200, json.dumps(body).encode())
    assert (reply.value, reply.http_status) == (None, 200)
    assert "another CVM" in (reply.problem or "")


def test_prices_are_read_leniently() -> None:
    items = [{"id": "a", "hourly_rate": "0.1"}, {"id": 5, "hourly_rate": "1"}, {"id": "b", "hourly_rate": "x"}, None]
    assert read_price_list({"result": [{"items": items}, {"items": None}, None]}) == {"a": Decimal("0.1")}
    assert read_price_list({"result": None}) == {}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.25+02:00", datetime(2026, 1, 2, 1, 4, 5, 250_000, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("soon", None),
        (17, None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_the_moment_of_creation_is_read_in_utc_or_is_unknown(text: object, moment: datetime | None) -> None:
    assert read_cvm({**CURRENT, "created_at": text}).created_at == moment
