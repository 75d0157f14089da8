"""Exemptions of a command or of the service: a reviewed file of the settings, and the store of `orchestrator keep`.

A broken file never means "no exemptions": commands end with exit code 2, and the service goes on with the last valid
version.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import anyio.to_thread

from orchestrator.errors import PlaybookError, SettingsError
from orchestrator.playbook.keep import KeepEntry, KeepList, read_keep_file
from orchestrator.playbook.source import read_source
from orchestrator.runs.stores import keep_store
from orchestrator.settings.load import Settings
from orchestrator.state_files import KEEP_FILE, hold_lock, make_folder, replace_file, sync_file
from orchestrator.times import parse_timestamp, timestamp

COMMAND = "orchestrator keep"
"""Source of exemptions by command."""
_VERSION = 1
_SHOWN_FOR = timedelta(days=90)
"""Time for which an expired exemption is still listed."""


class KeepStore(Protocol):
    """Store of the exemptions by command."""

    def read_entries(self) -> Sequence[KeepEntry]:
        """Read all exemptions, expired exemptions too.

        Raises:
            SettingsError: when the exemptions can't be read.
        """
        ...

    def add_entries(self, entries: Iterable[KeepEntry], now: datetime) -> None:
        """Add exemptions; an exemption of the same CVM is replaced.

        Raises:
            SettingsError: when the exemptions can't be written.
        """
        ...

    def remove_entries(self, values: Collection[str], now: datetime) -> list[str]:
        """End the exemptions with these identifiers or names; return the ended exemptions.

        Raises:
            SettingsError: when the exemptions can't be written.
        """
        ...


class FileKeepStore:
    """The exemptions in a file of the state folder, as `KeepStore`; each change replaces the file atomically.

    Attributes:
        path: path of the file.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = keep_path(state_dir)

    def read_entries(self) -> tuple[KeepEntry, ...]:
        """Read all exemptions, as `KeepStore.read_entries`."""
        try:
            document = json.loads(self.path.read_bytes())
            if document["v"] != _VERSION:
                raise SettingsError("the file of exemptions is from a later version of orchestrator", file=self.path)
            return tuple(map(_parse_entry, document["keep"]))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise SettingsError(f"the exemptions can't be read: {error.strerror}", file=self.path) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            hint = "restore the file from a copy; without the file, no CVM is exempted by command"
            raise SettingsError("the file of exemptions is damaged", file=self.path, hint=hint) from error

    def add_entries(self, entries: Iterable[KeepEntry], now: datetime) -> None:
        """Add exemptions, as `KeepStore.add_entries`."""
        new = {(entry.key, entry.value): entry for entry in entries}

        def add(present: Sequence[KeepEntry]) -> list[KeepEntry]:
            return [*(entry for entry in present if (entry.key, entry.value) not in new), *new.values()]

        self._change_file(add, now)

    def remove_entries(self, values: Collection[str], now: datetime) -> list[str]:
        """End exemptions, as `KeepStore.remove_entries`."""
        ended: list[str] = []

        def remove(present: Sequence[KeepEntry]) -> list[KeepEntry]:
            ended[:] = [entry.value for entry in present if entry.value in values and not entry.has_expired(now)]
            return [entry for entry in present if entry.value not in values]

        self._change_file(remove, now)
        return ended

    def _change_file(self, change: Callable[[Sequence[KeepEntry]], list[KeepEntry]], now: datetime) -> None:
        try:
            make_folder(self.path.parent)
            with hold_lock(self.path):
                kept = [entry for entry in change(self.read_entries()) if now - entry.until < _SHOWN_FOR]
                document = {"v": _VERSION, "keep": [describe_entry(entry) for entry in kept]}
                replace_file(self.path, json.dumps(document, indent=2).encode() + b"\n", sync_file)
        except OSError as error:
            hint = "set ORCHESTRATOR_STATE_DIR to a folder of yours"
            message = f"the exemptions can't be written: {error.strerror or error}"
            raise SettingsError(message, file=self.path, hint=hint) from error


