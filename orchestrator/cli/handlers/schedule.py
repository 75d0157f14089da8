"""`orchestrator schedule explain`."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic_core import PydanticCustomError

from orchestrator.cli.consoles import text_width
from orchestrator.cli.handlers.validate import find_workspace_mismatch
from orchestrator.errors import OrchestratorError, PlaybookError, UsageError
from orchestrator.playbook.load import LoadedPlaybook, find_playbook, load_playbook, parse_assignments
from orchestrator.playbook.schedule import first_second, last_second, load_zone, parse_edge
from orchestrator.playbook.source import read_source
from orchestrator.text import safe_text
from orchestrator.times import utc_now

if TYPE_CHECKING:
    from orchestrator.playbook.firings import Timetable
    from orchestrator.playbook.schema import Guards
    from orchestrator.service.folder import ScheduledPlaybook
    from orchestrator.service.state import StoredSchedule
    from orchestrator.settings.load import Settings

_DAYS = 30
_PIPE_WIDTH = 160


def explain_schedule(
    playbook: str, start: str | None, end: str | None, variables: tuple[str, ...], *, as_json: bool
) -> None:
    """List every firing of a playbook's schedule, and every skipped firing with the reason."""
    from orchestrator.playbook.firings import Firing  # noqa: PLC0415 - loads cron
    from orchestrator.report.plan.schedule import (  # noqa: PLC0415 - the same
        count_firings,
        explain_document,
        firing_rows,
        format_local,
        head_lines,
        summarize_firings,
    )
    from orchestrator.runs.documents import write_document  # noqa: PLC0415 - the same
    from orchestrator.service.scheduler import (  # noqa: PLC0415 - the same
        NOTHING_DECIDED,
        forecast_firings,
        forecast_next_firing,
        is_always_frozen,
    )

    with _open_playbook(playbook) as (file, name):
        loaded, timetable, wake, fault = _load_in_force(file, parse_assignments(variables))
    mismatch = find_workspace_mismatch(loaded.playbook)
    zone, now = load_zone(timetable.schedule.timezone), _read_clock()
    opens, closes = _parse_period(start, end, timetable.schedule.timezone, now)
    begins = None if start is None else opens
    tables = [timetable] if wake is None else [timetable, wake]
    states = ((each, _read_state(each.name)) for each in tables)
    lists = [
        forecast_firings(each, state.decided, state.snooze, now, start=begins, end=closes) for each, state in states
    ]
    found, is_frozen = merge(*lists, key=lambda each: each.planned), is_always_frozen(timetable, now)
    if as_json:
        edges = opens, closes
        document = explain_document(
            timetable, name, found, edges, fault, mismatch=mismatch, wake=wake, is_frozen=is_frozen
        )
        write_document(document, sys.stdout.write)
        return
    if fault is not None:
        click.echo(f"warning: {safe_text(str(fault), 400)}", err=True)
        click.echo("`serve` uses the last valid version, shown here.", err=True)
    if mismatch is not None:
        click.echo(f"warning: {safe_text(mismatch, 400)}", err=True)
    counts: Counter[type] = Counter()
    first, *facts = [line for each in tables for line in head_lines(each, is_frozen=is_frozen and each is timetable)]
    click.echo("\n".join((click.style(first, bold=True), *facts, "")))
    width = text_width(_PIPE_WIDTH)
    for line, fires in firing_rows(count_firings(found, counts), width, has_wake=wake is not None):
        click.echo(line if fires else click.style(line, dim=True))
    click.echo("\n" + summarize_firings(counts, opens.astimezone(zone), closes.astimezone(zone)))
    if not counts[Firing]:
        coming = forecast_next_firing(timetable, NOTHING_DECIDED, None, closes)
        next_firing = (
            f"next firing: {format_local(coming.local)}" if coming else "no firing in the following year either"
        )
        click.echo(f"No firing in this time; {next_firing}.")


@contextmanager
def _open_playbook(playbook: str) -> Iterator[tuple[Path, str]]:
    """Yield the file of a playbook, and its name for people: of the team store by name, else of this machine."""
    from orchestrator.service.stores import open_pushed  # noqa: PLC0415 - loads cron

    settings, pushed = _read_settings(), None
    with ExitStack() as stack:
        if settings is not None and not Path(playbook).is_file():
            try:
                pushed = stack.enter_context(open_pushed(settings))
            except (OrchestratorError, OSError) as error:
                note = "the playbook of this machine is shown"
                click.echo(f"warning: the team store can't be read, {note}: {safe_text(str(error), 400)}", err=True)
        if pushed is not None and playbook in pushed:
            yield pushed[playbook], f"team store: {pushed[playbook].name}"
        else:
            file = find_playbook(playbook)
            yield file, str(file)


