"""`orchestrator snooze`."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

import click

from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.outcome import Exit
from orchestrator.playbook.firings import LeftOut, LeftOutCode, Timetable
from orchestrator.playbook.load import find_playbook, load_playbook
from orchestrator.playbook.schedule import load_zone
from orchestrator.playbook.timetable import load_timetable
from orchestrator.report.plan.schedule import format_firing, format_local
from orchestrator.report.plan.until import parse_until
from orchestrator.runs.stores import find_actor, read_clock
from orchestrator.service.protocols import JournalReader, SnoozeStore
from orchestrator.service.scheduler import Snooze, Snoozed, forecast_firings, forecast_next_firing
from orchestrator.service.state import StoredSchedule, read_kept_version, read_stored_schedule
from orchestrator.service.stores import journal_reader, kept_folder, open_pushed, snooze_store
from orchestrator.settings.load import Settings, load_settings
from orchestrator.text import plural, safe_text
from orchestrator.times import timestamp
from orchestrator.validation_messages import suggest_nearest

_SECOND = timedelta(seconds=1)
_MANY = 1000
"""The highest exact number of skipped firings."""


def snooze_playbook(
    playbook: str | None,
    until: str | None,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    clear: bool,
    listed: bool,
    as_json: bool,
) -> int:
    """Snooze the firings of a playbook for a time, end a snooze, or list all snoozes."""
    settings = load_settings(config, assignments)
    journal, snoozes, now = journal_reader(settings), snooze_store(settings), read_clock(settings)
    if listed + clear + (until is not None) != 1 or (playbook is None) != listed:
        raise UsageError(
            "give one of: PLAYBOOK --until TIME, PLAYBOOK --clear, --list",
            hint="see `orchestrator snooze --help`",
        )
    if playbook is None:
        _print_snoozes(_snooze_documents(journal, snoozes, now), "No playbook is snoozed.", as_json=as_json)
        return int(Exit.OK)
    with open_pushed(settings) as pushed:
        zone, source = _find_schedule(playbook, journal) if pushed is None else _find_pushed(playbook, pushed)
        if until is None:
            _end_snooze(playbook, source, settings, now, as_json=as_json)
        else:
            _set_snooze(playbook, source, settings, Snooze(now, parse_until(until, zone, now)), zone, as_json=as_json)
    return int(Exit.OK)


def _end_snooze(playbook: str, source: Path, settings: Settings, now: datetime, *, as_json: bool) -> None:
    lasted = snooze_store(settings).clear_snooze(playbook, now)
    if as_json:
        click.echo(json.dumps({"playbook": playbook, "snoozed_until": None, "was_snoozed": lasted}, indent=2))
        return
    then = _describe_next(_read_outlook(source, playbook, settings), now)
    click.echo(f"{safe_text(playbook)} is {'no longer' if lasted else 'not'} snoozed{then}.")


def _set_snooze(playbook: str, source: Path, settings: Settings, snooze: Snooze, zone: str, *, as_json: bool) -> None:
    snoozes = snooze_store(settings)
    snoozes.set_snooze(playbook, Snoozed(snooze, find_actor()))
    if as_json:
        click.echo(json.dumps(_snooze_document(playbook, snoozes.read_snoozes()[playbook], zone), indent=2))
        return
    local, outlook = snooze.until.astimezone(load_zone(zone)), _read_outlook(source, playbook, settings)
    outlook_text = f"{_describe_skipped(outlook, snooze)}{_describe_next(outlook, snooze.begins)}"
    click.echo(f"{safe_text(playbook)} is snoozed until {format_local(local)}{outlook_text}.")


def _find_pushed(playbook: str, pushed: Mapping[str, Path]) -> tuple[str, Path]:
    """Find the time zone and the file of a pushed playbook."""
    if playbook not in pushed:
        hint = suggest_nearest(playbook, list(pushed)) if pushed else "push playbooks: orchestrator playbooks push DIR"
        raise UsageError(f"no playbook {playbook!r} with a schedule in the team store", hint=hint)
    loaded = load_playbook(pushed[playbook], {}, allow_undefined=True)
    if loaded.playbook.schedule is None:
        hint = "add a `schedule` and push again, or give another playbook"
        raise UsageError(f"the playbook {playbook!r} has no schedule", file=pushed[playbook].name, hint=hint)
    return loaded.playbook.schedule.timezone, pushed[playbook]


def _find_schedule(playbook: str, journal: JournalReader) -> tuple[str, Path]:
    """Find the time zone and the file of a playbook known to the service, or stored in ./playbooks."""
    known = dict(journal.read_state().list_present())
    if playbook in known:
        return known[playbook].timezone, Path(known[playbook].file)
    try:
        loaded = load_playbook(find_playbook(playbook), {}, allow_undefined=True)
    except OrchestratorError as error:
        hint = suggest_nearest(playbook, list(known)) if known else error.hint
        raise UsageError(f"no playbook {playbook!r} with a schedule", hint=hint) from error
    if loaded.playbook.schedule is None:
        hint = "add a `schedule`, or give another playbook"
        raise UsageError(f"the playbook {playbook!r} has no schedule", file=loaded.file, hint=hint)
    if loaded.playbook.name != playbook:
        hint = f"give the name in the file: {loaded.playbook.name}"
        raise UsageError(f"{playbook!r} is not the name of the playbook", file=loaded.file, hint=hint)
    return loaded.playbook.schedule.timezone, loaded.file


def _describe_skipped(outlook: "_Outlook | None", snooze: Snooze) -> str:
    if outlook is None:
        return ""
    coming = forecast_firings(
        outlook.timetable, outlook.state.decided, outlook.state.snooze, snooze.begins, end=snooze.until
    )
    snoozed = (each for each in coming if isinstance(each, LeftOut) and each.code is LeftOutCode.SNOOZED)
    number = len(list(islice(snoozed, _MANY + 1)))
    return f"; {f'more than {_MANY:,} firings' if number > _MANY else plural(number, 'firing')} skipped"


def _describe_next(outlook: "_Outlook | None", now: datetime) -> str:
    if outlook is None:
        return ""
    coming = forecast_next_firing(outlook.timetable, outlook.state.decided, outlook.state.snooze, now)
    return "" if coming is None else f"; next firing: {format_firing(coming)}"


@dataclass(frozen=True, slots=True)
class _Outlook:
    """The next firing of a playbook, and the known facts."""

    timetable: Timetable
    state: StoredSchedule


def _read_outlook(source: Path, playbook: str, settings: Settings) -> _Outlook | None:
    """Find the next firing, if known, by the version used by the service."""
    journal, timetable = journal_reader(settings), None
    with suppress(OrchestratorError):
        timetable = load_timetable(load_playbook(source, {}, allow_undefined=True), guards=settings.guards)
    if timetable is None:
        kept = read_kept_version(journal, kept_folder(settings), source, settings.guards)
        timetable = None if kept is None else kept.timetable
    if timetable is None:
        return None
    return _Outlook(timetable, read_stored_schedule(journal, snooze_store(settings), playbook))


def _snooze_documents(journal: JournalReader, snoozes: SnoozeStore, now: datetime) -> list[dict[str, object]]:
    known = journal.read_state().playbooks
    return [
        _snooze_document(name, each, known[name].timezone if name in known else "UTC")
        for name, each in sorted(snoozes.read_snoozes().items())
        if now < each.snooze.until
    ]


def _snooze_document(playbook: str, snoozed: Snoozed, zone: str) -> dict[str, object]:
    until = snoozed.snooze.until
    return {
        "playbook": playbook,
        "snoozed_until": timestamp(until),
        "local": until.astimezone(load_zone(zone)).isoformat(timespec="seconds"),
        "timezone": zone,
        "since": timestamp(snoozed.snooze.begins),
        "by": snoozed.by,
    }


def _print_snoozes(documents: list[dict[str, object]], nothing: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(documents, indent=2))
    elif not documents:
        click.echo(nothing)
    for each in () if as_json else documents:
        until = format_local(datetime.fromisoformat(str(each["local"])))
        click.echo(f"{safe_text(each['playbook'])}: snoozed until {until} by {safe_text(each['by'])}")
