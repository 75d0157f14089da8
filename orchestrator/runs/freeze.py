"""The freezes of a run: read with their calendars; checked at the plan, after the yes, on resume, before every wave.

A run obeys the freezes of its playbook, fixed in its log, and of the current settings.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from orchestrator.action import Action
from orchestrator.errors import GuardError, OrchestratorError, PlaybookError, SettingsError
from orchestrator.playbook.freeze import GUARDS, Freeze, FreezeGuard, Frozen, Times, find_free_moment, find_freeze
from orchestrator.playbook.guards import GuardCheck
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.schedule import CalendarFile
from orchestrator.playbook.schema import Guards
from orchestrator.settings.load import Settings
from orchestrator.state_files import read_regular
from orchestrator.text import plural

if TYPE_CHECKING:
    from orchestrator.playbook.calendars import DaysOff


@dataclass(frozen=True, slots=True)
class RunFreeze:
    """The freezes of a run.

    Attributes:
        freezes: the freezes of the playbook and of the settings.
        broken: the reason of `--break-freeze`; None without this option.
        calendars: content of the playbook's calendars for the record, by their text in the playbook; empty if a resume
            reads the files.
    """

    freezes: tuple[Freeze, ...] = ()
    broken: str | None = None
    calendars: Mapping[str, str] = field(default_factory=dict, repr=False)

    def find_freeze(self, at: datetime) -> str | None:
        """Return the freeze in force at a moment in words; None if requests are allowed."""
        if self.broken is not None:
            return None
        frozen = find_freeze(self.freezes, at)
        return None if frozen is None else f"{frozen.guard}: {frozen.text}"

    def check_plan(self, plan: Plan, now: datetime) -> Plan:
        """Add the checks of the freezes to a plan, and a warning about a freeze without an end."""
        checks = tuple(self._list_checks([target.action for target in plan.targets], now))
        warnings = () if find_free_moment(self.freezes, now) is not None else (FREEZE_ALWAYS,)
        return replace(plan, guards=(*plan.guards, *checks), warnings=(*plan.warnings, *warnings))

    def refuse(self, actions: Iterable[Action], now: datetime) -> None:
        """Refuse actions during a freeze.

        Raises:
            GuardError: when a freeze is in force for one of the actions.
        """
        if not self.freezes:
            return
        refused = [check for check in self._list_checks(list(actions), now) if not check.ok]
        if refused:
            reasons = "; ".join(f"{check.name}: {check.message}" for check in refused)
            raise GuardError(f"refused by a guard: {reasons}", hint=HINT)

    def _list_checks(self, actions: list[Action], now: datetime) -> Iterator[GuardCheck]:
        blocked = sum(not action.starts_cvms for action in actions)
        for guard in GUARDS:
            of_guard = [each for each in self.freezes if each.guard == guard]
            if of_guard:
                yield _make_check(guard, find_freeze(of_guard, now), blocked, self.broken)


HINT = "wait for the end of the freeze, or add --break-freeze REASON"
FREEZE_ALWAYS = PlanWarning(
    WarningCode.FREEZE_ALWAYS, "the freezes leave no time for stops, shutdowns and restarts within a year"
)


def _make_check(guard: FreezeGuard, frozen: Frozen | None, blocked: int, broken: str | None) -> GuardCheck:
    if frozen is None:
        return GuardCheck(guard, None, 0, ok=True, message="not frozen now")
    if not blocked:
        return GuardCheck(guard, None, 0, ok=True, message=f"{frozen.text}; no target to stop or restart")
    message = f"{plural(blocked, 'target')} {frozen.text}"
    if broken is not None:
        message += f"; broken on purpose: {broken}"
    return GuardCheck(guard, None, blocked, ok=broken is not None, message=message)


def freeze_fields(loaded: LoadedPlaybook, calendars: Mapping[str, str]) -> dict[str, object]:
    """Build the field `freeze` of `run.started`: the freezes of the playbook, for `resume`; empty without a freeze.

    Args:
        loaded: the playbook.
        calendars: content of calendars to record, by their text in the playbook.
    """
    fields: dict[str, object] = {}
    for guard in GUARDS:
        found = [times for each, times in _list_times(loaded.playbook.guards) if each == guard]
        if found:
            folder = loaded.file.parent.absolute()
            fields[guard] = [_locate(times, folder, calendars).document() for times in found]
    if fields and calendars:
        fields["calendars"] = dict(calendars)
    return {"freeze": fields} if fields else {}


MAX_CARRIED = 1_000_000
"""Bytes of a calendar in the team store."""


def carry_calendars(loaded: LoadedPlaybook) -> LoadedPlaybook:
    """Read the calendars of a playbook's freezes into the playbook, for a run on another machine.

    Raises:
        PlaybookError: when a calendar can't be read, is too large, or is no text.
    """
    texts = [
        entry.text
        for _, times in _list_times(loaded.playbook.guards)
        for entry in times.on
        if isinstance(entry, CalendarFile) and entry.text not in loaded.calendars
    ]
    return replace(loaded, calendars={**loaded.calendars, **{text: _read_text(loaded, text) for text in texts}})


def _read_text(loaded: LoadedPlaybook, text: str) -> str:
    try:
        content = read_regular(loaded.file.parent / text, MAX_CARRIED).decode()
        if "\0" in content:
            raise UnicodeError("NUL")
    except (OSError, ValueError) as error:
        no_text = "the file is no UTF-8 text" if isinstance(error, UnicodeError) else None
        reason = no_text or getattr(error, "strerror", None) or str(error)
        message = f"the calendar {text} of a freeze can't be stored for other machines: {reason}"
        raise PlaybookError(message, file=loaded.file, hint=_PATH) from error
    return content


async def load_freeze(settings: Settings, loaded: LoadedPlaybook, broken: str | None = None) -> RunFreeze:
    """Read the freezes of a playbook and of the settings, with their calendars.

    Args:
        settings: the settings.
        loaded: the playbook.
        broken: the reason of `--break-freeze`.

    Raises:
        PlaybookError: when a calendar of the playbook is missing or unusable.
        SettingsError: when a calendar of the settings is missing or unusable.
    """

    def fail(guard: str, error: PlaybookError) -> PlaybookError:
        """Name the playbook, the guard and the line."""
        from orchestrator.playbook.source import parse_source  # noqa: PLC0415 - only on this error

        line = None
        with suppress(PlaybookError):  # a playbook of the Python API may have no text
            line = parse_source(loaded.data, loaded.file).line_of(("guards", guard))
        return PlaybookError(f"guards.{guard}: {error.message}", hint=error.hint or _PATH, file=loaded.file, line=line)

    if settings.store.url is not None:
        loaded = carry_calendars(loaded)  # another machine may continue the run
    found, carried = _list_times(loaded.playbook.guards), loaded.calendars
    own = [(guard, _locate(times, loaded.file.parent, carried)) for guard, times in found]
    return await _load(settings, own, fail, broken, carried)


async def load_recorded_freeze(
    settings: Settings, recorded: Mapping[str, Any] | None, broken: str | None = None
) -> RunFreeze:
    """Read the freezes on record in a run, and of the settings; other arguments and errors as in `load_freeze`.

    Args:
        settings: the current settings.
        recorded: the field `freeze` of `run.started`.
        broken: the reason of `--break-freeze`.
    """

    def fail(guard: str, error: PlaybookError) -> PlaybookError:
        """Name the guard."""
        return PlaybookError(f"guards.{guard} of the run: {error.message}", hint=error.hint)

    fields = dict(recorded or {})
    carried = fields.pop("calendars", {})
    return await _load(settings, _list_times(Guards.model_validate(fields)), fail, broken, carried)


_PATH = "the path is relative to the folder of the file with the guard"
_Fail = Callable[[str, PlaybookError], OrchestratorError]


async def _load(
    settings: Settings,
    own: Iterable[tuple[FreezeGuard, Times]],
    fail: _Fail,
    broken: str | None,
    carried: Mapping[str, str],
) -> RunFreeze:
    def fail_in_settings(guard: str, error: PlaybookError) -> SettingsError:
        return SettingsError(f"guards.{guard}: {error.message}", hint=error.hint or _PATH, file=settings.origin.file)

    found: dict[str, tuple[FreezeGuard, Times, _Fail, Mapping[str, str]]] = {}
    for each, its_fail, contents in ((own, fail, carried), (_list_times(settings.guards), fail_in_settings, {})):
        for guard, times in each:
            found.setdefault(f"{guard} {bool(contents)} {times.document()}", (guard, times, its_fail, contents))
    return RunFreeze(tuple([await _read(*each) for each in found.values()]), broken, carried)


async def _read(guard: FreezeGuard, times: Times, fail: _Fail, contents: Mapping[str, str]) -> Freeze:
    """Read the calendars of a freeze, each in a process of its own."""
    files = [entry.text for entry in times.on if isinstance(entry, CalendarFile)]
    if not files:
        return Freeze(guard, times)
    from orchestrator.playbook.calendars import CalendarReader  # noqa: PLC0415 - most freezes have no calendar
    from orchestrator.playbook.schedule import load_zone  # noqa: PLC0415 - the same

    reader, zone = CalendarReader(), load_zone(times.timezone)

    def read(text: str) -> "DaysOff":
        """Read a calendar: the carried content, or the file."""
        return (
            reader.evaluate(contents[text].encode(), zone, Path(text)) if text in contents else reader(Path(text), zone)
        )

    try:
        calendars = {text: await anyio.to_thread.run_sync(read, text, abandon_on_cancel=True) for text in files}
    except PlaybookError as error:
        raise fail(guard, error) from error
    finally:
        reader.stop()
    return Freeze(guard, times, calendars)


def _list_times(guards: Guards) -> list[tuple[FreezeGuard, Times]]:
    return [(guard, times) for guard in GUARDS for times in getattr(guards, guard) or ()]


def _locate(times: Times, folder: Path, carried: Collection[str]) -> Times:
    """Return the times with the paths of their calendars below a folder; a carried calendar needs no path."""
    on = [
        CalendarFile(str(folder / each.text)) if isinstance(each, CalendarFile) and each.text not in carried else each
        for each in times.on
    ]
    return times.model_copy(update={"on": on})
