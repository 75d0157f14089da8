"""Snoozes: times in which a playbook does not fire, in a file that the service and `orchestrator snooze` share."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.audit.log import sync_file
from orchestrator.errors import SettingsError
from orchestrator.moment import parse_timestamp, timestamp
from orchestrator.service.journal import FOLDER
from orchestrator.service.scheduler import Snooze
from orchestrator.state_files import make_folder, open_or_create, replace_file

_VERSION = 1
_KEPT = timedelta(days=400)
"""A snooze that is over still tells why a firing was left out, when that is looked at late."""


@dataclass(frozen=True, slots=True)
class Snoozed:
    """One entry of the file.

    Attributes:
        snooze: the time.
        by: who said so.
    """

    snooze: Snooze
    by: str


class SnoozeFile:
    """The file, atomically replaced at every change, so that a reader never sees half of it.

    Attributes:
        path: where it is.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir.expanduser() / FOLDER / "snoozes.json"

    def read(self) -> dict[str, Snoozed]:
        """Every snooze, also those that are over, by the playbook's name.

        Raises:
            SettingsError: when it is not what this wrote, or can't be read.
        """
        try:
            document = json.loads(self.path.read_bytes())
            if document["v"] != _VERSION:
                raise SettingsError("a later version wrote the file of snoozes", file=self.path)
            return {
                name: Snoozed(Snooze(parse_timestamp(each["begins"]), parse_timestamp(each["until"])), each["by"])
                for name, each in document["snoozes"].items()
            }
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SettingsError(f"the file of snoozes can't be read: {error.strerror}", file=self.path) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            hint = "remove it: nothing is snoozed then"
            raise SettingsError("the file of snoozes is not what was written", file=self.path, hint=hint) from error

    def put(self, name: str, snoozed: Snoozed) -> None:
        """Snooze a playbook, or change how long it is snoozed; durable when this returns."""
        begins, until = snoozed.snooze.begins, snoozed.snooze.until

        def change(snoozes: Mapping[str, Snoozed]) -> dict[str, Snoozed]:
            lasting = snoozes.get(name)
            since = lasting.snooze.begins if lasting is not None and begins < lasting.snooze.until else begins
            return {**snoozes, name: Snoozed(Snooze(since, until), snoozed.by)}

        self._change(change, begins)

    def clear(self, name: str, now: datetime) -> bool:
        """End a playbook's snooze now. Returns whether it was snoozed."""
        lasting = False

        def end(snoozes: Mapping[str, Snoozed]) -> dict[str, Snoozed]:
            nonlocal lasting
            found = snoozes.get(name)
            lasting = found is not None and now < found.snooze.until
            if found is None or not lasting:
                return dict(snoozes)
            # What it left out stays left out.
            return {**snoozes, name: Snoozed(Snooze(found.snooze.begins, now), found.by)}

        self._change(end, now)
        return lasting

    def _change(self, change: Callable[[Mapping[str, Snoozed]], dict[str, Snoozed]], now: datetime) -> None:
        try:
            make_folder(self.path.parent)
            with self._alone():
                snoozes = change(self.read())
                kept = {name: each for name, each in snoozes.items() if now - each.snooze.until < _KEPT}
                self._write(kept)
        except OSError as error:
            raise SettingsError(
                f"the file of snoozes can't be written: {error.strerror or error}",
                file=self.path,
                hint="set ORCHESTRATOR_STATE_DIR to the folder of the service",
            ) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fd = open_or_create(self.path.with_suffix(".lock"), os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _write(self, snoozes: Mapping[str, Snoozed]) -> None:
        entries = {
            name: {
                "begins": timestamp(each.snooze.begins),
                "until": timestamp(each.snooze.until),
                "by": each.by,
            }
            for name, each in snoozes.items()
        }
        data = json.dumps({"v": _VERSION, "snoozes": entries}, indent=2).encode() + b"\n"
        replace_file(self.path, data, sync_file)
