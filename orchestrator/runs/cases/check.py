"""Check the cases of a playbook: make the plan of every case, and compare the plan with the expectations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from orchestrator.errors import MissingVariableError, PlaybookError, SettingsError, UsageError
from orchestrator.outcome import Exit
from orchestrator.playbook.calendars import CalendarReader
from orchestrator.playbook.firings import Firing, LeftOut, LeftOutCode, list_firings
from orchestrator.playbook.freeze import find_block
from orchestrator.playbook.load import LoadedPlaybook, load_source
from orchestrator.playbook.source import Source, read_source
from orchestrator.playbook.timetable import load_timetable
from orchestrator.runs.cases.compare import Difference, compare_exit, compare_firings, compare_plan
from orchestrator.runs.cases.schema import ONLY_STEP, Case, CaseSettings, ExpectedFirings, LoadedCases, collect_case
from orchestrator.runs.inventory_file import SavedInventory, read_inventory_file
from orchestrator.runs.offline_plan import plan_offline
from orchestrator.runs.prepare import find_refusal
from orchestrator.settings.load import Settings
from orchestrator.settings.model import AuditSection
from orchestrator.settings.sources import locate_files
from orchestrator.times import utc_now
from orchestrator.validation_messages import suggest_nearest

_MOST_FIRINGS = 10_000


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The result of a case.

    Attributes:
        name: the name of the case.
        line: the line of the case in its file.
        differences: the differences; empty for a case as expected.
    """

    name: str
    line: int
    differences: tuple[Difference, ...]

    @property
    def is_ok(self) -> bool:
        """True for an expected plan."""
        return not self.differences


class CaseChecker:
    """Checks cases; reads every inventory file and every calendar once."""

    def __init__(self, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock
        self._inventories: dict[Path, SavedInventory] = {}
        self._read_calendar = CalendarReader()

    async def check_cases(self, loaded: LoadedCases, wanted: Callable[[str], bool] = bool) -> list[CaseResult]:
        """Check the cases of a playbook.

        Args:
            loaded: the cases.
            wanted: chooses cases by name.

        Raises:
            PlaybookError: when the playbook, an inventory file, a calendar or a case is invalid.
        """
        source = read_source(loaded.playbook)
        return [
            CaseResult(case.name, loaded.line_of(number), tuple(await self._check(loaded, source, number)))
            for number, case in enumerate(loaded.cases)
            if wanted(case.name)
        ]

    async def _check(self, loaded: LoadedCases, source: Source, number: int) -> list[Difference]:
        case = loaded.cases[number]
        try:
            playbook = _load_playbook(source, case, loaded, number)
        except UsageError as error:
            if case.expect.exit_code != Exit.USAGE:
                raise
            plain = type(case.expect)(exit_code=case.expect.exit_code)
            if case.expect != plain:
                hint = "expect the exit code 2 alone"
                raise loaded.error(number, f"there is no plan to compare: {error.message}", hint=hint) from error
            return []
        _require_steps(loaded, number, playbook)
        saved = self._read_inventory(loaded, number, playbook)
        settings = _make_settings(loaded, number)
        try:
            plan = await plan_offline(settings, playbook, saved, moment=case.now)
        except SettingsError as error:
            raise loaded.error(number, str(error), "settings", hint=error.hint) from error
        refusal = find_refusal(plan)
        code, message = (int(Exit.OK), "") if refusal is None else (int(refusal.exit_code), refusal.message)
        differences = [*compare_plan(plan, case.expect), *compare_exit(case.expect.exit_code, code, message)]
        if case.expect.firings is not None:
            found = self._list_firings(loaded, number, playbook, settings, case.expect.firings)
            differences += compare_firings(case.expect.firings, found)
        return differences

    def _read_inventory(self, loaded: LoadedCases, number: int, playbook: LoadedPlaybook) -> SavedInventory:
        case = loaded.cases[number]
        if not isinstance(case.inventory, Path):
            guards = (playbook.playbook.guards, case.settings.guards)
            if case.now is None and any(each.not_during or each.only_during for each in guards):
                hint = "add `now`, such as 2026-11-26T18:00:00+01:00"
                raise loaded.error(number, "the guards have times, but the case has no `now`", hint=hint)
            try:
                return collect_case(case.inventory, case.now or self._clock())
            except ValueError as error:
                raise loaded.error(number, f"inventory: {error}", "inventory") from error
        file = loaded.file.parent / case.inventory
        if file not in self._inventories:
            try:
                self._inventories[file] = read_inventory_file(file)
            except UsageError as error:
                raise loaded.error(number, f"inventory: {error}", "inventory", hint=error.hint) from error
        return self._inventories[file]

    def _list_firings(
        self, loaded: LoadedCases, number: int, playbook: LoadedPlaybook, settings: Settings, expected: ExpectedFirings
    ) -> Sequence[Firing | LeftOut]:
        """List the firings of a time range; a firing in a freeze is omitted, as by `serve`."""
        timetable = load_timetable(playbook, self._read_calendar, settings.guards)
        if timetable is None:
            raise loaded.error(number, "the playbook has no schedule, so it has no firings", "expect", "firings")
        every = list(islice(list_firings(timetable, expected.from_, expected.to), _MOST_FIRINGS + 1))
        if len(every) > _MOST_FIRINGS:
            message = f"more than {_MOST_FIRINGS:,} firings from `from` to `to`"
            raise loaded.error(number, message, "expect", "firings", hint="choose a shorter time range")
        found: list[Firing | LeftOut] = []
        for each in every:
            block = find_block(timetable.freezes, each.moment) if isinstance(each, Firing) else None
            frozen = LeftOut(each.planned, each.local, each.wanted, LeftOutCode.FROZEN, block) if block else each
            found.append(frozen)
        return found


def _load_playbook(source: Source, case: Case, loaded: LoadedCases, number: int) -> LoadedPlaybook:
    try:
        return load_source(source, case.vars)
    except MissingVariableError as error:
        hint = "add the variable to `vars` of the case"
        raise loaded.error(number, error.message, "vars", hint=hint) from error
    except PlaybookError:
        raise
    except UsageError as error:
        raise loaded.error(number, error.message, "vars", hint=error.hint) from error


def _make_settings(loaded: LoadedCases, number: int) -> Settings:
    """Make the settings of a case; paths in the settings go by the folder of the cases file."""
    folder = loaded.file.parent
    located = CaseSettings.model_validate(locate_files(loaded.read_settings(number), folder))
    sections = {name: getattr(located, name) for name in CaseSettings.model_fields}
    return Settings(**sections, audit=AuditSection(state_dir=folder))


def _require_steps(loaded: LoadedCases, number: int, playbook: LoadedPlaybook) -> None:
    """Refuse expected targets of unknown steps.

    Raises:
        PlaybookError: with the line of the step.
    """
    steps = [step.name for step in playbook.playbook.acting_steps]
    for name, cvms in (loaded.cases[number].expect.targets or {}).items():
        if name == ONLY_STEP and name not in steps:
            if len(steps) > 1 and cvms:
                hint = f"write targets by step: {', '.join(steps)}"
                raise loaded.error(number, "the playbook has several steps", "expect", "targets", hint=hint)
        elif name not in steps:
            message = f"the playbook has no step {name!r} with an action"
            raise loaded.error(number, message, "expect", "targets", name, hint=suggest_nearest(name, steps))
