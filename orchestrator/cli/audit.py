"""`orchestrator audit verify`."""

import json
from pathlib import Path

import click

from orchestrator.audit.store import RunStore
from orchestrator.audit.verify import Reading, Verdict, read_log
from orchestrator.errors import UsageError
from orchestrator.outcome import Exit
from orchestrator.settings.load import load_settings

_CODES = {
    Verdict.WHOLE: Exit.OK,
    Verdict.ALTERED: Exit.FAILED,
    Verdict.UNFINISHED: Exit.UNSETTLED,
    Verdict.TORN: Exit.UNSETTLED,
}


def verify(log: str, config: Path | None, assignments: tuple[str, ...], *, as_json: bool) -> int:
    """Say whether an audit log is what was written."""
    path = Path(log)
    if not path.is_file():
        path = RunStore(load_settings(config, assignments).audit.state_dir).find(log)
    try:
        reading = read_log(path)
    except OSError as error:
        raise UsageError(f"the log can't be read: {error.strerror or error}", file=path) from error
    code = _CODES[reading.verdict]
    if as_json:
        click.echo(json.dumps(_document(reading, path, int(code)), indent=2))
    else:
        click.echo(_line(reading, path))
    return int(code)


def _document(reading: Reading, path: Path, code: int) -> dict[str, object]:
    return {
        "exit_code": code,
        "verdict": reading.verdict.value,
        "audit_log": str(path),
        "records": reading.records,
        "digest": reading.chain.prev if reading.records else None,
        "line": reading.line,
        "reason": reading.reason,
    }


def _line(reading: Reading, path: Path) -> str:
    records = f"{reading.records} records"
    if reading.verdict is Verdict.WHOLE:
        return f"{path}: whole and finished, {records}, digest {reading.chain.prev}"
    if reading.verdict is Verdict.ALTERED:
        return f"{path}: ALTERED at line {reading.line}: {reading.reason}"
    if reading.verdict is Verdict.TORN:
        return f"{path}: whole so far ({records}), torn at line {reading.line}: {reading.reason}"
    return f"{path}: whole so far ({records}), but the run did not finish"
