"""`orchestrator audit seal`."""

import json
from functools import partial
from pathlib import Path

import anyio
import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.audit.keys import read_private_key
from orchestrator.audit.seal_create import Sealed, seal_elsewhere, seal_log
from orchestrator.audit.store import FileRun, seal_file
from orchestrator.cli.named_runs import find_logs, open_log_file
from orchestrator.cli.terminal_input import ask_passphrase
from orchestrator.errors import OrchestratorError, RunHeldError, UnfinishedError, UsageError
from orchestrator.runs.stores import find_actor, fleet_store
from orchestrator.settings.load import load_settings
from orchestrator.text import plural, safe_text


def seal_logs(
    logs: tuple[str, ...],
    key: Path,
    out: Path | None,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    every: bool,
    as_json: bool,
) -> int:
    """Sign finished logs."""
    paths = find_logs(logs, config, assignments, every=every, to_change=True)
    if every:
        paths += tuple(Path(fleet.location) for fleet in fleet_store(load_settings(config, assignments)).list_fleets())
    if out is not None and not out.is_dir() and (every or len(paths) > 1):
        raise UsageError("--out must be an existing folder for several logs", file=out, hint="create it first")
    signer = read_private_key(key, ask_passphrase)
    sealed: list[tuple[Path, Sealed]] = []
    refused: list[tuple[Path, OrchestratorError]] = []
    for path in paths:
        try:
            sealed.append((path, _seal_log(open_log_file(path, config, assignments), signer, out)))
        except OrchestratorError as error:
            if len(paths) == 1 and not every:
                raise
            refused.append((path, error))
    # With --all, the logs of unfinished runs are skipped; named logs are never skipped.
    open_still = [each for each in refused if every and isinstance(each[1], UnfinishedError | RunHeldError)]
    faults = [each for each in refused if each not in open_still]
    code = max((int(fault.exit_code) for _, fault in faults), default=0)
    if as_json:
        click.echo(json.dumps(_seal_document(code, sealed, refused), indent=2))
        return code
    for path, each in sealed:
        click.echo(_format_line(path, each))
    for path, fault in faults:
        click.echo(f"{safe_text(path, 4096)}: NOT SEALED: {safe_text(fault.message, 500)}")
    if open_still:
        click.echo(f"{plural(len(open_still), 'run')} not sealed: not finished, or in use by a process")
    return code


def _seal_log(run: FileRun, signer: Ed25519PrivateKey, out: Path | None) -> Sealed:
    if out is not None:
        path = run.path
        return seal_elsewhere(path, out / seal_file(path).name if out.is_dir() else out, signer, by=find_actor())
    return anyio.run(partial(seal_log, run, signer, by=find_actor()))


def _format_line(path: Path, each: Sealed) -> str:
    covers = each.seal.covers
    head = f"{safe_text(path, 4096)}: "
    if not each.new:
        return f"{head}already sealed at {each.seal.sealed_at}; no newer records"
    return f"{head}sealed up to line {covers.lines}, digest {covers.hash}; keep a copy of {safe_text(each.file, 4096)}"


def _seal_document(
    code: int, sealed: list[tuple[Path, Sealed]], refused: list[tuple[Path, OrchestratorError]]
) -> dict[str, object]:
    return {
        "exit_code": code,
        "sealed": [
            {
                "audit_log": str(path),
                "seal_file": str(each.file),
                "new": each.new,
                "run_id": each.seal.run_id,
                **each.seal.record_fields(),
            }
            for path, each in sealed
        ],
        "not_sealed": [
            {"audit_log": str(path), "code": error.code, "reason": error.message, "line": error.line}
            for path, error in refused
        ],
    }
