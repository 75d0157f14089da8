"""`orchestrator playbooks push` and `orchestrator playbooks list`."""

import json
from collections import Counter
from pathlib import Path

import click

from orchestrator.cli.handlers.store import require_url
from orchestrator.cli.handlers.validate import list_playbook_files
from orchestrator.errors import MissingVariableError, PlaybookError, UsageError
from orchestrator.playbook.calendars import MAX_BYTES, CalendarReader
from orchestrator.playbook.load import LoadedPlaybook, load_source
from orchestrator.playbook.schedule import CalendarFile
from orchestrator.playbook.source import parse_source, read_source
from orchestrator.playbook.timetable import load_freezes, load_timetable, load_wake_timetable
from orchestrator.postgres.connect import connect
from orchestrator.postgres.playbooks import Change, PushedFolder, StoredPlaybook, push_playbooks, read_pushed
from orchestrator.runs.freeze import carry_calendars
from orchestrator.runs.stores import find_actor
from orchestrator.settings.load import load_settings
from orchestrator.state_files import read_regular
from orchestrator.text import plural, safe_text
from orchestrator.times import format_clock, timestamp


def push_folder(folder: Path, config: Path | None, assignments: tuple[str, ...], *, prune: bool, as_json: bool) -> int:
    """Check all playbooks in a folder, and push these playbooks to the team store."""
    store = load_settings(config, assignments).store
    url = require_url(store)
    pushed = read_folder(folder)
    with connect(url, listen=store.listen) as connection:
        changes = push_playbooks(connection, pushed, prune=prune, by=find_actor())
    warnings = _list_warnings(pushed)
    if as_json:
        documents: dict[str, object] = {
            f"{kind}s": [{"name": each.name, "change": each.change} for each in changes if each.kind == kind]
            for kind in ("playbook", "calendar")
        }
        click.echo(json.dumps({**documents, "warnings": warnings}, indent=2))
        return 0
    for warning in warnings:
        click.echo(f"warning: {safe_text(warning)}", err=True)
    _print_changes(changes, folder)
    return 0


def list_playbooks(config: Path | None, assignments: tuple[str, ...], *, as_json: bool) -> int:
    """List the playbooks of the team store."""
    store = load_settings(config, assignments).store
    with connect(require_url(store), listen=store.listen) as connection:
        found = read_pushed(connection).playbooks
    if as_json:
        documents = [
            {
                "playbook": each.name,
                "file": each.file,
                "sha256": each.sha256,
                "pushed_by": each.pushed_by,
                "pushed_at": None if each.pushed_at is None else timestamp(each.pushed_at),
            }
            for each in found
        ]
        click.echo(json.dumps(documents, indent=2))
        return 0
    if not found:
        click.echo("The team store has no playbooks. Push a folder: orchestrator playbooks push DIR")
    width = max((len(safe_text(each.name)) for each in found), default=0)
    for each in found:
        at = "" if each.pushed_at is None else f" {format_clock(each.pushed_at)}"
        click.echo(f"{safe_text(each.name):{width}}  pushed by {safe_text(each.pushed_by)}{at}  {each.sha256[:12]}")
    return 0


