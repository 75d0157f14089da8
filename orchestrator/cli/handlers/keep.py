"""`orchestrator keep`."""

import getpass
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from orchestrator.cli.consoles import stdout_console
from orchestrator.errors import UsageError
from orchestrator.outcome import Exit
from orchestrator.playbook.keep import KeepEntry, order_entries
from orchestrator.report.layout import Column, print_table
from orchestrator.report.plan.until import parse_until
from orchestrator.runs.adhoc import is_identifier
from orchestrator.runs.keeping import COMMAND, KeepReader
from orchestrator.runs.stores import keep_store, read_clock
from orchestrator.settings.load import load_settings
from orchestrator.text import plural, safe_text


def keep_cvms(
    cvms: tuple[str, ...],
    until: str | None,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    reason: str | None,
    owner: str | None,
    clear: bool,
    listed: bool,
    as_json: bool,
) -> int:
    """Exempt CVMs, end exemptions, or list all exemptions."""
    settings = load_settings(config, assignments)
    if cvms and not (listed or clear) and until is None:
        raise UsageError("an exemption needs an end", hint="add --until TIME, such as --until 2026-12-01 or --until 3d")
    if not all(cvm.strip() for cvm in cvms):
        raise UsageError("the name of a CVM is empty", hint="an unset variable of the shell is empty")
    if listed + clear + (until is not None) != 1 or bool(cvms) == listed:
        raise UsageError(
            "give one of: CVM... --until TIME --reason TEXT, CVM... --clear, --list",
            hint="see `orchestrator keep --help`",
        )
    now = read_clock(settings)
    if listed:
        _print_list(KeepReader().read_every(settings), now, as_json=as_json)
    elif clear:
        ended = keep_store(settings).remove_entries(cvms, now)
        _print_ended(cvms, ended, as_json=as_json)
    else:
        assert until is not None  # noqa: S101 - checked above
        entries = _make_entries(cvms, parse_until(until, "UTC", now), reason, owner)
        keep_store(settings).add_entries(entries, now)
        if as_json:
            click.echo(json.dumps([entry.document(now) for entry in entries], indent=2))
        else:
            names = ", ".join(safe_text(entry.value) for entry in entries)
            click.echo(f"kept until {entries[0].until:%Y-%m-%d %H:%M} UTC: {names}")
    return int(Exit.OK)


def _make_entries(cvms: Sequence[str], until: datetime, reason: str | None, owner: str | None) -> list[KeepEntry]:
    if reason is None or not reason.strip():
        raise UsageError("an exemption needs a reason", hint="add --reason TEXT, such as --reason 'load test'")
    who = owner or _login_name()
    kinds = [("id" if is_identifier(cvm) else "name", cvm) for cvm in dict.fromkeys(cvms)]
    return [KeepEntry(key, value, until, who, reason.strip(), COMMAND) for key, value in kinds]


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise UsageError("the login name is not known", hint="add --owner WHO") from error


def _print_ended(cvms: Sequence[str], ended: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"ended": list(ended)}, indent=2))
        return
    click.echo(f"{plural(len(ended), 'exemption')} ended" + (f": {', '.join(map(safe_text, ended))}" if ended else ""))
    for cvm in cvms:
        if cvm not in ended:
            click.echo(f"hint: {safe_text(cvm)} has no exemption by command; see `orchestrator keep --list`", err=True)


def _print_list(entries: Sequence[KeepEntry], now: datetime, *, as_json: bool) -> None:
    ordered = order_entries(entries, now)
    if as_json:
        click.echo(json.dumps([entry.document(now) for entry in ordered], indent=2))
        return
    if not ordered:
        click.echo("No CVM is exempted.")
        return
    columns = [Column("CVM", wraps=True), Column("until"), Column("owner", rank=1), Column("reason", wraps=True)]
    rows = [
        [
            safe_text(entry.value),
            f"{entry.until:%Y-%m-%d %H:%MZ}" + (" (expired)" if entry.has_expired(now) else ""),
            safe_text(entry.owner, 64),
            safe_text(entry.reason),
            safe_text(entry.source, 100),
        ]
        for entry in ordered
    ]
    print_table(stdout_console(), [*columns, Column("source", rank=2)], rows)
