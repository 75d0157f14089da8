"""Profile of an API, learnt by runs: its limits and settle times, kept in a small document for the next run.

The profile is a cache. An unreadable, absurd or old entry is ignored with a line in the log, and is never a reason not
to stop CVMs.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.state_files import replace_file
from orchestrator.times import parse_timestamp, timestamp

_VERSION = 1
_LARGEST_FILE = 1_000_000
_KEPT_FOR = timedelta(days=7)
_MISSING_FOR = timedelta(days=1)
"""A missing batch request is tried again sooner: a trial costs one request, and can save many."""
_CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ApiProfile:
    """The known properties of an API.

    Attributes:
        requests_per_second: an accepted rate; None if unknown.
        is_limit: whether the API refused a higher rate; False if no higher rate was tried.
        batch_size: the number of statuses the API accepts in a request, if lower than asked; else None.
        batch_missing: whether the API lacks the batch request.
        settle: by action, the seconds from the request until nine in ten CVMs had settled.
    """

    requests_per_second: float | None = None
    is_limit: bool = False
    batch_size: int | None = None
    batch_missing: bool = False
    settle: Mapping[str, float] = field(default_factory=dict)


class ApiProfileStore(Protocol):
    """Store of API profiles. A failure is a warning, never an exception."""

    def read_profile(self, base_url: str, workspace: str, now: datetime) -> ApiProfile:
        """Read the profile of the API at an address for a workspace, without outdated values."""
        ...

    def merge_profile(self, base_url: str, workspace: str, learnt: ApiProfile, now: datetime) -> None:
        """Merge a profile into the store. Unknown values leave the recorded values unchanged."""
        ...


class ProfileRow(Protocol):
    """A place of one document in the team store."""

    @property
    def location(self) -> str:
        """The place, for people."""
        ...

    def read(self) -> bytes | None:
        """Read the document; None without a document. Raises OSError without an answer in a few seconds."""
        ...

    def write(self, content: bytes) -> None:
        """Replace the document. Raises OSError without an answer in a few seconds."""
        ...


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class _Rate(_Model):
    at: str
    requests_per_second: float = Field(ge=0.001, le=1_000_000)
    is_limit: bool


class _Batch(_Model):
    at: str
    size: int | None = Field(ge=1, le=1_000_000)


class _Settled(_Model):
    at: str
    seconds: float = Field(ge=0, le=86_400)


class _Api(_Model):
    rate: _Rate | None = None
    status_batch: _Batch | None = None
    settle: dict[str, _Settled] = {}


class DocumentApiProfileStore(ABC):
    """The profiles in a JSON document, as `ApiProfileStore`. Reading an unusable document returns an empty profile."""

    _warn: Callable[..., object]
    """Called with an event's name, and its facts by keyword, when the document is unusable."""
    _place: str
    """The place of the document, for people."""

    @abstractmethod
    def _read_content(self) -> bytes | None:
        """Read the document; None without a document.

        Raises:
            OSError: when the document can't be read.
        """

    @abstractmethod
    def _write_content(self, content: bytes) -> None:
        """Replace the document.

        Raises:
            OSError: when the document can't be written.
        """

    def read_profile(self, base_url: str, workspace: str, now: datetime) -> ApiProfile:
        """Read a profile, as `ApiProfileStore.read_profile`."""
        try:
            apis = self._read_apis()
            # The entry by address alone was written by earlier versions.
            api = self._parse_entry(apis.get(f"{base_url} {workspace}") or apis.get(base_url), now)
        except (OSError, ValueError) as error:
            self._left_out(error)
            return ApiProfile()
        learnt = ApiProfile()
        if api.rate is not None:
            learnt = replace(learnt, requests_per_second=api.rate.requests_per_second, is_limit=api.rate.is_limit)
        if api.status_batch is not None:
            size = api.status_batch.size
            learnt = replace(learnt, batch_size=size, batch_missing=size is None)
        return replace(learnt, settle={action: each.seconds for action, each in api.settle.items()})

    def merge_profile(self, base_url: str, workspace: str, learnt: ApiProfile, now: datetime) -> None:
        """Merge a profile into the document, as `ApiProfileStore.merge_profile`."""
        try:
            self._write_merged(base_url, workspace, learnt, now)
        except (OSError, ValueError) as error:
            self._warn("learnt.not_kept", file=self._place, reason=_describe_error(error))

    def _write_merged(self, base_url: str, workspace: str, learnt: ApiProfile, now: datetime) -> None:
        apis: dict[str, object] = {}
        try:
            apis = {url: self._keep_fresh(entry, now) for url, entry in self._read_apis().items()}
        except _LaterVersionError:
            raise
        except (OSError, ValueError) as error:
            self._left_out(error)
        key = f"{base_url} {workspace}"
        api = _Api.model_validate(apis.get(key) or apis.get(base_url) or {})
        at = timestamp(now)
        if learnt.requests_per_second is not None:
            rate = _Rate(at=at, requests_per_second=learnt.requests_per_second, is_limit=learnt.is_limit)
            api = api.model_copy(update={"rate": rate})
        if learnt.batch_missing or learnt.batch_size is not None:
            batch = _Batch(at=at, size=None if learnt.batch_missing else learnt.batch_size)
            api = api.model_copy(update={"status_batch": batch})
        if learnt.settle:
            settled = {action: _Settled(at=at, seconds=seconds) for action, seconds in learnt.settle.items()}
            api = api.model_copy(update={"settle": {**api.settle, **settled}})
        apis[key] = api.model_dump()
        apis = {url: entry for url, entry in apis.items() if entry}
        document = {"v": _VERSION, "apis": apis}
        text = json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"
        self._write_content(text.encode("utf-8"))

    def _read_apis(self) -> Mapping[str, object]:
        """Read the entries by address; no entries without a document.

        Raises:
            OSError: when the document can't be read.
            ValueError: when the content was not written by a run.
        """
        content = self._read_content()
        if content is None:
            return {}
        if len(content) > _LARGEST_FILE:
            raise ValueError("the file is too large")
        try:
            document = json.loads(content)
        except RecursionError as error:
            raise ValueError("the file is nested too deeply") from error
        version = document.get("v") if isinstance(document, dict) else None
        if isinstance(version, int) and version > _VERSION:
            raise _LaterVersionError(
                f"the file is from a later version of orchestrator (format {version}, not {_VERSION})"
            )
        apis = document.get("apis") if version == _VERSION else None
        if not isinstance(apis, dict):
            raise ValueError("the file is not a profile")  # noqa: TRY004 - the content of a file is a value
        return apis

    def _parse_entry(self, entry: object, now: datetime) -> _Api:
        api = _Api.model_validate({} if entry is None else entry)
        if api.rate is not None and not _is_fresh(api.rate.at, now, _KEPT_FOR):
            api = api.model_copy(update={"rate": None})
        if api.status_batch is not None:
            kept_for = _KEPT_FOR if api.status_batch.size is not None else _MISSING_FOR
            if not _is_fresh(api.status_batch.at, now, kept_for):
                api = api.model_copy(update={"status_batch": None})
        fresh = {action: each for action, each in api.settle.items() if _is_fresh(each.at, now, _KEPT_FOR)}
        return api.model_copy(update={"settle": fresh})

    def _keep_fresh(self, entry: object, now: datetime) -> dict[str, object]:
        """Return the valid and recent values of an entry; empty for an entry without any."""
        try:
            kept = self._parse_entry(entry, now).model_dump()
        except ValueError as error:
            self._left_out(error)
            return {}
        return kept if any(kept.values()) else {}

    def _left_out(self, error: Exception) -> None:
        self._warn("learnt.left_out", file=self._place, reason=_describe_error(error))