def keep_path(state_dir: Path) -> Path:
    """Return the path of the exemptions by command."""
    return state_dir.expanduser() / KEEP_FILE


def describe_entry(entry: KeepEntry) -> dict[str, str]:
    """Build the document of an exemption by command."""
    until = timestamp(entry.until)
    return {"key": entry.key, "value": entry.value, "until": until, "owner": entry.owner, "reason": entry.reason}


def _parse_entry(document: dict[str, str]) -> KeepEntry:
    until = parse_timestamp(document["until"])
    return KeepEntry(document["key"], document["value"], until, document["owner"], document["reason"], COMMAND)


def _ignore(event: str, /, **facts: object) -> None:
    del event, facts


@dataclass(frozen=True, slots=True)
class KeepReading:
    """The exemptions for the service.

    Attributes:
        entries: all exemptions, expired exemptions too.
        broken: path of a broken file with its last valid version in force; None for a valid file.
        fault: the fault of the broken file.
    """

    entries: tuple[KeepEntry, ...] = ()
    broken: str | None = None
    fault: str = ""


class KeepReader:
    """Reads the exemptions."""

    def __init__(self, *, keeps_last: bool = False) -> None:
        """Set up.

        Args:
            keeps_last: whether the last valid version of the file stands for a broken file, as in the service.
        """
        self._keeps_last = keeps_last
        self._last: dict[Path, tuple[KeepEntry, ...]] = {}

    def read_every(self, settings: Settings, warn: Callable[..., object] = _ignore) -> tuple[KeepEntry, ...]:
        """Read the exemptions of the file and of the store, expired exemptions too.

        Args:
            settings: the settings.
            warn: called with an event's name and its facts when the last valid version stands for a broken file.

        Raises:
            SettingsError: when an exemption is unusable; a broken file only before its first valid version.
        """
        named = settings.keep.file
        return (*(() if named is None else self._read_file(named, warn)), *keep_store(settings).read_entries())

    async def read_in_thread(self, settings: Settings) -> KeepReading:
        """Read the exemptions for the service, in a thread; errors as in `read_every`."""
        return await anyio.to_thread.run_sync(self._read_again, settings, abandon_on_cancel=True)

    def _read_again(self, settings: Settings) -> KeepReading:
        faults: list[dict[str, object]] = []

        def note_fault(_event: str, /, **facts: object) -> None:
            """Note the fault of the file."""
            faults.append(facts)

        entries = self.read_every(settings, note_fault)
        return (
            KeepReading(entries, str(faults[0]["file"]), str(faults[0]["reason"])) if faults else KeepReading(entries)
        )

    def read_list(
        self,
        settings: Settings,
        now: datetime,
        ignored: str | None = None,
        warn: Callable[..., object] = _ignore,
    ) -> KeepList:
        """Read the exemptions at a moment; errors as in `read_every`.

        Args:
            settings: the settings.
            now: the moment.
            ignored: the reason to act on exempted CVMs all the same.
            warn: as in `read_every`.
        """
        return KeepList.at(self.read_every(settings, warn), now, ignored)

    def _read_file(self, file: Path, warn: Callable[..., object]) -> tuple[KeepEntry, ...]:
        try:
            self._last[file] = load_keep_file(file)
        except SettingsError as error:
            if not self._keeps_last or file not in self._last:
                raise
            warn("keep.broken", file=str(file), reason=str(error), note="the last valid version holds")
        return self._last[file]


def load_keep_file(file: Path) -> tuple[KeepEntry, ...]:
    """Read the exemptions of a file.

    Raises:
        SettingsError: when the file is missing, or has an invalid exemption.
    """
    try:
        return read_keep_file(read_source(file, "file of exemptions"))
    except PlaybookError as error:
        hint = "write `keep: []` for no exemption, or change `keep.file` of the settings"
        message = error.message.replace("there is no such file of exemptions", "the file of exemptions is missing")
        raise SettingsError(message, file=file, line=error.line, hint=hint) from error
