"""The file of approvals beside a plan file: its lock, its lines, and durable appending."""

import errno
import fcntl
import json
import os
import time
from pathlib import Path

from orchestrator.audit.approval_lines import ApprovalLines, DamagedLineError, parse_lines
from orchestrator.audit.signed_approval import SignedApproval
from orchestrator.audit.signed_question import AskedQuestion, QuestionAnswer
from orchestrator.errors import PlanFileError
from orchestrator.state_files import read_regular, sync_file, sync_folder, write_all

LOCK_WAIT = 5.0
"""Longest wait of a command for another process that writes the file of approvals, in seconds."""
_LOOK_EVERY = 0.02
_LARGEST = 10_000_000


def approvals_file(plan_file: Path) -> Path:
    """Return the path of the approvals of a plan file."""
    return plan_file.with_name(f"{plan_file.name}.approvals.jsonl")


def _lock(fd: int, operation: int, wait: float) -> None:
    """Lock the file of approvals; every user with read access may hold the lock, so the wait is short.

    Raises:
        OSError: when another process holds the file all the time.
    """
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until:
                raise OSError(errno.EBUSY, "another process holds the file") from error
            time.sleep(_LOOK_EVERY)
        else:
            return


def read_approvals(plan_file: Path, *, wait: float = LOCK_WAIT) -> ApprovalLines:
    """Read the approvals beside a plan file; empty without such a file.

    Args:
        plan_file: the plan file.
        wait: the longest wait for another process that writes the file, in seconds.

    Raises:
        PlanFileError: when the file can't be read, or is damaged.
    """
    file = approvals_file(plan_file)
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _lock(fd, fcntl.LOCK_SH, wait)  # a line that is being written is no damage
            data = read_regular(file, _LARGEST)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return ApprovalLines()
    except (OSError, ValueError) as error:
        raise PlanFileError(f"the approvals can't be read: {_describe_error(error)}", file=file) from error
    return _parse_lines(data, file)


def append_line(
    plan_file: Path, line: SignedApproval | AskedQuestion | QuestionAnswer, *, wait: float = LOCK_WAIT
) -> Path:
    """Append a line to the file of approvals beside a plan file, durably; return the path of the approvals.

    Args:
        plan_file: the plan file.
        line: the line.
        wait: as in `read_approvals`.

    Raises:
        PlanFileError: when the file can't be written, or is damaged.
    """
    file = approvals_file(plan_file)
    try:
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        try:
            _lock(fd, fcntl.LOCK_EX, wait)
            _parse_lines(read_regular(file, _LARGEST), file)
            size = os.fstat(fd).st_size
            try:
                write_all(fd, json.dumps(line.document()).encode("ascii") + b"\n")
                sync_file(fd)
            except OSError:
                os.ftruncate(fd, size)
                raise
        finally:
            os.close(fd)
        sync_folder(file.parent)
    except (OSError, ValueError) as error:
        hint = "replace the link by the file" if _is_link_error(error) else None
        raise PlanFileError(f"the approval can't be written: {_describe_error(error)}", file=file, hint=hint) from error
    return file


def _is_link_error(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.ELOOP


def _describe_error(error: Exception) -> str:
    if _is_link_error(error):
        return "the file is a symbolic link"
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _parse_lines(data: bytes, file: Path) -> ApprovalLines:
    try:
        return parse_lines(data)
    except DamagedLineError as error:
        message = f"the file of approvals is damaged: {error.reason}"
        hint = "remove this line, and approve again with `orchestrator approve`"
        raise PlanFileError(message, file=file, line=error.line, hint=hint) from error
