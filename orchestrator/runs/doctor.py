"""Check the surroundings of runs: settings, key, API, rate, state, notifications, playbooks. Every check runs."""

import os
import shutil
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import anyio

from orchestrator.check import Check
from orchestrator.engine.read.retry import read_error
from orchestrator.errors import CloudError, OrchestratorError
from orchestrator.notify.channels.registry import read_channels
from orchestrator.outcome import Exit
from orchestrator.playbook.calendars import CalendarReader
from orchestrator.playbook.load import LoadedPlaybook, load_playbook
from orchestrator.playbook.shipped import is_cases_file
from orchestrator.playbook.timetable import load_timetable
from orchestrator.playbook.value_types import AUTO
from orchestrator.reply import Identity, Reply
from orchestrator.runs.api_profile import fingerprint_workspace
from orchestrator.runs.notifications import send_test_notices
from orchestrator.runs.session import Endpoint, name_in_store
from orchestrator.runs.stores import api_profile_store
from orchestrator.runs.workspaces import choose_names
from orchestrator.settings.credentials import Credentials
from orchestrator.settings.load import Settings
from orchestrator.text import plural
from orchestrator.times import utc_now

_MOST_SKEW_S = 60.0
_MOST_AT_ONCE = 8
"""Workspaces checked at the same time."""
_LEAST_FREE_BYTES = 100_000_000
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH

ReadIdentity = Callable[[Settings, Credentials], Awaitable[Reply[Identity]]]


async def run_checks(
    load: Callable[[], Settings],
    read_identity: ReadIdentity,
    playbooks: Path,
    workspaces: Sequence[str] = (),
    *,
    send_test: bool = False,
) -> list[Check]:
    """Run all checks; a failed check never prevents an independent check.

    Args:
        load: loads the settings.
        read_identity: asks the API about the owner of a key.
        playbooks: the folder of playbooks.
        workspaces: patterns of the workspaces to check; without a pattern the default key and every workspace.
        send_test: whether to send a test notice through each notification channel.
    """
    checks = []
    try:
        settings = load()
    except OrchestratorError as error:
        checks.append(_failure("settings", error))
    else:
        checks += _check_settings(settings)
        checks += await _check_keys(settings, read_identity, workspaces)
        checks.append(_check_state_folder(settings.audit.state_dir))
        checks += _check_notifications(settings, await send_test_notices(settings) if send_test else None)
    return [*checks, *_check_playbooks(playbooks)]


def _failure(name: str, error: OrchestratorError) -> Check:
    hint = f"; {error.hint}" if error.hint else ""
    return Check(name, ok=False, message=f"{error}{hint}", exit_code=error.exit_code)


def _check_settings(settings: Settings) -> Iterator[Check]:
    origin = settings.origin
    where = "defaults" if origin.file is None else f"file {origin.file}"
    sources = sorted(origin.sources.items())
    values = "".join(f"; {name} from {source}" for name, source in sources if not name.startswith("workspaces."))
    named = f"; {plural(len(settings.workspaces), 'workspace')}" if settings.workspaces else ""
    yield Check("settings", ok=True, message=where + values + named)
    for warning in origin.warnings:
        yield Check("settings", ok=False, message=warning)


async def _check_keys(settings: Settings, read_identity: ReadIdentity, patterns: Sequence[str]) -> list[Check]:
    """Check the default key, the API and the rate, and the same for every chosen workspace, side by side."""
    try:
        names = choose_names(settings, patterns or ("*",)) if patterns or settings.workspaces else ()
        has_default = not patterns and (not settings.workspaces or settings.has_default_key)
    except OrchestratorError as error:
        return [_failure("workspaces", error)]
    chosen = [*([settings] if has_default else []), *map(settings.for_workspace, names)]
    found: list[list[Check]] = [[] for _ in chosen]
    limiter = anyio.CapacityLimiter(_MOST_AT_ONCE)

    async def check(number: int, each: Settings) -> None:
        async with limiter:
            found[number] = await _check_key(each, read_identity)

    async with anyio.create_task_group() as group:
        for number, each in enumerate(chosen):
            group.start_soon(check, number, each)
    return [check for checks in found for check in checks]


async def _check_key(settings: Settings, read_identity: ReadIdentity) -> list[Check]:
    """Check the key of the settings, the API and the rate; of a named workspace, all is well in a single check."""
    found, key_check = _find_credentials(settings)
    checks = [key_check]
    if found is not None:
        checks += await _check_cloud(settings, found, read_identity)
    name = settings.workspace_name
    if name is None:
        return [*checks, _check_rate(settings, found)]
    failures = [replace(check, message=f"workspace {name}: {check.message}") for check in checks if not check.ok]
    good = "; ".join(check.message for check in checks if check.name != "clock")
    return failures or [replace(key_check, message=f"workspace {name}: {good}")]


