"""Check the surroundings of runs: settings, key, API, clock, state folder, playbooks. Every check runs."""

import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.engine.read.retry import read_error
from orchestrator.errors import CloudError, OrchestratorError
from orchestrator.outcome import Exit
from orchestrator.playbook.load import load_playbook
from orchestrator.reply import Identity, Reply
from orchestrator.settings.credentials import Credentials
from orchestrator.settings.load import Settings

_MOST_SKEW_S = 60.0
_LEAST_FREE_BYTES = 100_000_000

ReadIdentity = Callable[[Settings, Credentials], Awaitable[Reply[Identity]]]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check.

    Attributes:
        name: the subject.
        ok: whether all is well.
        message: the finding, and the remedy of a failure.
        exit_code: the exit code of a failure.
    """

    name: str
    ok: bool
    message: str
    exit_code: Exit = Exit.USAGE

    def document(self) -> dict[str, object]:
        """Return the check as documents contain it."""
        return {"name": self.name, "ok": self.ok, "message": self.message}


def find_exit_code(checks: list[Check]) -> int:
    """Return 0 if all is well; else 2 for settings, before 5 for cloud or key."""
    return min((int(check.exit_code) for check in checks if not check.ok), default=0)


async def run_checks(load: Callable[[], Settings], read_identity: ReadIdentity, playbooks: Path) -> list[Check]:
    """Run all checks; a failed check never prevents an independent one."""
    checks = []
    try:
        settings = load()
    except OrchestratorError as error:
        checks.append(_failure("settings", error))
    else:
        checks += _check_settings(settings)
        checks += await _check_cloud(settings, read_identity)
        checks.append(_check_state_folder(settings.audit.state_dir))
    return [*checks, *_check_playbooks(playbooks)]


def _failure(name: str, error: OrchestratorError) -> Check:
    hint = f"; {error.hint}" if error.hint else ""
    return Check(name, ok=False, message=f"{error}{hint}", exit_code=error.exit_code)


def _check_settings(settings: Settings) -> Iterator[Check]:
    origin = settings.origin
    where = "defaults" if origin.file is None else f"file {origin.file}"
    values = "".join(f"; {name} from {source}" for name, source in sorted(origin.sources.items()))
    yield Check("settings", ok=True, message=where + values)
    for warning in origin.warnings:
        yield Check("settings", ok=False, message=warning)


async def _check_cloud(settings: Settings, read_identity: ReadIdentity) -> list[Check]:
    try:
        found = settings.credentials()
    except OrchestratorError as error:
        return [_failure("key", error)]
    checks = [Check("key", ok=True, message=f"from {found.source}")]
    try:
        reply = await read_identity(settings, found)
    except CloudError as error:
        return [*checks, _failure("API", error)]
    if reply.value is None:
        return [*checks, _failure("API", read_error(reply, "the identity of the key"))]
    workspace = reply.value.workspace or reply.value.workspace_id or "unknown"
    checks.append(Check("API", ok=True, message=f"{found.base_url}, workspace {workspace}"))
    ahead = reply.value.clock_ahead
    if ahead is not None:
        hint = "" if abs(ahead) <= _MOST_SKEW_S else "; set this machine's clock (NTP)"
        message = f"differs from the API's clock by {abs(ahead):.0f}s{hint}"
        checks.append(Check("clock", ok=not hint, message=message, exit_code=Exit.CLOUD))
    return checks


def _check_state_folder(folder: Path) -> Check:
    above = folder
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        return Check("state folder", ok=False, message=f"{folder} can't be written; set ORCHESTRATOR_STATE_DIR")
    free = shutil.disk_usage(above).free
    if free < _LEAST_FREE_BYTES:
        return Check("state folder", ok=False, message=f"{folder} has {free // 1_000_000} MB left; free some space")
    return Check("state folder", ok=True, message=f"{folder}, writable")


def _check_playbooks(folder: Path) -> Iterator[Check]:
    paths = sorted(folder.glob("*.y*ml")) if folder.is_dir() else []
    failures = 0
    for path in paths:
        try:
            load_playbook(path, {}, allow_undefined=True)
        except OrchestratorError as error:
            failures += 1
            yield _failure("playbooks", error)
    if not failures:
        yield Check("playbooks", ok=True, message=f"{len(paths)} in {folder}")
