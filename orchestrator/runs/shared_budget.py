"""Rate budget shared by all live runs of a workspace on this machine: a small file with the state of the rate limit.

The file has the theoretical arrival time of the workspace's next request and the end of a pause, on the boot-time
clock. Every change locks the file, so two processes never take the same turn. The file is a cache: torn, absurd or
foreign content starts anew, and without a usable file each run limits only itself.

A run alone at a high rate reserves the turns of some milliseconds at once. The run uses a reserved turn before its
arrival time or never. So at most `burst + rate * W` requests of all processes go in any window of W seconds.
"""

import fcntl
import hashlib
import os
import struct
import zlib
from collections.abc import Callable
from math import isnan
from pathlib import Path
from typing import Protocol

from orchestrator.engine.rate.gcra import Gcra
from orchestrator.state_files import make_folder, open_or_create
from orchestrator.times import boot_seconds

_MAGIC = b"orcrate1"
_STATE = struct.Struct("<8s16s8sddd")
"""Magic, boot id, token of the last run, arrival time, end of the pause, time of the last turn; a CRC-32 follows."""
_CHECKSUM = struct.Struct("<I")
_SIZE = _STATE.size + _CHECKSUM.size
_NO_RUN = bytes(8)
_LONGEST_PAUSE, _LONGEST_DEBT = 600.0, 3600.0
"""Seconds; a pause or arrival time further ahead is absurd. The longest pause taken from a reply is 330 seconds."""
_SHARED_FOR = 10.0
"""Seconds since another run's turn for which the budget counts as shared."""
_RETRY, _BLOCKED = 0.001, 2.0
"""Seconds until another attempt at a locked file; and the longest wait for a process that stopped within its turn."""
_RESERVED = 0.02
"""Seconds of turns reserved at once by a run alone; another run waits at most this long for its first turn."""
_LOOK_AGAIN = 1.0
"""Seconds between two looks for a state folder that does not exist yet."""


def read_boot_id() -> bytes:
    """Read an id of the boot of this machine, 16 bytes; zeros on systems without an id."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return bytes.fromhex(text.strip().replace("-", ""))[:16].ljust(16, b"\0")
    except (OSError, ValueError):
        return bytes(16)


def budget_path(state_dir: Path, base_url: str, api_key: str) -> Path:
    """Return the path of a workspace's budget; the name gives neither address nor key away."""
    digest = hashlib.sha256(f"orchestrator rate\n{base_url}\n{api_key}".encode()).hexdigest()[:32]
    return state_dir.expanduser() / "rate" / f"{digest}.gcra"


class WorkspaceBudget(Protocol):
    """Rate budget of a workspace, shared by its runs, on a clock of its own."""

    def take_turn(self) -> float:
        """Count a request sent now and return 0; if no request may go, return the seconds until another attempt."""
        ...

    def wait_seconds(self) -> float:
        """Estimate the seconds until the next request may go; 0 or less for now, never infinite."""
        ...

    def pause(self, seconds: float) -> None:
        """Hold the requests of all runs for some seconds."""
        ...

    def paused_for(self) -> float:
        """Remaining seconds of a pause, as far as known; 0 without a pause."""
        ...

    def is_shared(self) -> bool:
        """Whether another run uses the budget at present."""
        ...