def read_folder(folder: Path) -> PushedFolder:
    """Read and check the playbooks of a folder, with their calendars.

    Raises:
        UsageError: when the folder is missing, or has no playbook.
        PlaybookError: when a playbook is invalid, with file and line; `more` has the other errors.
    """
    if not folder.is_dir():
        raise UsageError(f"the folder {str(folder)!r} does not exist", hint="give the folder of the playbooks")
    files = list_playbook_files(folder)
    if not files:
        hint = "give the folder of the playbooks; an empty folder is never pushed"
        raise UsageError(f"no playbooks found in {folder}", hint=hint)
    errors: list[PlaybookError] = []
    found: dict[str, StoredPlaybook] = {}
    calendars: dict[str, bytes] = {}
    read_calendar = CalendarReader()
    for file in files:
        try:
            loaded = _load(file)
            load_timetable(loaded, read_calendar)
            load_wake_timetable(loaded, read_calendar)
            load_freezes(loaded, read_calendar)
            carry_calendars(loaded)
            calendars |= _read_calendars(loaded)
            name = loaded.playbook.name
            if name in found:
                message, hint = f"the name {name!r} is also used in {found[name].file}", "rename a playbook"
                raise PlaybookError(message, file=file, line=_line_of(loaded, "name"), hint=hint)  # noqa: TRY301 - as others
            found[name] = StoredPlaybook(name, file.name, loaded.data, loaded.sha256)
        except PlaybookError as error:
            errors += (error, *(each for each in error.more if isinstance(each, PlaybookError)))
    if errors:
        errors[0].more = tuple(errors[1:])
        raise errors[0]
    return PushedFolder(0, list(found.values()), calendars)


def _list_warnings(pushed: PushedFolder) -> list[str]:
    """List the playbooks with a schedule and without a workspace: valid, but perhaps without a place to run."""
    found = []
    for each in pushed.playbooks:
        playbook = load_source(parse_source(each.source, Path(each.file)), {}, allow_undefined=True).playbook
        if playbook.schedule is not None and not playbook.workspaces:
            hint = "add `workspaces: [NAME]`, unless the settings of `serve` have exactly one"
            found.append(f"{each.file}: the schedule names no workspace; {hint}")
    return found


def _load(file: Path) -> LoadedPlaybook:
    """Load a playbook; only a playbook without a schedule may need variables."""
    source = read_source(file)
    try:
        return load_source(source, {}, allow_undefined="schedule" not in source.tree)
    except MissingVariableError as error:
        error.hint = "give the variable a default: a firing can't ask for values"
        raise


def _read_calendars(loaded: LoadedPlaybook) -> dict[str, bytes]:
    """Read the calendar files of the schedule and of the freezes, by path relative to the folder."""
    folder, found = loaded.file.parent, {}
    schedule, wake, guards = loaded.playbook.schedule, loaded.playbook.wake, loaded.playbook.guards
    entries = [("schedule", each) for each in (() if schedule is None else schedule.not_on)]
    entries += [("wake", each) for each in (() if wake is None else wake.not_on)]
    rules = [*(guards.not_during or ()), *(guards.only_during or ())]
    for key, entry in (*entries, *(("guards", each) for rule in rules for each in rule.on)):
        if not isinstance(entry, CalendarFile):
            continue
        path = Path(entry.text)
        if path.is_absolute() or ".." in path.parts:
            message = f"the calendar {entry.text} lies outside of the folder"
            line, hint = _line_of(loaded, key), f"move the calendar into {folder}"
            raise PlaybookError(message, file=loaded.file, line=line, hint=hint)
        try:
            found[path.as_posix()] = read_regular(folder / path, MAX_BYTES)
        except (OSError, ValueError) as error:
            raise PlaybookError(f"the calendar {entry.text} can't be read: {error}", file=loaded.file) from error
    return found


def _line_of(loaded: LoadedPlaybook, key: str) -> int:
    return parse_source(loaded.data, loaded.file).line_of((key,))


def _print_changes(changes: list[Change], folder: Path) -> None:
    counts = Counter(each.change for each in changes if each.kind == "playbook")
    for each in changes:
        name = safe_text(each.name)
        if each.kind == "calendar" and each.change in {"added", "changed", "removed"}:
            click.echo(f"{each.change} calendar {name}")
        elif each.kind == "playbook" and each.change == "kept":
            click.echo(f"kept {name}: not in {safe_text(folder)}; remove with --prune", err=True)
        elif each.kind == "playbook" and each.change != "unchanged":
            click.echo(f"{each.change} {name}")
    total = counts["added"] + counts["changed"] + counts["unchanged"] + counts["kept"]
    click.echo(f"the team store has {plural(total, 'playbook')}: {counts['unchanged']} unchanged by this push")
