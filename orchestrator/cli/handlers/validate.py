"""`orchestrator validate`."""

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.print_error import print_error
from orchestrator.errors import OrchestratorError, PlaybookError, UsageError
from orchestrator.outcome import Exit
from orchestrator.playbook.load import LoadedPlaybook, find_playbook, load_playbook, parse_assignments
from orchestrator.playbook.schema import Playbook
from orchestrator.playbook.shipped import is_cases_file
from orchestrator.playbook.source import find_top_keys, read_source
from orchestrator.text import plural
from orchestrator.times import utc_now

_OWN_KEYS = [key for key in Playbook.model_fields if key not in {"name", "description"}]


def validate_playbooks(playbooks: tuple[str, ...], variables: tuple[str, ...], *, as_json: bool) -> int:
    """Check playbooks without a network."""
    values = parse_assignments(variables)
    errors: list[OrchestratorError] = []
    documents: list[dict[str, Any]] = []
    for name in playbooks or _all_playbooks():
        try:
            if is_cases_file(Path(name)):
                documents.append(_check_cases(Path(name), as_json=as_json))
                continue
            loaded = load_playbook(find_playbook(name), values, allow_undefined=True)
            frozen = _check_freezes(loaded)
            due = None if loaded.playbook.schedule is None else _schedule_document(loaded)
            wake = None if loaded.playbook.wake is None else _schedule_document(loaded, wake=True)
        except PlaybookError as error:
            errors += (error, *error.more)
            continue
        warnings = [*_list_warnings(loaded), *frozen]
        documents.append({**_playbook_document(loaded), "schedule": due, "wake": wake, "warnings": warnings})
        if not as_json:
            click.echo(_format_line(loaded))
            for warning in warnings:
                click.echo(f"  warning: {warning['message']}", err=True)
            for times in filter(None, (due, wake)):
                click.echo(f"  {times['says']}")
                for warning in times["warnings"]:
                    click.echo(f"  warning: {warning['message']}", err=True)
    if errors:
        errors[0].more = tuple(errors[1:])
        print_error(errors[0], as_json=as_json, extra={"playbooks": documents})
        return int(Exit.USAGE)
    if as_json:
        click.echo(json.dumps(documents, indent=2))
    return int(Exit.OK)


def _check_cases(file: Path, *, as_json: bool) -> dict[str, Any]:
    """Check the form of a cases file; `test` checks the plans.

    Raises:
        PlaybookError: with file, line and key, when the cases are invalid.
    """
    from orchestrator.runs.cases.schema import load_cases  # noqa: PLC0415 - few folders have cases

    loaded = load_cases(file)
    if not as_json:
        click.echo(f"{file}: ok, {plural(len(loaded.cases), 'case')}")
    return {"file": str(file), "playbook": str(loaded.playbook), "cases": len(loaded.cases)}


def _all_playbooks() -> tuple[str, ...]:
    found = tuple(map(str, list_playbook_files(Path("playbooks"))))
    if not found:
        hint = "name the files, or start in the parent folder of ./playbooks"
        raise UsageError("no playbooks found in ./playbooks", hint=hint)
    return found


def list_playbook_files(folder: Path) -> list[Path]:
    """List the playbooks in a folder, misspelt playbooks too. YAML files of other tools are left out."""
    files = sorted(file for file in folder.glob("*.y*ml") if file.suffix in {".yaml", ".yml"})
    return [
        file for file in files if not file.name.startswith(".") and not is_cases_file(file) and _may_be_playbook(file)
    ]


def _may_be_playbook(file: Path) -> bool:
    """Check for the keys of a playbook: `steps`, or `name` with a word close to a key of playbooks."""
    try:
        keys = {str(key) for key in read_source(file).tree}
    except PlaybookError:
        try:
            keys = find_top_keys(file)
        except (OSError, ValueError):
            return True
    others = {key.casefold() for key in keys - {"name"}}
    return "steps" in keys or ("name" in keys and any(get_close_matches(key, _OWN_KEYS, n=1) for key in others))


def _list_warnings(loaded: LoadedPlaybook) -> list[dict[str, str]]:
    name, stem = loaded.playbook.name, loaded.file.stem
    warnings = []
    if name != stem:
        message = (
            f"the file is named {stem!r}, but the playbook {name!r}: "
            "commands use the file name, `serve` and logs the other"
        )
        warnings.append({"code": "name_differs_from_file", "message": message})
    mismatch = find_workspace_mismatch(loaded.playbook)
    if mismatch is not None:
        warnings.append({"code": "workspaces_differ_from_settings", "message": mismatch})
    return warnings


def find_workspace_mismatch(playbook: Playbook) -> str | None:
    """Explain why a playbook's workspaces do not match the settings; None without workspaces or usable settings."""
    if not playbook.workspaces:
        return None
    from orchestrator.runs.workspaces import explain_mismatch  # noqa: PLC0415 - few playbooks name workspaces
    from orchestrator.settings.load import load_settings  # noqa: PLC0415 - the same

    try:
        settings = load_settings(None, ())
    except OrchestratorError:
        return None  # a playbook is valid without settings; other commands report their faults
    return explain_mismatch(settings, playbook)


def _playbook_document(loaded: LoadedPlaybook) -> dict[str, object]:
    return {
        "file": str(loaded.file),
        "playbook": loaded.playbook.name,
        "steps": len(loaded.playbook.steps),
        "sha256": loaded.sha256,
        "variables_needed": list(loaded.undefined),
    }


def _schedule_document(loaded: LoadedPlaybook, *, wake: bool = False) -> dict[str, Any]:
    # Only playbooks with a schedule need these modules.
    from orchestrator.playbook.timetable import load_timetable, load_wake_timetable  # noqa: PLC0415
    from orchestrator.report.plan.schedule import due_document  # noqa: PLC0415
    from orchestrator.service.scheduler import (  # noqa: PLC0415
        NOTHING_DECIDED,
        forecast_next_firing,
        is_always_frozen,
    )

    timetable = load_wake_timetable(loaded) if wake else load_timetable(loaded)
    assert timetable is not None  # noqa: S101 - it has a schedule
    now, verb = utc_now(), "wake" if wake else "due"
    coming, is_frozen = forecast_next_firing(timetable, NOTHING_DECIDED, None, now), is_always_frozen(timetable, now)
    return due_document(timetable.schedule, coming, verb, is_frozen=is_frozen)


def _check_freezes(loaded: LoadedPlaybook) -> list[dict[str, str]]:
    """Read the calendars of freezes, and warn about a freeze without an end.

    Raises:
        PlaybookError: when a calendar is missing or unusable.
    """
    if not (loaded.playbook.guards.not_during or loaded.playbook.guards.only_during):
        return []
    # Few playbooks have a freeze.
    from orchestrator.playbook.calendars import CalendarReader  # noqa: PLC0415
    from orchestrator.playbook.freeze import find_free_moment  # noqa: PLC0415
    from orchestrator.playbook.timetable import load_freezes  # noqa: PLC0415
    from orchestrator.runs.freeze import FREEZE_ALWAYS  # noqa: PLC0415

    is_always_on = find_free_moment(load_freezes(loaded, CalendarReader()), utc_now()) is None
    return [FREEZE_ALWAYS.document()] if is_always_on else []


def _format_line(loaded: LoadedPlaybook) -> str:
    needs = f"; needs {', '.join(f'--var {name}=…' for name in loaded.undefined)}" if loaded.undefined else ""
    steps = len(loaded.playbook.steps)
    return f"{Path(loaded.file)}: ok, {steps} step{'' if steps == 1 else 's'}{needs}"
