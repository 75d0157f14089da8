"""`orchestrator audit export`."""

import csv
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import BinaryIO, TypeAlias

import click

from orchestrator.audit.record import Record
from orchestrator.audit.verify import Reading, Take, Verdict, ignore_record, read_log
from orchestrator.cli.consoles import SafeStream
from orchestrator.cli.named_runs import find_logs
from orchestrator.cli.out_file import is_evidence
from orchestrator.errors import AlteredError, UsageError
from orchestrator.history.time_range import parse_time_range
from orchestrator.outcome import Exit
from orchestrator.report.audit.csv import COLUMNS, format_row
from orchestrator.report.audit.ecs import Ecs
from orchestrator.state_files import sync_folder
from orchestrator.text import safe_text
from orchestrator.times import timestamp, utc_now

LineOf: TypeAlias = Callable[[Record], bytes]
"""Formats a record of a log as a line."""


def export_logs(
    logs: tuple[str, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    form: str,
    out: Path | None,
    since: str | None,
    every: bool,
    even_altered: bool,
) -> int:
    """Write the records of audit logs for another system."""
    begin = parse_time_range(since, None, utc_now()).since
    paths = find_logs(logs, config, assignments, every=every)
    _check_place(out, paths)
    # Checked before the first write: an altered log must not leave the machine as a sound log.
    readings = [(path, _read_records(path, ignore_record)) for path in paths]
    altered = [(path, reading) for path, reading in readings if reading.verdict is Verdict.ALTERED]
    if altered and not even_altered:
        raise _build_altered_error(altered)
    with _open_output(out) as file:
        _write_all(readings, form, begin, file)
    for path, reading in altered:
        message = f"{safe_text(path, 4096)}: ALTERED at line {reading.line}: {reading.reason}; exported up to that line"
        click.echo(message, err=True)
    return int(Exit.FAILED if altered else Exit.OK)


def _check_place(out: Path | None, paths: Iterable[Path]) -> None:
    """Refuse to overwrite an audit log or a seal by an export. An older export may be overwritten."""
    try:
        taken = out is not None and out.exists() and (is_evidence(out) or any(map(out.samefile, paths)))
    except OSError:  # the export itself reports the error
        return
    if taken:
        raise UsageError("the output file is an audit log or a seal", file=out, hint="name another file")


def _read_records(path: Path, take: Take) -> Reading:
    try:
        return read_log(path, take)
    except OSError as error:
        raise UsageError(f"the log can't be read: {error.strerror or error}", file=path) from error


def _build_altered_error(altered: list[tuple[Path, Reading]]) -> AlteredError:
    hint = "nothing was exported; --even-altered exports the log up to that line"
    errors = [
        AlteredError(f"the audit log was altered: {reading.reason}", file=path, line=reading.line, hint=hint)
        for path, reading in altered
    ]
    errors[0].more = tuple(errors[1:])
    return errors[0]


def _write_all(readings: list[tuple[Path, Reading]], form: str, begin: datetime | None, file: BinaryIO) -> None:
    """Write the records of every log, up to its length at the first read: a run may still be going on."""
    since = "" if begin is None else timestamp(begin)
    if form == "csv":
        file.write(_csv_line(COLUMNS))
    for path, reading in readings:
        line_of = _FORMS[form](file)

        def write_record(record: Record, reading: Reading = reading, line_of: LineOf = line_of) -> None:
            if record["seq"] <= reading.records:
                line = line_of(record)  # also of records left out: a later record may need their facts
                if record["ts"] >= since:
                    file.write(line)
                    if _has_no_reader(file):
                        raise _NoReaderError

        try:
            again = _read_records(path, write_record)
        except _NoReaderError:
            return
        if again.verdict is Verdict.ALTERED and reading.verdict is not Verdict.ALTERED:
            raise _build_altered_error([(path, again)])


class _NoReaderError(Exception):
    """Raised within this module after the reader of the pipe has closed (`| head`)."""


def _has_no_reader(file: BinaryIO) -> bool:
    raw = getattr(file, "raw", None)
    return isinstance(raw, SafeStream) and raw.unread


def _format_ecs(file: BinaryIO) -> LineOf:
    del file
    format_event = Ecs().format_event
    return lambda record: _json_line(format_event(record))


def _format_jsonl(file: BinaryIO) -> LineOf:
    del file
    return lambda record: _json_line(record, sort_keys=True)


def _json_line(document: Mapping[str, object], *, sort_keys: bool = False) -> bytes:
    """Format a line of JSON without terminal control characters: only visible ASCII is left unescaped."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True, sort_keys=sort_keys)
    return text.replace("\x7f", "\\u007f").encode("ascii") + b"\n"


def _format_csv(file: BinaryIO) -> LineOf:
    del file
    return lambda record: _csv_line(format_row(record))


def _csv_line(cells: Iterable[str]) -> bytes:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace")


_FORMS: dict[str, Callable[[BinaryIO], LineOf]] = {"ecs": _format_ecs, "jsonl": _format_jsonl, "csv": _format_csv}


@contextmanager
def _open_output(out: Path | None) -> Iterator[BinaryIO]:
    """Open standard output, or a file written whole or not at all."""
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    fresh = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                yield file
                file.flush()
                os.fsync(fd)
            fresh.replace(out)
        finally:
            fresh.unlink(missing_ok=True)
        sync_folder(out.parent)
    except OSError as error:
        raise UsageError(f"the export can't be written: {error.strerror or error}", file=out) from error