class FileGcra:
    """A workspace's rate limit, with its state in a file.

    The file appears with the first turn after the state folder exists; the state folder is never created here.

    Attributes:
        path: the file.
        gcra: the arithmetic, on the boot-time clock; with the state last read or written.
    """

    def __init__(
        self,
        path: Path,
        gcra: Gcra,
        *,
        warn: Callable[..., object] = lambda *_, **__: None,
        counts_as_run: bool = True,
        clock: Callable[[], float] = boot_seconds,
        boot_id: bytes | None = None,
    ) -> None:
        """Set up, without a file yet.

        Args:
            path: the file, in a folder of its own below the state folder.
            gcra: rate and burst of the workspace.
            warn: called with an event's name, and its facts by keyword, when the file is unusable.
            counts_as_run: whether other runs see this budget in use by a run; False for commands with a few reads.
            clock: seconds since boot, the same for all processes.
            boot_id: id of the boot; by default of this machine.
        """
        self.path = path
        self.gcra = gcra
        self._warn = warn
        self._token = os.urandom(8) if counts_as_run else _NO_RUN
        self._clock = clock
        self._boot_id = boot_id
        self._last_token = _NO_RUN
        self._last_turn = self._others_at = self._reserved_until = float("-inf")
        self._fd: int | None = None
        self._is_usable = True
        self._look_at = float("-inf")
        self._blocked_since: float | None = None

    def __repr__(self) -> str:
        return f"<FileGcra {self.path.name} {self.gcra!r}>"

    def take_turn(self) -> float:
        """Count a request sent now and return 0; if no request may go, return the seconds until another attempt."""
        fd, now = self._open(), self._clock()
        if fd is None or max(self.gcra.arrival, now) + 1 / self.gcra.rate <= self._reserved_until:
            return self.gcra.take_turn(now)
        try:
            if not self._lock(fd, now):
                return _RETRY
            try:
                self._read(fd, now)
                wait = self.gcra.take_turn(now)
                if wait <= 0:
                    turns = int(_RESERVED * self.gcra.rate)
                    # At a slow rate, and beside another run, every turn goes through the file.
                    if turns > 1 and self._token != _NO_RUN and now - self._others_at > _SHARED_FOR:
                        self._reserved_until = self.gcra.arrival + turns / self.gcra.rate
                    self._write(fd, now)
                return wait
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)
        except OSError as error:
            self._give_up(error)
            return self.gcra.take_turn(now)

    def pause(self, seconds: float) -> None:
        """Hold the requests of all runs for some seconds."""
        fd, now = self._open(), self._clock()
        self.gcra.pause(seconds, now)
        if fd is None:
            return
        try:
            # A held lock is rare and short. Without the lock, this pause holds for this run, and the next 429 for all.
            if self._lock(fd, now):
                try:
                    until = self.gcra.paused_until
                    self._read(fd, now)
                    self.gcra.paused_until = max(self.gcra.paused_until, until)
                    self._write(fd, now)
                finally:
                    fcntl.flock(fd, fcntl.LOCK_UN)
        except OSError as error:
            self._give_up(error)

    def wait_seconds(self) -> float:
        """Estimate the seconds until the next request may go, by the state last read."""
        return self.gcra.wait_seconds(self._clock())

    def paused_for(self) -> float:
        """Remaining seconds of the pause last read."""
        return self.gcra.paused_for(self._clock())

    def is_shared(self) -> bool:
        """Whether another run took a turn in the last seconds, by the state last read; reads the file at first."""
        fd, now = self._open(), self._clock()
        if fd is not None and self._last_turn == float("-inf"):
            try:
                self._read(fd, now)
            except OSError as error:
                self._give_up(error)
        return now - self._others_at <= _SHARED_FOR

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        fd, self._fd, self._is_usable = self._fd, None, False
        if fd is None:
            return
        try:
            now = self._clock()
            if self._token != _NO_RUN and self._lock(fd, now):
                self._read(fd, now)
                if self._last_token == self._token:
                    self._token = self._last_token = _NO_RUN
                    self._write(fd, now)
        except OSError:
            pass  # the file is a cache
        finally:
            os.close(fd)

    def _open(self) -> int | None:
        """Open the file; None without a state folder or a usable file."""
        if self._fd is not None or not self._is_usable:
            return self._fd
        now = self._clock()
        if now < self._look_at:
            return None
        folder = self.path.parent
        try:
            if not folder.parent.is_dir():
                self._look_at = now + _LOOK_AGAIN
                return None
            make_folder(folder)
            self._fd = open_or_create(self.path, os.O_RDWR)
            self._boot_id = self._boot_id or read_boot_id()
        except OSError as error:
            self._give_up(error)
        return self._fd

    def _lock(self, fd: int, now: float) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if self._blocked_since is None:
                self._blocked_since = now
            if now - self._blocked_since > _BLOCKED:
                raise
            return False
        self._blocked_since = None
        return True

    def _read(self, fd: int, now: float) -> None:
        """Read the state; unusable content leaves the state of this process unchanged."""
        content = os.pread(fd, _SIZE, 0)
        if len(content) < _SIZE or _CHECKSUM.unpack(content[_STATE.size :])[0] != zlib.crc32(content[: _STATE.size]):
            return
        magic, boot_id, token, arrival, paused_until, last_turn = _STATE.unpack(content[: _STATE.size])
        if magic != _MAGIC or boot_id != self._boot_id or isnan(arrival) or isnan(paused_until) or isnan(last_turn):
            return
        debt = max(_LONGEST_DEBT, self.gcra.burst / self.gcra.rate)
        if arrival > now + debt or paused_until > now + _LONGEST_PAUSE or last_turn > now + _LONGEST_DEBT:
            return
        self.gcra.arrival, self.gcra.paused_until = arrival, paused_until
        self._reserved_until = float("-inf")  # the arrival time in the file is after all reserved turns
        self._last_token, self._last_turn = token, last_turn
        if token not in {self._token, _NO_RUN}:
            self._others_at = max(self._others_at, last_turn)

    def _write(self, fd: int, now: float) -> None:
        if self._token != _NO_RUN or self._last_token == _NO_RUN:
            self._last_token, self._last_turn = self._token, now
        state = _STATE.pack(
            *(_MAGIC, self._boot_id, self._last_token),
            *(max(self.gcra.arrival, self._reserved_until), self.gcra.paused_until, self._last_turn),
        )
        os.pwrite(fd, state + _CHECKSUM.pack(zlib.crc32(state)), 0)

    def _give_up(self, error: OSError) -> None:
        """Go on without the file, and warn once."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._is_usable = None, False
        self._warn("rate.not_shared", file=str(self.path), reason=error.strerror or str(error))


class SharedBudget:
    """Budget of a run: the workspace's budget, shared by all runs, and the run's own limit on top.

    Attributes:
        own: the limit of the run.
    """

    def __init__(self, own: Gcra, workspace: FileGcra, *, max_rate: float | None, usual_rate: float = 0.0) -> None:
        """Set up.

        Args:
            own: the limit of the run.
            workspace: the budget of the workspace.
            max_rate: requests per second of the workspace; None if the settings have no number. Then the present rate
                of the run counts, but not less than `usual_rate`: a slow run leaves the rest to others.
            usual_rate: requests per second.
        """
        self.own = own
        self.workspace = workspace
        self._shared: WorkspaceBudget = workspace
        self._max_rate = max_rate
        self._max_burst = workspace.gcra.burst
        self._usual_rate = usual_rate

    def __repr__(self) -> str:
        return f"<SharedBudget {self.own!r} of {self._shared!r}>"

    def share(self, workspace: WorkspaceBudget, rate: float, burst: int) -> None:
        """Share the budget with the runs of other machines from now on.

        Args:
            workspace: the budget of the workspace.
            rate: requests per second of the workspace.
            burst: the most requests of the workspace at once.
        """
        self._shared, self._max_rate, self._max_burst = workspace, rate, burst

    @property
    def rate(self) -> float:
        """Requests per second: the lower of the run's and the workspace's."""
        return self.own.rate if self._max_rate is None else min(self.own.rate, self._max_rate)

    @rate.setter
    def rate(self, rate: float) -> None:
        self.own.rate = rate

    @property
    def burst(self) -> int:
        """The most requests of the run at once."""
        return self.own.burst

    @burst.setter
    def burst(self, burst: int) -> None:
        self.own.burst = burst

    @property
    def cap(self) -> float:
        """Present upper limit of the rate."""
        return self.own.cap

    @cap.setter
    def cap(self, cap: float) -> None:
        self.own.cap = cap

    def wait_seconds(self, now: float) -> float:
        """Estimate the seconds until the next request may go, by the state last read."""
        return max(self.own.wait_seconds(now), self._shared.wait_seconds())

    def take_turn(self, now: float) -> float:
        """Take a turn of the run and of the workspace, as `Budget.take_turn`."""
        # An own limit as high as the workspace's holds already in the workspace, and must not hide requests from it.
        own = self.own
        is_lower = self._max_rate is None or own.rate < self._max_rate or own.burst < self._max_burst
        if is_lower and (wait := own.wait_seconds(now)) > 0:
            return wait
        if self._max_rate is None:
            self.workspace.gcra.rate = max(self.own.rate, self._usual_rate)
            self.workspace.gcra.burst = max(self.own.burst, self._max_burst)
        wait = self._shared.take_turn()
        if wait > 0:
            return wait
        self.own.count_request(now)
        return 0.0

    def pause(self, seconds: float, now: float) -> None:
        """Hold the requests of all runs for some seconds."""
        self.own.pause(seconds, now)
        self._shared.pause(seconds)

    def paused_for(self, now: float) -> float:
        """Remaining seconds of a pause of this run or of another run."""
        return max(self.own.paused_for(now), self._shared.paused_for())

    def is_shared(self, now: float) -> bool:  # noqa: ARG002 - the protocol
        """Whether another run of the workspace took a turn in the last seconds."""
        return self._shared.is_shared()
