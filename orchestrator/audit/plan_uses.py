"""Used plans: an approved plan counts for a single run, also after a crash.

The use is durable before the log of the run begins. A process that dies in between leaves a used plan without a run.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from orchestrator.errors import SettingsError
from orchestrator.state_files import create_file, make_folder, read_regular, sync_file, sync_folder, write_all
from orchestrator.times import timestamp

_LARGEST = 4096
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PlanUse:
    """The use of a plan.

    Attributes:
        run_id: the run.
        at: the time of the use.
    """

    run_id: str
    at: str


class PlanUseStore(Protocol):
    """Store of the used plans."""

    def use_plan(self, digest: str, run_id: str, now: datetime) -> PlanUse | None:
        """Record the use of a plan by a run durably; return the earlier use by another run, or None.

        Raises:
            SettingsError: when the use can't be recorded.
            StoreDownError: when the database can't be reached; the plan may be used then.
        """
        ...


class FilePlanUseStore:
    """The used plans in small files of the state folder, as `PlanUseStore`.

    Attributes:
        folder: folder of the files, one for each digest.
    """

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir.expanduser() / "used-plans"

    def use_plan(self, digest: str, run_id: str, now: datetime) -> PlanUse | None:
        """Record the use of a plan, as `PlanUseStore.use_plan`."""
        file = self.folder / f"{digest}.json"
        try:
            make_folder(self.folder)
            try:
                fd = create_file(file, os.O_WRONLY)
            except FileExistsError:
                found = _read_use(file)
                return None if found.run_id == run_id else found
            try:
                write_all(fd, json.dumps({"v": 1, "run_id": run_id, "at": timestamp(now)}).encode("ascii") + b"\n")
                sync_file(fd)
            finally:
                os.close(fd)
            sync_folder(self.folder)
        except OSError as error:
            message = f"the use of the plan can't be recorded: {error.strerror or error}"
            raise SettingsError(
                message, file=file, hint="nothing was sent; make a new plan after the repair"
            ) from error
        return None


def _read_use(file: Path) -> PlanUse:
    """Read the use of a plan; an unreadable file, left by a dead process, is a use too."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        document = json.loads(read_regular(file, _LARGEST))
        return PlanUse(str(document["run_id"]), str(document["at"]))
    return PlanUse(_UNKNOWN, _UNKNOWN)
