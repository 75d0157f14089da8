"""Creation of the files and folders below a state folder, and safe reads of files named by a person.

All of them are private. What root creates in another user's folder belongs to that folder's owner, who could not read
the file otherwise. Root changes the owner only through a descriptor of what this process has just created, and follows
no symbolic link of another user.
"""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PLAN_FORMAT = "orchestrator plan"
"""The value of `format` in plan files."""
KEEP_FILE = "keep.json"
"""Name of the exemptions by command, in the state folder."""
_PLAN_BEGIN = re.compile(rb'\s*\{\s*"format"\s*:\s*"' + re.escape(PLAN_FORMAT.encode()) + rb'"')
_LONGEST_BEGIN = 1000

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, each durable in the folder above.

    Raises:
        OSError: when a folder can't be created.
    """
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        with _opened_folder(each.parent) as parent:
            try:
                os.mkdir(each.name, 0o700, dir_fd=parent)
            except FileExistsError:
                if not each.is_dir():
                    raise
            else:
                _hand_over_folder(each.name, parent)
            os.fsync(parent)


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, beside the file, for the length of the block; wait for another process.

    Raises:
        OSError: when the lock can't be opened.
    """
    fd = open_or_create(path.with_suffix(".lock"), os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def create_file(path: Path, flags: int, mode: int = 0o600) -> int:
    """Create a new file; return its descriptor.

    Args:
        path: the file.
        flags: how to open the file, such as `os.O_WRONLY`.
        mode: the permissions.

    Raises:
        FileExistsError: when something has that name already.
        OSError: when the file can't be created.
    """
    with _opened_folder(path.parent) as folder:
        fd = os.open(path.name, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)
        _hand_over(fd, folder)
    return fd


def open_or_create(path: Path, flags: int) -> int:
    """Open a file, or create a missing file; return the descriptor.

    Raises:
        OSError: when neither is possible, or a symbolic link has that name.
    """
    while True:
        try:
            return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            with suppress(FileExistsError):
                return create_file(path, flags)


def replace_file(path: Path, data: bytes, sync: Callable[[int], None] = os.fsync) -> None:
    """Replace a file durably and atomically.

    Raises:
        OSError: when the file can't be written; the old file is still there.
    """
    draft = path.with_name(f".{path.name[:100]}.{os.urandom(8).hex()}")
    fd = create_file(draft, os.O_WRONLY)
    try:
        try:
            write_all(fd, data)
            sync(fd)
        finally:
            os.close(fd)
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    sync_folder(path.parent)


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes, in as many calls as the system needs."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: Path) -> None:
    """Make the changes of a folder's entries durable."""
    fd = os.open(folder, _FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _opened_folder(folder: Path) -> Iterator[int]:
    """Open a folder; root refuses another user's symbolic link."""
    try:
        fd = os.open(folder, _FOLDER | (os.O_NOFOLLOW if os.geteuid() == 0 else 0))
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENOTDIR} or folder.lstat().st_uid != 0 or not folder.is_dir():
            raise
        fd = os.open(folder, _FOLDER)
    try:
        yield fd
    finally:
        os.close(fd)


def _hand_over_folder(name: str, parent: int) -> None:
    fd = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    try:
        with os.scandir(fd) as inside:
            # The parent's owner may have put another folder there meanwhile: only an empty folder is given away.
            if os.fstat(fd).st_uid == os.geteuid() and next(inside, None) is None:
                _hand_over(fd, parent)
    finally:
        os.close(fd)


def _hand_over(fd: int, folder: int) -> None:
    """Change the owner of root's new files to the folder's owner, if the file system allows the change."""
    owner = os.fstat(folder)
    if os.geteuid() == 0 and owner.st_uid != 0:
        with suppress(OSError):
            os.fchown(fd, owner.st_uid, owner.st_gid)


def sync_file(fd: int) -> None:
    """Make a file durable; on macOS an fsync alone leaves the data in the drive's cache."""
    full: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full is None:
        os.fsync(fd)
    else:
        fcntl.fcntl(fd, full)


def read_regular(file: Path, max_bytes: int) -> bytes:
    """Read a whole regular file.

    Raises:
        OSError: when the file is missing or unreadable.
        ValueError: when the file is no regular file, has more than `max_bytes` bytes, or has a NUL in its path.
    """
    # Without O_NONBLOCK, opening a pipe waits for the other end.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"more than {max_bytes:,} bytes")
    return data


def is_plan_file(path: Path) -> bool:
    """Check the first bytes of a file for a plan, also for a plan with another layout of its JSON.

    An unreadable file is no plan: the later read reports the error.
    """
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return _PLAN_BEGIN.match(file.read(_LONGEST_BEGIN)) is not None
    except (OSError, ValueError):
        return False