def _load_in_force(
    file: Path, values: Mapping[str, str]
) -> "tuple[LoadedPlaybook, Timetable, Timetable | None, PlaybookError | None]":
    """Return a playbook and its timetables; for an unusable file, the version used by `serve`, and the fault."""
    from orchestrator.playbook.timetable import load_timetable, load_wake_timetable  # noqa: PLC0415 - loads cron

    try:
        loaded = _load_schedule(file, values)
        timetable, wake = load_timetable(loaded, guards=_read_guards()), load_wake_timetable(loaded)
    except PlaybookError as error:
        kept = _read_kept(file)
        if kept is None:
            raise
        return kept.loaded, kept.timetable, load_wake_timetable(kept.loaded), error
    if timetable is None:
        hint = 'add `schedule: {cron: "30 2 * * *", timezone: Europe/Berlin}`, with your cron expression and zone'
        raise PlaybookError("the playbook has no schedule", file=loaded.file, hint=hint)
    return loaded, timetable, wake, None


def _read_kept(file: Path) -> "ScheduledPlaybook | None":
    from orchestrator.service.state import read_kept_version  # noqa: PLC0415 - loads cron
    from orchestrator.service.stores import journal_reader, kept_folder  # noqa: PLC0415 - the same

    settings = _read_settings()
    with suppress(OrchestratorError, OSError):
        if settings is not None:
            return read_kept_version(journal_reader(settings), kept_folder(settings), file, settings.guards)
    return None


def _read_settings() -> "Settings | None":
    """Read the settings; None without usable settings, since the firings of a playbook are known all the same."""
    from orchestrator.settings.load import load_settings  # noqa: PLC0415 - loads pydantic's settings

    with suppress(OrchestratorError, OSError):
        return load_settings(None, ())
    return None


def _read_guards() -> "Guards | None":
    """Read the guards of the settings, for their freezes; None without usable settings."""
    settings = _read_settings()
    return None if settings is None else settings.guards


def _read_clock() -> datetime:
    """Return the time of day: the team store's if available."""
    from orchestrator.runs.stores import read_clock  # noqa: PLC0415 - loads the stores

    settings = _read_settings()
    with suppress(OrchestratorError, OSError):
        return utc_now() if settings is None else read_clock(settings)
    return utc_now()


def _read_state(playbook: str) -> "StoredSchedule":
    """Read the schedule's state left by `serve` in the state directory of the settings, if available."""
    from orchestrator.service.state import StoredSchedule, read_stored_schedule  # noqa: PLC0415 - loads cron
    from orchestrator.service.stores import journal_reader, snooze_store  # noqa: PLC0415 - the same

    settings = _read_settings()
    with suppress(OrchestratorError, OSError):
        if settings is not None:
            return read_stored_schedule(journal_reader(settings), snooze_store(settings), playbook)
    return StoredSchedule()


def _load_schedule(file: Path, values: Mapping[str, str]) -> LoadedPlaybook:
    # Variables of the steps are not needed here.
    loaded = load_playbook(file, values, allow_undefined=True)
    if loaded.playbook.schedule is None and loaded.undefined and "schedule" in read_source(file).tree:
        # The schedule does need a variable: name the undefined variables.
        return load_playbook(file, values)
    return loaded


def _parse_period(start: str | None, end: str | None, timezone: str, now: datetime) -> tuple[datetime, datetime]:
    """Return the begin and the end of the time; the end is excluded."""
    zone = load_zone(timezone)
    second = timedelta(seconds=1)
    opens = now.replace(microsecond=0) if start is None else _parse_edge(start, "--from", timezone, last=False)
    closes = opens + timedelta(days=_DAYS) if end is None else _parse_edge(end, "--to", timezone, last=True) + second
    if closes <= opens:
        raise UsageError(
            f"--to is before --from ({opens.astimezone(zone).isoformat(' ', 'minutes')})",
            hint="for past firings, give --from too",
        )
    return opens, closes


def _parse_edge(text: str, option: str, timezone: str, *, last: bool) -> datetime:
    try:
        edge = parse_edge(text)
    except PydanticCustomError as error:
        hint = f"{(error.context or {}).get('hint')}; without an offset the time is in {timezone}"
        raise UsageError(f"{option}: {error.message()}", hint=hint) from error
    zone = load_zone(timezone)
    return (last_second(edge, zone) if last else first_second(edge, zone)).astimezone(UTC)
