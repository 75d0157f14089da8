"""`orchestrator audit verify`."""

import json
from pathlib import Path

import click

from orchestrator.audit.keys import key_id, read_public_key
from orchestrator.audit.sealed_log import read_sealed
from orchestrator.audit.sealing import read_detached
from orchestrator.audit.store import seal_file
from orchestrator.audit.verify import Verdict
from orchestrator.cli.audit_logs import find_log
from orchestrator.errors import UsageError
from orchestrator.outcome import Exit
from orchestrator.report.verdict_text import verdict_document, verdict_lines

_CODES = {
    Verdict.WHOLE: Exit.OK,
    Verdict.ALTERED: Exit.FAILED,
    Verdict.UNFINISHED: Exit.UNSETTLED,
    Verdict.TORN: Exit.UNSETTLED,
}


def verify(
    log: str,
    public_keys: tuple[Path, ...],
    seals: tuple[Path, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    as_json: bool,
) -> int:
    """Say whether an audit log is what was written, and whether its seals hold."""
    path = find_log(log, config, assignments)
    if seals and not public_keys:
        raise UsageError("--seal needs the key that it was made with", hint="give --public-key as well")
    keys = {key_id(key): key for key in map(read_public_key, public_keys)}
    detached = read_detached(seal_file(path), asked=False) if keys else []
    for file in seals:
        named = read_detached(file, asked=True)
        if not named:
            raise UsageError("there is no such seal", file=file)
        detached += named
    try:
        reading, check = read_sealed(path, keys, detached)
    except OSError as error:
        raise UsageError(f"the log can't be read: {error.strerror or error}", file=path) from error
    sealing = check if keys else None
    code = _CODES[reading.verdict] if sealing is None or sealing.fault(reading) is None else Exit.FAILED
    if as_json:
        click.echo(json.dumps(verdict_document(reading, check, path, int(code), asked=bool(keys)), indent=2))
    else:
        for line in verdict_lines(reading, check, path, asked=bool(keys)):
            click.echo(line)
    return int(code)
