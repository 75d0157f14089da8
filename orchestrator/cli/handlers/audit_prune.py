"""`orchestrator audit prune`."""

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path

import click

from orchestrator.audit.keys import key_id, read_public_key
from orchestrator.audit.pruning import Found, KeepReason, PrunePolicy, inspect_log, keep_fleets_whole, remove_logs
from orchestrator.audit.store import FileRunStore
from orchestrator.cli.confirmation import require_answer
from orchestrator.errors import NotConfirmedError, UsageError
from orchestrator.outcome import Exit
from orchestrator.runs.stores import file_run_store, find_actor, fleet_store
from orchestrator.settings.load import load_settings
from orchestrator.text import plural, safe_text
from orchestrator.times import format_duration, parse_time_span, timestamp, utc_now

_NAMED = frozenset({KeepReason.ALTERED, KeepReason.FOREIGN, KeepReason.HELD, KeepReason.CHANGED})
"""The reasons with a list of the kept logs."""
_HINTS = {
    KeepReason.UNSEALED: "seal them first, or add --unsealed",
    KeepReason.UNFINISHED: "resume them, or add --unfinished",
}
_MOST = 20


def prune_logs(
    older_than: str,
    public_keys: tuple[Path, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    unsealed: bool,
    unfinished: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Remove old logs."""
    try:
        age = parse_time_span(older_than)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}", hint="give a duration such as 90d") from error
    keys = {key_id(key): key for key in map(read_public_key, public_keys)}
    settings = load_settings(config, assignments)
    if settings.store.url is not None:
        hint = "mirrors may be deleted at any time; the store keeps every log"
        raise UsageError("audit prune removes logs in files, not in a team store", hint=hint)
    store = file_run_store(settings)
    fleets = [Path(fleet.location) for fleet in fleet_store(settings).list_fleets()]
    terms = PrunePolicy(utc_now() - timedelta(seconds=age), unsealed, unfinished, keys)
    found = keep_fleets_whole(_inspect_log(path, terms) for path in (*sorted(store), *sorted(fleets)))
    going = [each for each in found if each.kept is None]
    kept = [(each, each.kept) for each in found if each.kept is not None]
    if not as_json:
        _print_removals(going, age)
        _print_kept(kept)
    removed: list[Found] = []
    if going and not dry_run:
        if not yes:
            _confirm_removal(len(going))
        late = _remove_logs(going, store, removed)
        kept += late
        if not as_json:
            _print_kept(late)
            click.echo(f"Removed {plural(len(removed), 'log')}; recorded in {safe_text(store.pruned_file, 4096)}.")
    if as_json:
        click.echo(json.dumps(_prune_document(going, removed, kept, dry_run=dry_run), indent=2))
    return int(Exit.OK)


def _confirm_removal(number: int) -> None:
    try:
        require_answer(f"Type the number of logs ({number}) to remove them for ever: ", str(number))
    except NotConfirmedError as error:
        hint = "nothing was removed; add --yes, or --dry-run"
        raise NotConfirmedError(error.message, hint=hint) from None


def _remove_logs(going: list[Found], store: FileRunStore, removed: list[Found]) -> list[tuple[Found, KeepReason]]:
    """Remove logs, and return the logs kept after all."""
    kept: list[tuple[Found, KeepReason]] = []
    try:
        for each, why in remove_logs(going, store.pruned_file, by=find_actor(), at=utc_now()):
            if why is None:
                removed.append(each)
            else:
                kept.append((each, why))
    except OSError as error:
        raise UsageError(
            f"stopped after {plural(len(removed), 'log')}: {error.strerror or error}",
            file=error.filename or store.pruned_file,
            hint="the removed logs are recorded there; the other logs are unchanged",
        ) from error
    return kept


def _inspect_log(path: Path, terms: PrunePolicy) -> Found:
    try:
        return inspect_log(path, terms)
    except OSError as error:
        raise UsageError(f"the log can't be read: {error.strerror or error}; nothing was removed", file=path) from error


def _print_removals(going: list[Found], age: float) -> None:
    older = f"older than {format_duration(age)}"
    if not going:
        click.echo(f"No logs to remove are {older}.")
        return
    size = sum(each.size for each in going)
    oldest = min(going, key=lambda each: each.ended_at)
    click.echo(f"To remove: {plural(len(going), 'log')} {older}, {size:,} bytes")
    click.echo(f"  oldest  {oldest.run_id}, ended {timestamp(oldest.ended_at)[:10]}")
    for word, number in (
        ("not finished", sum(not each.finished for each in going)),
        ("not sealed", sum(each.finished and not each.sealed for each in going)),
    ):
        if number:
            click.echo(f"  of them {word}: {number}")


def _print_kept(kept: list[tuple[Found, KeepReason]]) -> None:
    for why, number in Counter(why for _, why in kept).items():
        hint = f" ({_HINTS[why]})" if why in _HINTS else ""
        click.echo(f"Kept: {plural(number, 'log')}, {why}{hint}")
        if why in _NAMED:
            names = [each.path.name for each, reason in kept if reason is why]
            for name in names[:_MOST]:
                click.echo(f"  {safe_text(name)}")
            if len(names) > _MOST:
                click.echo(f"  and {len(names) - _MOST} more")


def _prune_document(
    going: list[Found], removed: list[Found], kept: list[tuple[Found, KeepReason]], *, dry_run: bool
) -> dict[str, object]:
    def log_document(each: Found) -> dict[str, object]:
        return {
            "run_id": each.run_id,
            "audit_log": str(each.path),
            "ended_at": timestamp(each.ended_at),
            "bytes": each.size,
            "verdict": each.verdict.value,
            "sealed": each.sealed,
        }

    return {
        "exit_code": int(Exit.OK),
        "dry_run": dry_run,
        "to_remove": [log_document(each) for each in going],
        "removed": [each.run_id for each in removed],
        "kept": [{**log_document(each), "why": why.name.lower()} for each, why in kept],
    }
