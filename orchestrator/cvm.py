"""A CVM, its identifiers and its status: words for all packages.

Facts of the API: statuses are plain strings, and new statuses may appear; `in_progress` means that an operation holds
the CVM, whatever the status says; UUIDs come with and without dashes; an app_id is written bare, as `0x…` or as
`app_…`. All comparisons use normal forms.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, Self, TypeVar

from orchestrator.value_class import value_class

DOWN = frozenset({"stopped", "exited"})
"""Statuses of a CVM that is down, if no operation is in progress."""

GOING_DOWN = frozenset({"stopping", "shutting_down"})
"""Statuses of a CVM on the way down."""

COMING_UP = frozenset({"starting", "restarting", "creating"})
"""Statuses of a CVM on the way up."""

UP = "running"

HASHID = "cvm_"
"""The beginning of every hashid."""


def normal_uuid(text: str) -> str:
    """Return a UUID without dashes and in lower case, for comparisons."""
    return text.replace("-", "").lower()


def normal_id(text: str) -> str:
    """Return an identifier for comparisons: a hashid as written, a UUID or an instance id in normal form.

    Hashids differ by case and by dashes.
    """
    return text if text.startswith(HASHID) else normal_uuid(text)


def normal_app_id(text: str) -> str:
    """Return an app_id without `0x` or `app_` and in lower case, for comparisons."""
    return text.strip().lower().removeprefix("app_").removeprefix("0x")


def is_down(status: str, *, in_progress: bool) -> bool:
    """Return True if a CVM is stopped or exited, without an operation in progress."""
    return status in DOWN and not in_progress


def is_up(status: str, *, in_progress: bool) -> bool:
    """Return True if a CVM is running, without an operation in progress."""
    return status == UP and not in_progress


@value_class(frozen=True, slots=True)
class CvmRef:
    """Identity and location of a CVM; the `cvm` of every audit record and JSON document.

    Attributes:
        id: the hashid `cvm_…`; None if a legacy list gives no hashid.
        vm_uuid: the UUID in the API's spelling; None during the creation of a CVM.
        name: the CVM's name; not unique, never an address.
        app_id: the CVM's app, in normal form; None if the list gives no app.
        teepod_id: the number of the CVM's teepod (host node).
        teepod: the name of the CVM's teepod.
    """

    id: str | None
    vm_uuid: str | None
    name: str
    app_id: str | None = None
    teepod_id: int | None = None
    teepod: str | None = None

    @property
    def key(self) -> str:
        """The CVM's unique key within a run: the hashid, or else the UUID in normal form."""
        return self.id or normal_uuid(self.vm_uuid or "")

    @property
    def address(self) -> str:
        """The identifier for a request path: the hashid, or else the UUID; never a name or an app_id."""
        return self.id or self.vm_uuid or ""

    @property
    def uuid_key(self) -> str | None:
        """The UUID in normal form, the key in a batch of statuses; None without a UUID."""
        return normal_uuid(self.vm_uuid) if self.vm_uuid else None

    def completed_by(self, other: Self) -> Self:
        """Return this CVM, with missing facts from another read of the same CVM."""
        knows_teepod = self.teepod_id is not None or self.teepod is not None
        return replace(
            self,
            name=self.name or other.name,
            app_id=self.app_id or other.app_id,
            teepod_id=self.teepod_id if knows_teepod else other.teepod_id,
            teepod=self.teepod if knows_teepod else other.teepod,
        )

    def document(self) -> dict[str, object]:
        """Return the form of audit records and JSON documents."""
        return {
            "id": self.id,
            "vm_uuid": self.vm_uuid,
            "name": self.name,
            "app_id": self.app_id,
            "teepod_id": self.teepod_id,
            "teepod": self.teepod,
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read the form of `document`."""
        return cls(
            id=document.get("id"),
            vm_uuid=document.get("vm_uuid"),
            name=document.get("name") or "",
            app_id=document.get("app_id"),
            teepod_id=document.get("teepod_id"),
            teepod=document.get("teepod"),
        )

    @property
    def teepod_key(self) -> str:
        """The unique key of the CVM's teepod; CVMs of an unknown teepod share a key."""
        return str(self.teepod_id) if self.teepod_id is not None else (self.teepod or "")


_T = TypeVar("_T")


class ByCvm(Generic[_T]):
    """Values of CVMs, found by hashid, or by UUID if one of the two lists gave no hashid."""

    def __init__(self, pairs: Iterable[tuple[CvmRef, _T]]) -> None:
        pairs = tuple(pairs)
        self._values = [value for _, value in pairs]
        self._by_key = {key: value for ref, value in pairs for key in (ref.id, ref.uuid_key) if key}

    def find(self, ref: CvmRef) -> _T | None:
        """Return the value of this CVM; None without a value."""
        return next((self._by_key[key] for key in (ref.id, ref.uuid_key) if key and key in self._by_key), None)

    def left_by(self, refs: Iterable[CvmRef]) -> list[_T]:
        """Return the values without a CVM in this list, in order."""
        found = {id(self.find(ref)) for ref in refs}
        return [value for value in self._values if id(value) not in found]


@value_class(frozen=True, slots=True, kw_only=True)
class Cvm:
    """A CVM of the inventory, as read from a list.

    Attributes:
        ref: identity and location.
        status: the API's word for the state, an open set.
        in_progress: whether an operation holds the CVM.
        instance_id: another identifier of the same CVM.
        instance_type: the name in the prices of `GET /instance-types`.
        disk_gb: provisioned disk in GB, billed for running and stopped CVMs.
        gpus: number of GPUs; None if unknown.
        gpu_rental: whether the list marks the CVM as managed by an on-demand GPU rental; such CVMs refuse a stop.
        billing_period: `hourly`, `monthly` or `skip`; None if unknown.
        billing_price: `compute_billing_price` in USD per billing period.
        hourly_compute: `hourly_rate.compute` in USD per hour (newest list shape).
        hourly_disk: `hourly_rate.disk` in USD per hour (newest list shape).
        created_at: time of creation, in UTC; None if unknown.
        workspace: id of the CVM's workspace; None if unknown.
        region: the region of the CVM's teepod; None if unknown.
        creator: the username of the CVM's creator, never an e-mail address; None if unknown.
        creator_id: the id of the CVM's creator; None if unknown.
        uptime: seconds since the CVM began to run; None if unknown. Lists usually have no uptime, statuses do.
        age: seconds since the creation, at the moment of the plan; None if unknown, or before `derive_facts`.
        usd_per_hour: the compute rate while running; None if unknown, or before `derive_facts`.
    """

    ref: CvmRef
    status: str
    in_progress: bool = False
    instance_id: str | None = None
    instance_type: str | None = None
    disk_gb: Decimal | None = None
    gpus: int | None = None
    gpu_rental: bool = False
    billing_period: str | None = None
    billing_price: Decimal | None = None
    hourly_compute: Decimal | None = None
    hourly_disk: Decimal | None = None
    created_at: datetime | None = None
    workspace: str | None = None
    region: str | None = None
    creator: str | None = None
    creator_id: str | None = None
    uptime: float | None = None
    age: float | None = None
    usd_per_hour: Decimal | None = None

    def completed_by(self, other: Self) -> Self:
        """Return this CVM, with missing facts from another read of the same CVM; the status stays."""
        missing = {key: getattr(other, key) for key in _COMPLETED if getattr(self, key) is None}
        return replace(self, ref=self.ref.completed_by(other.ref), **missing)

    @property
    def keys(self) -> list[str]:
        """All known identifiers, in normal form: hashid, UUID and instance id."""
        return [normal_id(each) for each in (self.ref.id, self.ref.vm_uuid, self.instance_id) if each]

    @property
    def down(self) -> bool:
        """Whether the CVM is stopped or exited without an operation in progress."""
        return is_down(self.status, in_progress=self.in_progress)


_COMPLETED = ("instance_type", "gpus", "created_at", "region", "creator", "creator_id", "uptime")
"""Facts of a CVM that the list may lack and the details may have."""
