"""Read Phala Cloud's answers in every API version leniently: unneeded fields are ignored.

There are two list shapes: legacy (`2025-10-28`: `hosted{…}`, `node`, `memory` in MB, `disk_size` in GB) and current
(`id`, `vm_uuid`, `node_info`, `resource`; the newest adds `hourly_rate`, `billing_interval`, `gpu_rental_order`).
Sources: the vendor's OpenAPI document and SDKs. An answer without a needed field raises `ShapeError`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from orchestrator.cvm import HASHID, Cvm, CvmRef, normal_app_id, normal_id, normal_uuid
from orchestrator.reply import BatchStopped, Identity, Page, StatusRead

_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([wdhms])[a-z]*", re.ASCII)
_SEPARATOR = re.compile(r"[\s,]*")
_LONGEST_UPTIME_TEXT = 100
_LONGEST_UPTIME = 100 * 365 * 86400.0
"""Seconds; a longer uptime is an error of the server."""


def read_uptime(value: object) -> float | None:
    """Return seconds; None for a missing or unreadable uptime."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if 0 <= value <= _LONGEST_UPTIME else None
    seconds = (
        _parse_text(value.strip().lower()) if isinstance(value, str) and len(value) <= _LONGEST_UPTIME_TEXT else None
    )
    return seconds if seconds is not None and seconds <= _LONGEST_UPTIME else None


def _parse_text(text: str) -> float | None:
    if not text or _SEPARATOR.fullmatch(_PART.sub("", text)) is None:
        return None
    return float(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))


_ADDRESS = re.compile(r"[A-Za-z0-9_-]{1,128}")
_MOST_CVMS = 10_000_000
_MOST_OF_A_PAGE = 10
"""The most entries on a page, as a multiple of the requested size, for servers with a page size of their own."""
_UNKNOWN = "unknown"


_NUMERIC = (str, int, Decimal)
_LARGEST, _LONGEST = 12, 40
"""The largest power of ten, and the most digits and decimal places, of an amount."""


def is_address(text: str) -> bool:
    """Whether text is safe as an identifier in the path of a request."""
    return _ADDRESS.fullmatch(text) is not None


class ShapeError(ValueError):
    """Raised when an answer does not have the expected shape."""


