"""Snoozes of playbooks, in a file shared by the service and `orchestrator snooze`."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.errors import SettingsError
from orchestrator.service.journal import FOLDER
from orchestrator.service.scheduler import Snooze, Snoozed
from orchestrator.state_files import hold_lock, make_folder, replace_file, sync_file
from orchestrator.times import parse_timestamp, timestamp

_VERSION = 1
_KEPT = timedelta(days=400)
"""Time to keep an ended snooze: the reason for firings skipped then."""


class FileSnoozeStore:
    """The file of snoozes, as `SnoozeStore`; each change replaces the file atomically.

    Attributes:
        path: path of the file.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir.expanduser() / FOLDER / "snoozes.json"

    def read_snoozes(self) -> dict[str, Snoozed]:
        """Read all snoozes, as `SnoozeStore.read_snoozes`."""
        try:
            document = json.loads(self.path.read_bytes())
            if document["v"] != _VERSION:
                raise SettingsError("the file of snoozes is from a later version of orchestrator", file=self.path)
            return {
                name: Snoozed(Snooze(parse_timestamp(each["begins"]), parse_timestamp(each["until"])), each["by"])
                for name, each in document["snoozes"].items()
            }
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SettingsError(f"the file of snoozes can't be read: {error.strerror}", file=self.path) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            hint = "remove the file; this ends all snoozes"
            raise SettingsError("the file of snoozes is damaged", file=self.path, hint=hint) from error

    def set_snooze(self, name: str, snoozed: Snoozed) -> None:
        """Snooze a playbook, as `SnoozeStore.set_snooze`."""
        begins, until = snoozed.snooze.begins, snoozed.snooze.until

        def extend_snooze(snoozes: Mapping[str, Snoozed]) -> dict[str, Snoozed]:
            lasting = snoozes.get(name)
            since = lasting.snooze.begins if lasting is not None and begins < lasting.snooze.until else begins
            return {**snoozes, name: Snoozed(Snooze(since, until), snoozed.by)}

        self._change_file(extend_snooze, begins)

    def clear_snooze(self, name: str, now: datetime) -> bool:
        """End the snooze of a playbook, as `SnoozeStore.clear_snooze`."""
        lasting = False

        def end_snooze(snoozes: Mapping[str, Snoozed]) -> dict[str, Snoozed]:
            nonlocal lasting
            found = snoozes.get(name)
            lasting = found is not None and now < found.snooze.until
            if found is None or not lasting:
                return dict(snoozes)
            # Firings skipped so far stay skipped.
            return {**snoozes, name: Snoozed(Snooze(found.snooze.begins, now), found.by)}

        self._change_file(end_snooze, now)
        return lasting

    def _change_file(self, change: Callable[[Mapping[str, Snoozed]], dict[str, Snoozed]], now: datetime) -> None:
        try:
            make_folder(self.path.parent)
            with hold_lock(self.path):
                snoozes = change(self.read_snoozes())
                kept = {name: each for name, each in snoozes.items() if now - each.snooze.until < _KEPT}
                self._write_file(kept)
        except OSError as error:
            raise SettingsError(
                f"the file of snoozes can't be written: {error.strerror or error}",
                file=self.path,
                hint="set ORCHESTRATOR_STATE_DIR to the folder of the service",
            ) from error

    def _write_file(self, snoozes: Mapping[str, Snoozed]) -> None:
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
