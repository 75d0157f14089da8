"""The inventory file: the CVMs of a workspace at one moment, for a spreadsheet or for an offline plan."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from orchestrator.billing.rates import choose_rate, format_amount
from orchestrator.cvm import Cvm, CvmRef
from orchestrator.documented_model import DocumentedModel
from orchestrator.errors import UsageError
from orchestrator.playbook.keep import KeepEntry, KeepList
from orchestrator.playbook.schedule import FIRST_YEAR, LAST_YEAR
from orchestrator.playbook.schema import Protect
from orchestrator.playbook.select import derive_facts, find_protection, rewind_uptime
from orchestrator.times import LONGEST, parse_rfc3339, timestamp

if TYPE_CHECKING:  # the file alone needs no network
    from orchestrator.runs.inventory import InventoryReading

FORMAT: Literal["orchestrator-inventory"] = "orchestrator-inventory"
VERSION: Literal[1] = 1
_MOST_BYTES = 500_000_000

COLUMNS = (
    *("id", "vm_uuid", "name", "app_id", "teepod_id", "teepod", "region", "instance_type", "gpus", "status"),
    *("in_progress", "created_at", "age_s", "uptime_s", "usd_per_hour", "creator", "workspace", "protected_by"),
    "kept_until",
)
"""The keys of a CVM in JSON and CSV, in order. New keys go to the end."""


def describe_cvm(cvm: Cvm, protect: Protect, keep: KeepList | None = None) -> dict[str, Any]:
    """Build the entry of a CVM; an unknown fact is null.

    Args:
        cvm: the CVM, with derived facts.
        protect: the protection of the settings.
        keep: the exemptions; None without any.
    """
    entry = None if keep is None else keep.find_entry(cvm)
    return {
        **cvm.ref.document(),
        "region": cvm.region,
        "instance_type": cvm.instance_type,
        "gpus": cvm.gpus,
        "status": cvm.status,
        "in_progress": cvm.in_progress,
        "created_at": None if cvm.created_at is None else timestamp(cvm.created_at),
        "age_s": None if cvm.age is None else round(cvm.age),
        "uptime_s": None if cvm.uptime is None else round(cvm.uptime),
        "usd_per_hour": _format(cvm.usd_per_hour),
        "creator": cvm.creator or cvm.creator_id,
        "workspace": cvm.workspace,
        "protected_by": find_protection(protect, cvm),
        "kept_until": None if entry is None else timestamp(entry.until),
    }


def build_inventory(reading: "InventoryReading", protect: Protect, keep: KeepList | None = None) -> dict[str, Any]:
    """Build the document of an inventory file, with the further facts that a plan needs."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "read_at": timestamp(reading.read_at),
        "workspace": reading.workspace,
        "cvms": [{**describe_cvm(cvm, protect, keep), **_list_more_facts(cvm)} for cvm in reading.cvms],
    }


def _list_more_facts(cvm: Cvm) -> dict[str, Any]:
    return {
        "creator_username": cvm.creator,
        "creator_id": cvm.creator_id,
        "instance_id": cvm.instance_id,
        "disk_gb": _format(cvm.disk_gb),
        "gpu_rental": cvm.gpu_rental,
        "billing_period": cvm.billing_period,
        "billing_price": _format(cvm.billing_price),
        "hourly_compute": _format(cvm.hourly_compute),
        "hourly_disk": _format(cvm.hourly_disk),
    }


def _format(amount: Decimal | None) -> str | None:
    return None if amount is None else format_amount(amount)


