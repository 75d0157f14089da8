"""`orchestrator schedule explain`."""

import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
from pydantic_core import PydanticCustomError

from orchestrator.errors import OrchestratorError, PlaybookError, UsageError
from orchestrator.moment import utc_now
from orchestrator.playbook.load import LoadedPlaybook, find_playbook, load_playbook
from orchestrator.playbook.schedule import first_second, last_second, parse_edge, zone_of
from orchestrator.playbook.source import read_source
from orchestrator.playbook.variables import parse_assignments

if TYPE_CHECKING:
    from orchestrator.playbook.firings import Firing, LeftOut

_DAYS = 30
_PIPE_WIDTH = 160


def explain(playbook: str, start: str | None, end: str | None, variables: tuple[str, ...], *, as_json: bool) -> None:
    """List every firing of a playbook's schedule, and every one that is left out, with the reason."""
    loaded = _load(playbook, parse_assignments(variables))
    schedule = loaded.playbook.schedule
    if schedule is None:
        hint = 'add `schedule: {cron: "30 2 * * *", timezone: Europe/Berlin}`, with your cron expression and zone'
        raise PlaybookError("the playbook has no schedule", file=loaded.file, hint=hint)
    from orchestrator.playbook.firings import Firing, firings, next_firing  # noqa: PLC0415 - loads cron
    from orchestrator.playbook.timetable import load_timetable  # noqa: PLC0415 - the same
    from orchestrator.report.documents import write_document  # noqa: PLC0415 - the same
    from orchestrator.report.schedule_text import (  # noqa: PLC0415 - the same
        clock,
        explain_document,
        head,
        rows,
        summary,
        tallied,
    )

    timetable = load_timetable(loaded)
    assert timetable is not None  # noqa: S101 - it has a schedule
    zone = zone_of(schedule.timezone)
    opens, closes = _stretch(start, end, schedule.timezone, utc_now())
    found = _with_snoozes(firings(timetable, opens, closes), timetable.name)
    if as_json:
        write_document(explain_document(timetable, str(loaded.file), found, opens, closes), sys.stdout.write)
        return
    counts: Counter[type] = Counter()
    first, *facts = head(timetable)
    click.echo("\n".join((click.style(first, bold=True), *facts, "")))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH
    for line, fires in rows(tallied(found, counts), width):
        click.echo(line if fires else click.style(line, dim=True))
    click.echo("\n" + summary(counts, opens.astimezone(zone), closes.astimezone(zone)))
    if not counts[Firing]:
        coming = next_firing(timetable, closes)
        told = f"the next is at {clock(coming.local)}" if coming else "nor does anything in the year after"
        click.echo(f"Nothing fires; {told}.")


def _with_snoozes(found: "Iterator[Firing | LeftOut]", playbook: str) -> "Iterator[Firing | LeftOut]":
    """The same, with what is snoozed left out, as far as the state folder that the settings name tells."""
    from orchestrator.playbook.firings import Firing, LeftOut  # noqa: PLC0415 - loads cron
    from orchestrator.service.snoozes import SnoozeFile  # noqa: PLC0415 - the same
    from orchestrator.settings.load import load_settings  # noqa: PLC0415 - the same

    snooze = None
    with suppress(OrchestratorError):  # When a playbook is due can be told without settings.
        snoozed = SnoozeFile(load_settings(None, ()).audit.state_dir).read().get(playbook)
        snooze = None if snoozed is None else snoozed.snooze
    for each in found:
        if (
            isinstance(each, Firing)
            and snooze is not None
            and snooze.begins <= each.moment
            and each.planned < snooze.until
        ):
            until = snooze.until.astimezone(each.local.tzinfo)
            yield LeftOut(each.planned, each.local, each.wanted, f"snoozed until {until:%Y-%m-%d %H:%M}")
        else:
            yield each


def _load(playbook: str, values: Mapping[str, str]) -> LoadedPlaybook:
    file = find_playbook(playbook)
    # What the steps need is not needed here.
    loaded = load_playbook(file, values, allow_undefined=True)
    if loaded.playbook.schedule is None and loaded.undefined and "schedule" in read_source(file).tree:
        # The schedule does need one: say which variables are open.
        return load_playbook(file, values)
    return loaded


def _stretch(start: str | None, end: str | None, timezone: str, now: datetime) -> tuple[datetime, datetime]:
    """From when, and before when."""
    zone = zone_of(timezone)
    second = timedelta(seconds=1)
    opens = now.replace(microsecond=0) if start is None else _edge(start, "--from", timezone, last=False)
    closes = opens + timedelta(days=_DAYS) if end is None else _edge(end, "--to", timezone, last=True) + second
    if closes <= opens:
        raise UsageError(
            f"--to is before --from, which is {opens.astimezone(zone).isoformat(' ', 'minutes')}",
            hint="give --from as well to look at the past",
        )
    return opens, closes


def _edge(text: str, option: str, timezone: str, *, last: bool) -> datetime:
    try:
        edge = parse_edge(text)
    except PydanticCustomError as error:
        raise UsageError(f"{option}: {error.message()}", hint=str((error.context or {}).get("hint"))) from error
    zone = zone_of(timezone)
    return (last_second(edge, zone) if last else first_second(edge, zone)).astimezone(UTC)
