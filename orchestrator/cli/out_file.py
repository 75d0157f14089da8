"""Output files of a person: the allowed places of `--out FILE`, and the writing of whole files."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import click

from orchestrator.audit.store import is_run_id
from orchestrator.errors import UsageError
from orchestrator.state_files import sync_folder

STDOUT = Path("-")

_A_RECORD = b'{"'
"""The start of every line of an audit log. JSON documents have a newline after the brace."""


def is_evidence(file: Path) -> bool:
    """Check a file name for an audit log, a seal, or the record of pruned logs."""
    run_id, _, rest = file.name.partition(".")
    return (is_run_id(run_id.removeprefix("fleet-")) and rest in {"jsonl", "seal.json"}) or file.name == "pruned.jsonl"


def check_place(out: Path | None) -> None:
    """Check the path of an output file, before any long read.

    Raises:
        UsageError: when there is no directory, not a regular file, or an audit log or a seal. Logs and seals are
            never overwritten.
    """
    if out is None or out == STDOUT:
        return
    try:
        if not out.parent.is_dir():
            raise UsageError("the folder of the output file does not exist", file=out, hint="create it first")
        if out.exists() and not out.is_file():
            raise UsageError("the output path is not a regular file", file=out, hint="use - for stdout")
        if out.suffix == ".jsonl" or is_evidence(out) or (out.exists() and _is_log(out)):
            message = "the output file is, or is named like, an audit log or a seal"
            raise UsageError(message, file=out, hint="name another file")
    except (OSError, ValueError) as error:
        raise UsageError(f"the output file can't be written: {error}", file=out) from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file over an older file, whole or not at all, readable by its owner only.

    Raises:
        OSError: when the file can't be written; an older file stays unchanged.
    """
    fd, name = tempfile.mkstemp(prefix=f".{path.name[:100]}-", dir=path.parent)  # 0600
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def write_out(out: Path, data: bytes) -> None:
    """Write a file whole, readable by its owner only, over an older file; and print a message on stderr.

    Raises:
        UsageError: when the file can't be written.
    """
    try:
        write_whole(out, data)
    except OSError as error:
        raise UsageError(f"the output file can't be written: {error.strerror or error}", file=out) from error
    click.echo(f"Written to {click.format_filename(out)}.", err=True)


def _is_log(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_A_RECORD)) == _A_RECORD