class FileApiProfileStore(DocumentApiProfileStore):
    """The profiles in a file.

    Attributes:
        path: the path of the file.
    """

    def __init__(self, state_dir: Path, warn: Callable[..., object]) -> None:
        """Set up.

        Args:
            state_dir: the directory of the file.
            warn: called with an event's name, and its facts by keyword, when the file is unusable.
        """
        self.path = state_dir.expanduser() / "learnt.json"
        self._warn, self._place = warn, str(self.path)

    def _read_content(self) -> bytes | None:
        try:
            with self.path.open("rb") as file:
                return file.read(_LARGEST_FILE + 1)
        except FileNotFoundError:
            return None

    def _write_content(self, content: bytes) -> None:
        replace_file(self.path, content)


class RowApiProfileStore(DocumentApiProfileStore):
    """The profiles in the row of a workspace in the team store."""

    def __init__(self, row: ProfileRow, warn: Callable[..., object]) -> None:
        """Set up.

        Args:
            row: the row.
            warn: called with an event's name, and its facts by keyword, when the store is unusable.
        """
        self._row, self._warn, self._place = row, warn, row.location

    def _read_content(self) -> bytes | None:
        return self._row.read()

    def _write_content(self, content: bytes) -> None:
        self._row.write(content)


def fingerprint_workspace(api_key: str) -> str:
    """Return a digest of a workspace's key: it identifies the workspace, and hides the key."""
    return hashlib.sha256(f"orchestrator workspace\n{api_key}".encode()).hexdigest()[:16]


class _LaterVersionError(ValueError):
    """Raised for a file of a later program version. Such a file is left unchanged."""


def _is_fresh(at: str, now: datetime, kept_for: timedelta) -> bool:
    """Check the age of a value against the limit; raises ValueError for an invalid timestamp."""
    return -_CLOCKS_DIFFER <= now - parse_timestamp(at) <= kept_for


def _describe_error(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"[:200]
    return str(error)[:200]
