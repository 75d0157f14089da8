"""The words everybody uses: a CVM, its identifiers and its status.

Facts of the API that live here: statuses are plain strings and more may come; `in_progress` means that an operation
still holds the CVM whatever its status says; UUIDs come with and without dashes; an app_id is written bare, `0x…` or
`app_…`. Everything is compared in its normal form.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, Self, TypeVar

DOWN = frozenset({"stopped", "exited"})
"""The statuses in which a CVM is down, once nothing is in progress any more."""

GOING_DOWN = frozenset({"stopping", "shutting_down"})
"""The statuses of a CVM on its way down."""

COMING_UP = frozenset({"starting", "restarting", "creating"})
"""The statuses of a CVM on its way up."""

UP = "running"


def normal_uuid(text: str) -> str:
    """A UUID without dashes and in lower case, the form in which two of them are compared."""
    return text.replace("-", "").lower()


def normal_app_id(text: str) -> str:
    """An app_id without `0x` or `app_` and in lower case, the form in which two of them are compared."""
    return text.strip().lower().removeprefix("app_").removeprefix("0x")


def is_down(status: str, *, in_progress: bool) -> bool:
    """Whether a CVM of this status is down for good: stopped or exited, and no operation holds it."""
    return status in DOWN and not in_progress


def is_up(status: str, *, in_progress: bool) -> bool:
    """Whether a CVM of this status runs, and no operation holds it."""
    return status == UP and not in_progress


@dataclass(frozen=True, slots=True)
class CvmRef:
    """What identifies a CVM and says where it runs; the `cvm` of every audit record and JSON document.

    Attributes:
        id: the hashid `cvm_…`; None where a legacy list gives none.
        vm_uuid: the UUID as the API wrote it; None while a CVM is being created.
        name: the CVM's name; not unique, never an address.
        app_id: the app it belongs to, in normal form; None where the list gives none.
        teepod_id: the number of its teepod (host node).
        teepod: the name of its teepod.
    """

    id: str | None
    vm_uuid: str | None
    name: str
    app_id: str | None = None
    teepod_id: int | None = None
    teepod: str | None = None

    @property
    def key(self) -> str:
        """What tells this CVM from every other within one run: its hashid, else its UUID in normal form."""
        return self.id or normal_uuid(self.vm_uuid or "")

    @property
    def address(self) -> str:
        """The identifier to put into a request path: the hashid, else the UUID; never a name or an app_id."""
        return self.id or self.vm_uuid or ""

    @property
    def uuid_key(self) -> str | None:
        """The UUID in normal form, under which a batch of statuses answers; None while there is none."""
        return normal_uuid(self.vm_uuid) if self.vm_uuid else None

    def completed_by(self, other: Self) -> Self:
        """This CVM, with what it lacks taken from another reading of the same CVM."""
        knows_teepod = self.teepod_id is not None or self.teepod is not None
        return replace(
            self,
            name=self.name or other.name,
            app_id=self.app_id or other.app_id,
            teepod_id=self.teepod_id if knows_teepod else other.teepod_id,
            teepod=self.teepod if knows_teepod else other.teepod,
        )

    def document(self) -> dict[str, object]:
        """As every audit record and JSON document has it."""
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
        """The CVM that `document` wrote."""
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
        """What tells its teepod from every other; one shared key for CVMs whose teepod is unknown."""
        return str(self.teepod_id) if self.teepod_id is not None else (self.teepod or "")


_T = TypeVar("_T")


class ByCvm(Generic[_T]):
    """Things that belong to CVMs each, found again by hashid, and by UUID where one of the two lists gave no hashid."""

    def __init__(self, pairs: Iterable[tuple[CvmRef, _T]]) -> None:
        pairs = tuple(pairs)
        self._values = [value for _, value in pairs]
        self._by_key = {key: value for ref, value in pairs for key in (ref.id, ref.uuid_key) if key}

    def find(self, ref: CvmRef) -> _T | None:
        """What belongs to this CVM; None for nothing."""
        return next((self._by_key[key] for key in (ref.id, ref.uuid_key) if key and key in self._by_key), None)

    def left_by(self, refs: Iterable[CvmRef]) -> list[_T]:
        """What belongs to none of these CVMs, in order."""
        found = {id(self.find(ref)) for ref in refs}
        return [value for value in self._values if id(value) not in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cvm:
    """One CVM of the inventory, as a list showed it.

    Attributes:
        ref: what identifies it.
        status: the API's word for its state, an open set.
        in_progress: whether an operation holds it.
        instance_id: another identifier of the same CVM.
        instance_type: the name under which `GET /instance-types` prices it.
        disk_gb: provisioned disk in GB, which is billed whether the CVM runs or not.
        gpus: number of GPUs; None where the list does not say.
        gpu_rental: whether the list marks it as managed by an on-demand GPU rental, whose CVMs refuse a stop.
        billing_period: `hourly`, `monthly` or `skip`; None where the list does not say.
        billing_price: `compute_billing_price` in USD per billing period.
        hourly_compute: `hourly_rate.compute` in USD per hour (newest list shape).
        hourly_disk: `hourly_rate.disk` in USD per hour (newest list shape).
        created_at: the moment of its creation, in UTC; None where the list does not say.
        workspace: the id of the workspace that owns it; None where the list does not say.
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

    @property
    def down(self) -> bool:
        """Whether it is stopped or exited with nothing in progress."""
        return is_down(self.status, in_progress=self.in_progress)