class InventoryCvm(DocumentedModel):
    """A CVM of an inventory file. An unknown fact is null or absent."""

    model_config = ConfigDict(extra="ignore")

    id: str | None = None
    """The hashid `cvm_…`."""
    vm_uuid: str | None = None
    """The UUID."""
    name: str = ""
    """The name."""
    app_id: str | None = None
    """The app: 40 hex digits."""
    teepod_id: int | None = None
    """The number of the teepod."""
    teepod: str | None = None
    """The name of the teepod."""
    region: str | None = None
    """The region of the teepod."""
    instance_type: str | None = None
    """The instance type."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """The number of GPUs."""
    status: str
    """The status."""
    in_progress: bool = False
    """Whether an operation holds the CVM."""
    created_at: str | None = None
    """The time of creation, RFC 3339 in UTC."""
    age_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Seconds since the creation."""
    uptime_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Seconds since the CVM began to run."""
    usd_per_hour: Decimal | None = None
    """The compute price in USD per hour while running."""
    creator: str | None = None
    """The username of the creator, or else the id."""
    workspace: str | None = None
    """The id of the workspace."""
    protected_by: str | None = None
    """The protection of the settings, such as `name kms-*`."""
    kept_until: str | None = None
    """The end of a protection by a person."""
    creator_username: str | None = None
    """The username of the creator."""
    creator_id: str | None = None
    """The id of the creator."""
    instance_id: str | None = None
    """Another identifier of the CVM."""
    disk_gb: Decimal | None = None
    """Provisioned disk in GB."""
    gpu_rental: bool = False
    """Whether an on-demand GPU rental manages the CVM."""
    billing_period: str | None = None
    """`hourly`, `monthly` or `skip`."""
    billing_price: Decimal | None = None
    """The price in USD per billing period."""
    hourly_compute: Decimal | None = None
    """The compute rate in USD per hour."""
    hourly_disk: Decimal | None = None
    """The disk rate in USD per hour."""


class InventoryFile(DocumentedModel):
    """The CVMs of a workspace at one moment, by `orchestrator cvms --save`."""

    model_config = ConfigDict(extra="ignore")

    format: Literal["orchestrator-inventory"]
    """The format of the file."""
    version: Literal[1]
    """The version of the format."""
    read_at: str
    """The time of the read, RFC 3339 in UTC."""
    workspace: str | None = None
    """The id of the workspace."""
    cvms: list[InventoryCvm]
    """The CVMs."""


def inventory_schema() -> dict[str, Any]:
    """Return the JSON Schema of an inventory file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **InventoryFile.model_json_schema()}


@dataclass(frozen=True, slots=True)
class SavedInventory:
    """The CVMs of an inventory file.

    Attributes:
        cvms: the CVMs, with the facts of the file.
        read_at: the time of the read.
        workspace: the id of the workspace; None if unknown.
        keep: the exemptions at the time of the read, by `kept_until`.
    """

    cvms: tuple[Cvm, ...]
    read_at: datetime
    workspace: str | None = None
    keep: tuple[KeepEntry, ...] = ()

    def facts_at(self, moment: datetime) -> tuple[Cvm, ...]:
        """Return the CVMs with their ages, uptimes and prices at a moment; the statuses stay as read."""
        since = (self.read_at - moment).total_seconds()
        return tuple(rewind_uptime(derive_facts(cvm, moment=moment, price_list={}), since) for cvm in self.cvms)


def read_inventory_file(file: Path) -> SavedInventory:
    """Read an inventory file.

    Raises:
        UsageError: when the file can't be read, or is no inventory file of this version.
    """
    hint = "`orchestrator cvms --save FILE` makes an inventory file"
    try:
        with file.open("rb") as opened:  # perhaps a pipe or a device, whose size is not known
            data = opened.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise UsageError(f"the inventory file has more than {_MOST_BYTES:,} bytes", file=file, hint=hint)
        document = json.loads(data)
    except OSError as error:
        raise UsageError(f"the inventory file can't be read: {error.strerror or error}", file=file) from error
    except (ValueError, RecursionError) as error:
        raise UsageError("the inventory file is not JSON", file=file, hint=hint) from error
    return parse_inventory(document, file)