def read_page(body: Any, page_size: int) -> Page:  # noqa: ANN401 - parsed JSON
    """Read a page of the list, in either shape."""
    body = _require_object(body, "a page of CVMs")
    items, total = body.get("items"), _read_integer(body.get("total"))
    if not isinstance(items, list) or total is None:
        raise ShapeError("a page of CVMs has no `items` or no `total`")
    if len(items) > page_size * _MOST_OF_A_PAGE:
        raise ShapeError(f"a page of CVMs has {len(items)} entries; {page_size} were requested")
    pages = _read_integer(body.get("pages"))
    if pages is None:
        given = _read_integer(body.get("page_size"))
        pages = -(-total // (given if given is not None and given > 0 else page_size))
    if not 0 <= total <= _MOST_CVMS or not 0 <= pages <= _MOST_CVMS:
        raise ShapeError("a page of CVMs has an impossible `total` or `pages`")
    return Page(tuple(read_cvm(item) for item in items), total, pages)


def read_cvms(body: Any) -> tuple[Cvm, ...]:  # noqa: ANN401 - parsed JSON
    """Read an unpaginated list of CVMs, in either shape."""
    if not isinstance(body, list):
        raise ShapeError("the list of CVMs is not a JSON list")
    return tuple(read_cvm(item) for item in body)


def read_workspace(body: Any) -> str:  # noqa: ANN401 - parsed JSON
    """Read the id of the key's workspace; the legacy shape has no workspace id."""
    found = _read_text(_read_part(_require_object(body, "the identity of the key"), "workspace").get("id"))
    if found is None:
        raise ShapeError("the answer has no workspace id")
    return found


def read_identity(body: Any) -> Identity:  # noqa: ANN401 - parsed JSON
    """Read the user and the workspace of the key, in either shape; leave out names with an e-mail address."""
    body = _require_object(body, "the identity of the key")
    user, workspace = _read_part(body, "user"), _read_part(body, "workspace")
    return Identity(
        user=_read_user(user.get("username")) or _read_user(body.get("username")),
        workspace=_read_user(workspace.get("name")) or _read_user(body.get("team_name")),
        workspace_id=_read_text(workspace.get("id")),
    )


def read_cvm(item: Any) -> Cvm:  # noqa: ANN401 - parsed JSON
    """Read a CVM of a list, in either shape."""
    item = _require_object(item, "a CVM in the list")
    # A CVM without a status must not hide all other CVMs; `unknown` never counts as settled.
    status = _read_text(item.get("status")) or _UNKNOWN
    return _read_legacy_cvm(item, status) if isinstance(item.get("hosted"), dict) else _read_current_cvm(item, status)


def read_detail(body: Any, ref: CvmRef) -> Cvm:  # noqa: ANN401 - parsed JSON
    """Read the details of a CVM, and check the CVM against `ref`."""
    cvm = read_cvm(body)
    pairs = ((cvm.ref.id, ref.id), (cvm.ref.uuid_key, ref.uuid_key))
    same = [given == wanted for given, wanted in pairs if given and wanted]
    if not same or not all(same):
        raise ShapeError("the details are about another CVM")
    return cvm


def read_detail_of(body: Any, cvm_id: str) -> tuple[Cvm, ...]:  # noqa: ANN401 - parsed JSON
    """Read the details of a CVM by one of its identifiers; empty if the details are about another CVM.

    A legacy answer has no hashid, so the hashid of the request is the CVM's: no app and no name of a CVM is a hashid.
    """
    cvm = read_cvm(body)
    if cvm.ref.id is None and cvm_id.startswith(HASHID):
        return (replace(cvm, ref=replace(cvm.ref, id=cvm_id)),) if cvm.ref.name != cvm_id else ()
    return (cvm,) if normal_id(cvm_id) in cvm.keys else ()


def _read_legacy_cvm(item: dict[str, Any], status: str) -> Cvm:
    hosted = item["hosted"]
    node = _read_part(item, "node") or _read_part(item, "teepod")
    creator, creator_id = _read_creator(item.get("creator") or item.get("managed_user"))
    return Cvm(
        ref=_read_ref(None, hosted.get("id"), item.get("name") or hosted.get("name"), hosted.get("app_id"), node),
        status=status,
        in_progress=bool(item.get("in_progress")),
        instance_id=_read_text(hosted.get("instance_id")),
        disk_gb=_read_decimal(item.get("disk_size")),
        gpus=_count_legacy_gpus(hosted),
        billing_period=_read_text(item.get("billing_period")),
        created_at=_read_moment(item.get("created_at")),
        instance_type=_read_text(item.get("instance_type")),
        region=_read_region(node),
        uptime=read_uptime(hosted.get("uptime")),
        creator=creator,
        creator_id=creator_id,
    )


def _count_legacy_gpus(hosted: dict[str, Any]) -> int | None:
    listed = _read_part(_read_part(hosted, "configuration"), "gpus").get("gpus")
    return len(listed) if isinstance(listed, list) else None


def _read_creator(value: Any) -> tuple[str | None, str | None]:  # noqa: ANN401 - parsed JSON
    """Read the username and the id of a creator."""
    if value is None:  # as in most answers
        return None, None
    part = value if isinstance(value, dict) else {"username": value}
    return _read_user(part.get("username")), _read_user(part.get("id"))


def _read_user(value: object) -> str | None:
    """Read a username, a workspace name or an id; None for an e-mail address, as personal data."""
    number = _read_integer(value)
    text = _read_text(value) if number is None else str(number)
    return text if text and "@" not in text else None


def _read_region(node: dict[str, Any]) -> str | None:
    return _read_text(node.get("region")) or _read_text(node.get("region_identifier"))


def _read_current_cvm(item: dict[str, Any], status: str) -> Cvm:
    resource, rate = _read_part(item, "resource"), _read_part(item, "hourly_rate")
    node = _read_part(item, "node_info") or _read_part(item, "teepod") or {"id": item.get("teepod_id")}
    creator, creator_id = _read_creator(item.get("creator"))
    return Cvm(
        ref=_read_ref(item.get("id"), item.get("vm_uuid"), item.get("name"), item.get("app_id"), node),
        status=status,
        in_progress=bool(item.get("in_progress")),
        instance_id=_read_text(item.get("instance_id")),
        instance_type=_read_text(resource.get("instance_type")) or _read_text(item.get("instance_type")),
        disk_gb=_read_decimal(resource.get("disk_in_gb")),
        gpus=_read_count(resource.get("gpus")),
        gpu_rental=bool(item.get("gpu_rental_order")),
        billing_period=_read_text(resource.get("billing_period")) or _read_text(item.get("billing_interval")),
        billing_price=_read_decimal(resource.get("compute_billing_price")),
        hourly_compute=_read_decimal(rate.get("compute")),
        hourly_disk=_read_decimal(rate.get("disk")),
        created_at=_read_moment(item.get("created_at")),
        workspace=_read_text(_read_part(item, "workspace").get("id")),
        region=_read_region(node),
        uptime=read_uptime(item.get("uptime")),
        creator=creator,
        creator_id=creator_id,
    )


def _read_moment(value: Any) -> datetime | None:  # noqa: ANN401 - parsed JSON
    """Read a time as UTC; a time without an offset is in UTC. Return None for other values."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        return None if found is None else (found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def _read_ref(hashid: Any, uuid: Any, name: Any, app_id: Any, node: dict[str, Any]) -> CvmRef:  # noqa: ANN401 - parsed JSON
    app = _read_text(app_id)
    return CvmRef(
        id=_read_address(hashid),
        vm_uuid=_read_address(uuid),
        name=_read_text(name) or "",
        app_id=normal_app_id(app) if app else None,
        teepod_id=_read_integer(node.get("id")),
        teepod=_read_text(node.get("name")),
    )


def read_status(body: Any) -> StatusRead:  # noqa: ANN401 - parsed JSON
    """Read the status of a CVM from a state, a status or the answer to an action."""
    body = _require_object(body, "the status entry")
    status = body.get("status")
    if not isinstance(status, str) or not status:
        raise ShapeError("the status entry has no `status` field")
    uptime = read_uptime(body.get("uptime"))
    return StatusRead(status, bool(body.get("in_progress")), _read_text(body.get("boot_error")), uptime)


def read_statuses(body: Any) -> Mapping[str, StatusRead]:  # noqa: ANN401 - parsed JSON
    """Read a batch of statuses by UUID in normal form; skip unreadable entries, so the caller reads the CVM again."""
    found = {}
    for uuid, entry in _require_object(body, "a batch of statuses").items():
        try:
            found[normal_uuid(uuid)] = read_status(entry)
        except ShapeError:
            continue
    return found


def read_action_answer(body: Any, ref: CvmRef) -> StatusRead:  # noqa: ANN401 - parsed JSON
    """Read the status in the answer to an action on `ref`.

    The `id` of the answer is an integer in the vendor's document and a string in its newest SDK. So the CVM is
    compared by UUID.
    """
    body = _require_object(body, "the answer to an action")
    uuid = _read_text(body.get("vm_uuid"))
    if uuid and ref.uuid_key and normal_uuid(uuid) != ref.uuid_key:
        raise ShapeError(f"the answer is about another CVM: {uuid[:100]}")
    return read_status(body)


def read_batch_stop(body: Any) -> BatchStopped:  # noqa: ANN401 - parsed JSON
    """Read the summary of a batch stop."""
    body = _require_object(body, "the summary of a batch stop")
    stopped, skipped, listed = (
        _read_integer(body.get("stopped")),
        _read_integer(body.get("skipped")),
        body.get("errors") or [],
    )
    if stopped is None or skipped is None or not isinstance(listed, list):
        raise ShapeError("the summary of a batch stop has no `stopped`, no `skipped` or no list of `errors`")
    errors = {}
    for entry in listed:
        hashid = _read_text(entry.get("cvm_id")) if isinstance(entry, dict) else None
        if hashid is None:
            raise ShapeError("an error in the summary of a batch stop has no `cvm_id`")
        errors[hashid] = _read_text(entry.get("error")) or "no error text"
    return BatchStopped(stopped, skipped, errors)


def read_price_list(body: Any) -> Mapping[str, Decimal]:  # noqa: ANN401 - parsed JSON
    """Read the price list: USD per hour by instance type."""
    prices: dict[str, Decimal] = {}
    families = _require_object(body, "the price list").get("result")
    for family in families if isinstance(families, list) else ():
        items = family.get("items") if isinstance(family, dict) else None
        for item in items if isinstance(items, list) else ():
            price = _read_decimal(item.get("hourly_rate")) if isinstance(item, dict) else None
            if price is not None and isinstance(item.get("id"), str):
                prices[item["id"]] = price
    return prices


def _require_object(value: Any, what: str) -> dict[str, Any]:  # noqa: ANN401 - parsed JSON
    if not isinstance(value, dict):
        raise ShapeError(f"{what} is not a JSON object")
    return value


def _read_part(value: dict[str, Any], key: str) -> dict[str, Any]:
    part = value.get(key)
    return part if isinstance(part, dict) else {}


def _read_text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _read_address(value: object) -> str | None:
    """Read an identifier safe for the path of a request; None for other values."""
    return value if isinstance(value, str) and is_address(value) else None


def _read_integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _read_count(value: object) -> int | None:
    number = _read_integer(value)
    return number if number is not None and number >= 0 else None


def _read_decimal(value: object) -> Decimal | None:
    return _parse_decimal(value) if isinstance(value, _NUMERIC) and not isinstance(value, bool) else None


@lru_cache(maxsize=1024, typed=True)  # thousands of CVMs have the same few prices and sizes of disks
def _parse_decimal(value: str | int | Decimal) -> Decimal | None:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    digits = len(number.as_tuple().digits)
    places = digits - 1 - number.adjusted()
    # A number beyond these bounds is neither money nor a disk size, and writing it out could take gigabytes.
    sane = number.is_finite() and number.adjusted() <= _LARGEST and max(digits, places) <= _LONGEST
    return abs(number) if sane and number >= 0 else None
