"""Plan files on disk: written whole or not at all, readable by their owner only."""

from pathlib import Path

from orchestrator.cli.out_file import write_whole
from orchestrator.errors import PlanFileError
from orchestrator.playbook.frozen_plan import MARK
from orchestrator.state_files import read_regular

_LARGEST_FILE = 256_000_000
"""Bytes; the plan of 100,000 CVMs has about 60 million."""


def check_place(path: Path) -> None:
    """Check the path of a plan file, before any request to the cloud.

    Raises:
        PlanFileError: when the file is not a plan, or the directory does not exist.
    """
    try:
        if not path.parent.is_dir():
            raise PlanFileError("the folder of the plan file does not exist", file=path, hint="create it first")
        if not path.exists():
            return
        if not path.is_file():
            raise PlanFileError("the path of the plan file is not a regular file", file=path)
        with path.open("rb") as file:
            is_plan = file.read(len(MARK)) == MARK
    except (OSError, ValueError) as error:
        raise _build_error("written", error, path) from error
    if not is_plan:
        raise PlanFileError("the existing file is not a plan", file=path, hint="name another file, or remove this file")


def write_plan_file(path: Path, data: bytes) -> None:
    """Write a plan file over an older plan file.

    Raises:
        PlanFileError: when the file can't be written, or a file other than a plan has appeared there.
    """
    check_place(path)
    try:
        write_whole(path, data)
    except OSError as error:
        raise _build_error("written", error, path) from error


def read_plan_file(path: Path) -> bytes:
    """Read the content of a plan file.

    Raises:
        PlanFileError: when the file can't be read.
    """
    try:
        return read_regular(path, _LARGEST_FILE)
    except (OSError, ValueError) as error:
        raise _build_error("read", error, path) from error


def _build_error(what: str, error: OSError | ValueError, path: Path) -> PlanFileError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return PlanFileError(f"the plan file can't be {what}: {reason}", file=path)