def parse_inventory(document: object, file: Path | None = None) -> SavedInventory:
    """Read the document of an inventory file; errors as in `read_inventory_file`."""
    hint = "`orchestrator cvms --save FILE` makes an inventory file"
    if isinstance(document, Mapping) and document.get("format") == FORMAT and document.get("version") != VERSION:
        message = f"the inventory file has version {document.get('version')!r}, this program reads {VERSION}"
        raise UsageError(message, file=file, hint="make a new file with this program")
    if not isinstance(document, Mapping):
        raise UsageError("invalid inventory file: must be a JSON object", file=file, hint=hint)
    try:
        saved = InventoryFile.model_validate(document)
        return collect_cvms(saved.cvms, _parse_read_at(saved.read_at), saved.workspace)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"invalid inventory file: {place}: {first['msg']}", file=file, hint=hint) from error
    except ValueError as error:
        raise UsageError(f"invalid inventory file: {error}", file=file, hint=hint) from error


def _parse_read_at(text: str) -> datetime:
    """Parse the time of the read; the time of a plan or rehearsal is computed from this time."""
    read_at = parse_rfc3339(text)
    if not FIRST_YEAR <= read_at.year <= LAST_YEAR:
        raise ValueError(f"read_at: the year of {text[:60]!r} is not between {FIRST_YEAR} and {LAST_YEAR}")
    return read_at


def collect_cvms(entries: Iterable[InventoryCvm], read_at: datetime, workspace: str | None = None) -> SavedInventory:
    """Collect the CVMs and the exemptions of inventory entries.

    Raises:
        ValueError: when a time has another form, or two entries have the same identifier.
    """
    cvms: dict[str, Cvm] = {}
    keep = []
    for entry in entries:
        try:
            cvm = _to_cvm(entry, read_at)
            until = None if entry.kept_until is None else parse_rfc3339(entry.kept_until)
        except ValueError as error:
            raise ValueError(f"CVM {entry.name or entry.id!r}: {error}") from error
        if cvm.ref.key in cvms and cvm.ref.key:
            raise ValueError(f"two CVMs have the identifier {cvm.ref.address!r}")
        cvms[cvm.ref.key or f"\0{len(cvms)}"] = cvm
        if until is not None:
            key, value = ("id", cvm.ref.address) if cvm.ref.address else ("name", cvm.ref.name)
            keep.append(KeepEntry(key, value, until, *_EXEMPTION))
    return SavedInventory(tuple(cvms.values()), read_at, workspace, tuple(keep))


_EXEMPTION = ("an exemption", "recorded in the inventory", "inventory file")
"""The owner, the reason and the source of an exemption by `kept_until`."""


def _to_cvm(entry: InventoryCvm, read_at: datetime) -> Cvm:
    created_at = None if entry.created_at is None else parse_rfc3339(entry.created_at)
    if created_at is None and entry.age_s is not None:
        created_at = read_at - timedelta(seconds=min(entry.age_s, LONGEST))
    cvm = Cvm(
        ref=CvmRef.of(entry.model_dump()),
        status=entry.status,
        in_progress=entry.in_progress,
        instance_id=entry.instance_id,
        instance_type=entry.instance_type,
        disk_gb=entry.disk_gb,
        gpus=entry.gpus,
        gpu_rental=entry.gpu_rental,
        billing_period=entry.billing_period,
        billing_price=entry.billing_price,
        hourly_compute=entry.hourly_compute,
        hourly_disk=entry.hourly_disk,
        created_at=created_at,
        workspace=entry.workspace,
        region=entry.region,
        creator=entry.creator_username or (entry.creator if entry.creator_id is None else None),
        creator_id=entry.creator_id,
        uptime=entry.uptime_s,
        age=entry.age_s,
        usd_per_hour=entry.usd_per_hour,
    )
    if choose_rate(cvm, {})[0] is None:  # the price came from the price list, which the file does not have
        return replace(cvm, hourly_compute=entry.usd_per_hour)
    return cvm