def _find_credentials(settings: Settings) -> tuple[Credentials | None, Check]:
    try:
        found = settings.credentials()
    except OrchestratorError as error:
        return None, _failure("key", error)
    return found, Check("key", ok=True, message=f"from {found.source}")


async def _check_cloud(settings: Settings, found: Credentials, read_identity: ReadIdentity) -> list[Check]:
    try:
        reply = await read_identity(settings, found)
    except CloudError as error:
        return [_failure("API", error)]
    if reply.value is None:
        refused = Endpoint.from_settings(settings, found).explain(read_error(reply, "the identity of the key"))
        return [_failure("API", refused)]
    workspace = reply.value.workspace or reply.value.workspace_id or "unknown"
    checks = [Check("API", ok=True, message=f"{found.base_url}, workspace {workspace}")]
    ahead = reply.value.clock_ahead
    if ahead is not None:
        hint = "" if abs(ahead) <= _MOST_SKEW_S else "; set this machine's clock (NTP)"
        message = f"differs from the API's clock by {abs(ahead):.0f}s{hint}"
        checks.append(Check("clock", ok=not hint, message=message, exit_code=Exit.CLOUD))
    return checks


def _check_rate(settings: Settings, found: Credentials | None) -> Check:
    """Describe the rate of the settings, and the rate of earlier runs; an unknown limit is no failure."""
    asked = settings.rate.requests_per_second
    source = settings.origin.source_of("rate.requests_per_second") or "default"
    message = f"{asked if asked == AUTO else f'{asked:g} requests a second'} ({source})"
    problems: list[str] = []
    known = None
    if found is not None:
        workspace = name_in_store(settings, found.api_key)
        profiles = api_profile_store(settings, workspace, lambda _event, reason, **_facts: problems.append(reason))
        profile = profiles.read_profile(found.base_url, fingerprint_workspace(found.api_key), utc_now())
        known = profile.requests_per_second
    if problems:
        return Check("rate limit", ok=True, message=f"{message}; earlier rates can't be read: {problems[0]}")
    if known is None:
        return Check("rate limit", ok=True, message=f"{message}; the API's limit is unknown before a run with `auto`")
    return Check("rate limit", ok=True, message=f"{message}; earlier runs found that the API accepts {known:g}")


def _check_state_folder(folder: Path) -> Check:
    name, above = "state folder", folder
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        return Check(name, ok=False, message=f"{folder} can't be written; set ORCHESTRATOR_STATE_DIR")
    free = shutil.disk_usage(above).free
    figures = f"{free / 1e9:.1f} GB free"
    if free < _LEAST_FREE_BYTES:
        return Check(name, ok=False, message=f"{folder}, {free // 1_000_000} MB free; free some space")
    if above != folder:
        return Check(name, ok=True, message=f"{folder}, created by the first run, {figures}")
    mode = stat.S_IMODE(folder.stat().st_mode)
    message = f"{folder}, mode {mode:04o}, {figures}"
    if mode & _OTHERS_MAY_WRITE:
        return Check(name, ok=False, message=f"{message}; others may write: chmod 700 {folder}")
    return Check(name, ok=True, message=message)


def _check_notifications(settings: Settings, problems: Mapping[str, str] | None) -> Iterator[Check]:
    """Check the configuration of each channel.

    Args:
        settings: the settings.
        problems: by channel, the failure of its test notice; None if no test notice was sent.
    """
    channels, errors = read_channels(settings.notify)
    for error in errors:
        yield _failure("notifications", error)
    for channel in channels:
        problem = "" if problems is None else problems[channel.name]
        message = "configured; --send-test sends a notice" if problems is None else problem or "test notice accepted"
        yield Check("notifications", ok=not problem, message=f"{channel.name}: {message}")
    if not channels and not errors:
        yield Check("notifications", ok=True, message="no channel (settings notify.webhook_url, notify.slack_url)")


def _check_playbooks(folder: Path) -> Iterator[Check]:
    paths = sorted(path for path in folder.glob("*.y*ml") if not is_cases_file(path)) if folder.is_dir() else []
    loaded, failures = [], []
    for path in paths:
        try:
            loaded.append(load_playbook(path, {}, allow_undefined=True))
        except OrchestratorError as error:
            failures.append(_failure("playbooks", error))
    yield from failures or [Check("playbooks", ok=True, message=f"{len(paths)} in {folder}")]
    yield from _check_calendars(loaded)


def _check_calendars(playbooks: Sequence[LoadedPlaybook]) -> Iterator[Check]:
    """Read every calendar of the schedules, each file once."""
    reader = CalendarReader()
    files, failures = set(), []
    for loaded in playbooks:
        try:
            timetable = load_timetable(loaded, reader)
        except OrchestratorError as error:
            failures.append(_failure("calendars", error))
        else:
            files |= {loaded.file.parent / text for text in (timetable.calendars if timetable is not None else ())}
    yield from failures or [Check("calendars", ok=True, message=f"{len(files)} readable")]
