"""Exemptions: CVMs to leave up until a time, with an owner and a reason. Pure; binds stops, shutdowns and restarts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import PlainValidator, ValidationError, model_validator

from orchestrator.action import Action
from orchestrator.cvm import Cvm
from orchestrator.documented_model import DocumentedModel
from orchestrator.errors import GuardError, SettingsError
from orchestrator.outcome import Reason, SkipReason
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.schedule import first_second, load_zone, parse_edge
from orchestrator.playbook.select import match_select
from orchestrator.playbook.source import Source
from orchestrator.playbook.steps import Select
from orchestrator.playbook.value_types import Text
from orchestrator.text import join_names, plural
from orchestrator.times import timestamp
from orchestrator.validation_messages import explain_fault

if TYPE_CHECKING:
    from orchestrator.playbook.plan import Target


@dataclass(frozen=True, slots=True)
class KeepEntry:
    """An exemption.

    Attributes:
        key: `id`, `name` or `app_id`, as in a select.
        value: the identifier, or the pattern of the name.
        until: the end.
        owner: the person to ask.
        reason: the reason.
        source: the file and the line, or `orchestrator keep`.
    """

    key: str
    value: str
    until: datetime
    owner: str
    reason: str
    source: str

    def has_expired(self, now: datetime) -> bool:
        """Return True from the end on."""
        return self.until <= now

    def matches(self, cvm: Cvm) -> bool:
        """Return True if the exemption covers a CVM, or may cover a CVM with an unknown fact."""
        return match_select(_build_select(self.key, self.value), cvm) is not False

    def document(self, now: datetime) -> dict[str, object]:
        """Build the document for people and programs, as in `keep --list --json`."""
        return {
            "cvm": self.value,
            "until": timestamp(self.until),
            "owner": self.owner,
            "reason": self.reason,
            "source": self.source,
            "expired": self.has_expired(now),
        }

    def describe(self) -> str:
        """Describe the end, the owner and the reason."""
        return f"{self.until:%Y-%m-%d %H:%M} UTC by {self.owner}: {self.reason}"


def order_entries(entries: Iterable[KeepEntry], now: datetime) -> list[KeepEntry]:
    """Order exemptions by their end, expired exemptions last."""
    return sorted(entries, key=lambda entry: (entry.has_expired(now), entry.until))


@lru_cache(maxsize=4096)
def _build_select(key: str, value: str) -> Select:
    return Select.model_validate({key: [value]})


class _Index:
    """Tells most CVMs without an exemption at once: thousands of CVMs, times hundreds of exemptions, take seconds."""

    def __init__(self, entries: Sequence[KeepEntry]) -> None:
        texts: dict[str, list[str]] = {}
        names: set[str] = set()
        for entry in entries:
            if entry.key == "name" and not {"*", "?"} & set(entry.value):
                names.add(entry.value)
            else:
                texts.setdefault(entry.key, []).append(entry.value)
        self._names = names
        self._selects = [Select.model_validate({key: values}) for key, values in texts.items()]

    def may_cover(self, cvm: Cvm) -> bool:
        """Return False for a CVM without an exemption."""
        if self._names and (not cvm.ref.name or cvm.ref.name in self._names):
            return True
        return any(match_select(select, cvm) is not False for select in self._selects)


@dataclass(frozen=True, slots=True)
class KeepList:
    """The exemptions at a moment.

    Attributes:
        entries: the exemptions in force.
        expired: the exemptions with a past end; not obeyed.
        ignored: the reason to act on exempted CVMs all the same; None to obey the exemptions.
    """

    entries: tuple[KeepEntry, ...] = ()
    expired: tuple[KeepEntry, ...] = ()
    ignored: str | None = None
    _indexes: dict[int, _Index] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def at(cls, entries: Iterable[KeepEntry], now: datetime, ignored: str | None = None) -> Self:
        """Divide exemptions by their end."""
        every = tuple(entries)
        expired = tuple(entry for entry in every if entry.has_expired(now))
        return cls(tuple(entry for entry in every if not entry.has_expired(now)), expired, ignored)

    def find_entry(self, cvm: Cvm) -> KeepEntry | None:
        """Return the exemption of a CVM with the latest end; None without an exemption."""
        return max(self._list_matches(self.entries, cvm), key=lambda entry: entry.until, default=None)

    def find_reason(self, action: Action, cvm: Cvm) -> Reason | None:
        """Return the reason against an action on a CVM; None for an allowed action."""
        if self.ignored is not None or action.starts_cvms:
            return None
        entry = self.find_entry(cvm)
        return None if entry is None else Reason(SkipReason.KEPT, entry.describe())

    def list_overridden(self, cvms: Iterable[Cvm]) -> list[tuple[Cvm, KeepEntry]]:
        """List exempted CVMs with their exemptions."""
        found = ((cvm, self.find_entry(cvm)) for cvm in cvms)
        return [(cvm, entry) for cvm, entry in found if entry is not None]

    def list_expired(self, cvms: Iterable[Cvm]) -> list[tuple[Cvm, KeepEntry]]:
        """List CVMs without an exemption in force, with their last expired exemption."""
        found = []
        for cvm in cvms:
            last = max(self._list_matches(self.expired, cvm), key=lambda entry: entry.until, default=None)
            if last is not None and self.find_entry(cvm) is None:
                found.append((cvm, last))
        return found

    def list_warnings(self, targets: "Sequence[Target]") -> Iterator[PlanWarning]:
        """Warn about exempted targets acted on all the same, and about targets with an expired exemption."""
        cvms = [target.cvm for target in targets if not target.action.starts_cvms]
        overridden = self.list_overridden(cvms) if self.ignored is not None else []
        if overridden:
            names = join_names(f"{cvm.ref.name} (kept until {entry.describe()})" for cvm, entry in overridden)
            acts = f"acts on {plural(len(overridden), 'exempted CVM')}"
            yield PlanWarning(WarningCode.KEEP_IGNORED, f"{acts} all the same ({self.ignored}): {names}")
        expired = self.list_expired(cvms)
        if expired:
            names = join_names(f"{cvm.ref.name} ({entry.describe()})" for cvm, entry in expired)
            message = f"the exemption of {plural(len(expired), 'target')} has expired: {names}"
            yield PlanWarning(WarningCode.KEEP_EXPIRED, message)

    def refuse(self, targets: "Sequence[Target]") -> None:
        """Refuse targets exempted since their plan.

        Raises:
            GuardError: when a target is exempted.
        """
        found = [(target, self.find_reason(target.action, target.cvm)) for target in targets]
        kept = [f"{target.cvm.ref.name}: {reason.text}" for target, reason in found if reason is not None]
        if kept:
            message = f"{plural(len(kept), 'target')} exempted since the plan: {join_names(kept)}"
            raise GuardError(message, hint="make a new plan; nothing was sent")

    def _list_matches(self, entries: Sequence[KeepEntry], cvm: Cvm) -> list[KeepEntry]:
        index = self._indexes.get(id(entries))  # the lists of this object: they live as long as the index
        if index is None:
            index = self._indexes[id(entries)] = _Index(entries)
        return [entry for entry in entries if entry.matches(cvm)] if index.may_cover(cvm) else []


def _parse_until(value: object) -> datetime:
    edge = parse_edge(value)
    zone = load_zone("UTC")
    if not isinstance(edge, datetime):
        return first_second(edge + timedelta(days=1), zone)
    return edge.astimezone(UTC) if edge.tzinfo is not None else first_second(edge, zone)


_Until = Annotated[datetime, PlainValidator(_parse_until)]


class KeepFileEntry(DocumentedModel):
    """An exemption of a file: the CVM, the end, the owner and the reason."""

    cvm: Text | None = None
    """Hashid, UUID or instance id of a CVM."""
    name: Text | None = None
    """Name of CVMs; `*` and `?` are wildcards."""
    app_id: Text | None = None
    """App of CVMs."""
    until: _Until
    """End: a date (end of that day) or a time; UTC without an offset."""
    owner: Text
    """The person to ask."""
    reason: Text
    """Why these CVMs stay up."""

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        keys = [key for key in ("cvm", "name", "app_id") if getattr(self, key) is not None]
        if len(keys) != 1:
            raise ValueError("needs exactly one of `cvm`, `name` and `app_id`")
        if self.cvm is not None:
            _build_select("id", self.cvm)
        return self


class KeepFile(DocumentedModel):
    """A file of exemptions."""

    keep: list[KeepFileEntry]
    """The exemptions; `keep: []` for none."""


def read_keep_file(source: Source) -> tuple[KeepEntry, ...]:
    """Read the exemptions of a file.

    Raises:
        SettingsError: when the file is empty, or has an invalid exemption; the error names the line.
    """
    try:
        found = KeepFile.model_validate(source.tree)
    except ValidationError as error:
        fault = error.errors()[0]
        place, message, hint = explain_fault(fault, KeepFile)
        raise SettingsError(message, file=source.file, line=source.line_of(place), hint=hint) from None
    return tuple(
        KeepEntry(key, value, entry.until, entry.owner, entry.reason, f"{source.file}:{source.line_of(('keep', at))}")
        for at, entry in enumerate(found.keep)
        for key, value in (("id", entry.cvm), ("name", entry.name), ("app_id", entry.app_id))
        if value is not None
    )
