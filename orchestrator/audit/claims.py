"""Claims: the CVMs reserved by the live runs of a state folder. Two runs never act on one CVM at once.

Each run has a file in `claims/` with its CVMs, and holds a lock on that file. The lock, and so the claim, ends with the
process. Every check and every change happens under the single lock of the folder, so a check and the following claim
are atomic. Claims of ended runs stay for a day: the claims tell later runs which statuses may be outdated.
"""

import fcntl
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import anyio

from orchestrator.audit.store import FileRunStore, is_run_id
from orchestrator.cvm import CvmRef
from orchestrator.errors import ClaimedError, SettingsError
from orchestrator.state_files import make_folder, open_or_create
from orchestrator.text import join_names, plural

_KEEP_S = 86_400
"""Seconds for which the claim of an ended run is kept."""
_LOOK_EVERY_S = 1.0
_LOCK_ATTEMPTS, _LOCK_PAUSE_S = 250, 0.02
_CLOCK_STEP_S = 0.05
"""Seconds by which the clock of the file system may lag behind the system's clock."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Another run with a present or past claim on CVMs of this run.

    Attributes:
        run_id: the other run.
        cvms: names of the shared CVMs.
        is_live: whether a process carries the other run out.
        has_ended: whether the other run ended with all its requests answered.
        last_at: time of the other run's last sign of life, in seconds since the epoch.
    """

    run_id: str
    cvms: tuple[str, ...]
    is_live: bool
    has_ended: bool
    last_at: float


class Claim(Protocol):
    """The claim of a run; the claim ends with `release`, with its `with` block, or with the process."""

    @property
    def run_id(self) -> str:
        """The run."""
        ...

    def __enter__(self) -> Self:
        """Return the claim."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the claim; requests of the run may be unanswered."""
        ...

    def wait_before_reading(self, since: float, recheck_after: float) -> float | None:
        """Seconds to wait before a new read of the statuses; None if the earlier statuses still hold.

        Args:
            since: time of the earlier read, in seconds since the epoch.
            recheck_after: seconds by which a status may lag.
        """
        ...

    def keep_only(self, refs: Iterable[CvmRef]) -> None:
        """Reduce the claim to these CVMs for now; the wider claim stays if the change cannot be written."""
        ...

    async def claim_again(self, recheck_after: float, waiting: Callable[[str], None]) -> float | None:
        """Claim all CVMs of the run again, once no live run claims them.

        Args:
            recheck_after: seconds by which a status may lag.
            waiting: called once with the reason if the call has to wait.

        Returns:
            The result of `wait_before_reading` for statuses read when the claim was narrowed.
        """
        ...

    def release(self, *, has_ended: bool) -> None:
        """End the claim. A second call does nothing.

        Args:
            has_ended: whether the run ended with all its requests answered.
        """
        ...


class ClaimStore(Protocol):
    """Store of the claims."""

    def create_claim(
        self, run_id: str, cloud_url: str, refs: Iterable[CvmRef], *, ignore_running: bool = False
    ) -> Claim:
        """Claim CVMs for a run; refuse the claim if a live run claims any of these CVMs.

        Args:
            run_id: the run.
            cloud_url: the cloud of the CVMs; claims of other clouds do not count.
            refs: every CVM that the run may touch.
            ignore_running: whether to claim the CVMs despite the claims of live runs.

        Raises:
            ClaimedError: when a live run claims any of the CVMs, or another process carries out this run.
            SettingsError: when the claim cannot be written.
        """
        ...

    def open_batch(self) -> AbstractContextManager["ClaimBatch"]:
        """Claim CVMs for many runs within the block; other commands can't claim CVMs meanwhile.

        Raises:
            ClaimedError: when another command holds the lock of the claims.
            SettingsError: when the claims can't be written.
        """
        ...

    def is_any_live(self, run_ids: Iterable[str]) -> bool:
        """Return True if any of these runs is live. A run with an unreadable claim counts as ended."""
        ...


class ClaimBatch(Protocol):
    """Claims of many runs, made together."""

    def create_claim(
        self, run_id: str, cloud_url: str, refs: Iterable[CvmRef], *, ignore_running: bool = False
    ) -> Claim:
        """Claim CVMs for a run, as `ClaimStore.create_claim`. Earlier claims of the same batch count as well."""
        ...


class FileClaimStore:
    """The claims in files, in a folder beside the folder of logs, as `ClaimStore`."""

    def __init__(self, runs: FileRunStore) -> None:
        self._folder = runs.folder.with_name("claims")
        self._store = runs

    def create_claim(
        self, run_id: str, cloud_url: str, refs: Iterable[CvmRef], *, ignore_running: bool = False
    ) -> "FileClaim":
        """Claim CVMs for a run, as `ClaimStore.create_claim`."""
        with self.open_batch() as batch:
            return batch.create_claim(run_id, cloud_url, refs, ignore_running=ignore_running)

    @contextmanager
    def open_batch(self) -> Iterator["FileClaimBatch"]:
        """Claim CVMs for many runs within the block, as `ClaimStore.open_batch`."""
        with ExitStack() as stack:
            try:
                make_folder(self._folder)
                stack.enter_context(self.hold_lock())
            except OSError as error:
                raise _explain_failure(error, self._folder) from error
            yield FileClaimBatch(self)

    def is_any_live(self, run_ids: Iterable[str]) -> bool:
        """Return True if any of these runs is live, as `ClaimStore.is_any_live`."""
        with suppress(OSError, ClaimedError), self.hold_lock():
            for run_id in run_ids:
                with suppress(OSError):
                    fd = os.open(self.claim_file(run_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                    try:
                        if _is_locked(fd):
                            return True
                    finally:
                        os.close(fd)
        return False

    def claim_file(self, run_id: str) -> Path:
        """Return the path of a run's claim."""
        return self._folder / f"{run_id if is_run_id(run_id) else sha256(run_id.encode()).hexdigest()}.json"

    def list_claims(self) -> Iterator["FoundClaim"]:
        """Read every claim, and delete expired claims; the caller holds the lock of `hold_lock`."""
        for path in sorted(self._folder.glob("*.json")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                found = self._read_claim(path)
                if found is not None:
                    yield found

    def _read_claim(self, path: Path) -> "FoundClaim | None":
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            is_live, last_at = _is_locked(fd), os.fstat(fd).st_mtime
            if not is_live and time.time() - last_at > _KEEP_S:
                path.unlink()
                return None
            document = json.loads(file.read())
        run_id = str(document["run_id"])
        with suppress(OSError):
            last_at = max(last_at, self._store.path_of(run_id).stat().st_mtime)
        cvms = tuple((key and str(key), uuid and str(uuid), str(name)) for key, uuid, name in document["cvms"])
        return FoundClaim(path, str(document["cloud_url"]), cvms, run_id, is_live, bool(document["ended"]), last_at)

    @contextmanager
    def hold_lock(self) -> Iterator[None]:
        """Hold the lock of the folder during the block.

        Raises:
            ClaimedError: when another command holds the lock for more than about five seconds.
            OSError: when the lock cannot be opened.
        """
        fd = open_or_create(self._folder / "lock", os.O_RDWR)
        try:
            for _ in range(_LOCK_ATTEMPTS):
                with suppress(BlockingIOError):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(_LOCK_PAUSE_S)
            else:
                raise ClaimedError("another command holds the lock of the claims", file=self._folder / "lock")
            yield
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class FoundClaim:
    """A claim as read from its file.

    Attributes:
        path: the file.
        cloud_url: the cloud of the CVMs.
        cvms: hashid, UUID in normal form, and name of every CVM.
        run_id: the run.
        is_live: whether a process carries the run out.
        has_ended: whether the run ended with all its requests answered.
        last_at: time of the run's last sign of life, in seconds since the epoch.
    """

    path: Path
    cloud_url: str
    cvms: tuple[tuple[str | None, str | None, str], ...]
    run_id: str
    is_live: bool
    has_ended: bool
    last_at: float


class FileClaimBatch:
    """The present claims, read once, and the claims of many runs, as `ClaimBatch`; used under `hold_lock`."""

    def __init__(self, claims: FileClaimStore) -> None:
        self._claims = claims
        self._found: list[FoundClaim] = []
        self._by_cvm: dict[tuple[str, str], list[int]] = {}
        for each in claims.list_claims():
            self._add(each)

    def _add(self, claim: FoundClaim) -> None:
        """Add a claim to the index of CVMs."""
        number = len(self._found)
        self._found.append(claim)
        for key, uuid, _ in claim.cvms:
            for each in (key, uuid):
                if each:
                    self._by_cvm.setdefault((claim.cloud_url, each), []).append(number)

    def list_overlaps(self, cloud_url: str, refs: Iterable[CvmRef], *, without: Path) -> list[Overlap]:
        """List the other claims on these CVMs."""
        wanted = {key for ref in refs for key in (ref.id, ref.uuid_key) if key}
        numbers = sorted({number for key in wanted for number in self._by_cvm.get((cloud_url, key), ())})
        overlaps = []
        for each in map(self._found.__getitem__, numbers):
            if each.path != without:
                cvms = tuple(name for key, uuid, name in each.cvms if key in wanted or uuid in wanted)
                overlaps.append(Overlap(each.run_id, cvms, each.is_live, each.has_ended, each.last_at))
        return overlaps

    def create_claim(
        self, run_id: str, cloud_url: str, refs: Iterable[CvmRef], *, ignore_running: bool = False
    ) -> "FileClaim":
        """Claim CVMs for a run, as `ClaimBatch.create_claim`."""
        path, cvms, fd = self._claims.claim_file(run_id), tuple(refs), None
        overlaps = self.list_overlaps(cloud_url, cvms, without=path)
        if not ignore_running:
            refuse_live(overlaps)
        try:
            fd = open_or_create(path, os.O_RDWR)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            about = (run_id, cloud_url, cvms)
            claim = FileClaim(self._claims, path, fd, about, overlaps, ignore_running=ignore_running)
        except BlockingIOError as error:
            if fd is not None:
                os.close(fd)
            raise ClaimedError("another process executes this run", hint="wait for its end") from error
        except OSError as error:
            if fd is not None:
                os.close(fd)
            raise _explain_failure(error, path) from error
        names = tuple((ref.id, ref.uuid_key, ref.name) for ref in cvms)
        self._add(FoundClaim(path, cloud_url, names, run_id, is_live=True, has_ended=False, last_at=time.time()))
        return claim


class ClaimBesideOthers(ABC):
    """A claim with the other claims on its CVMs, as found when the claim was made.

    Attributes:
        errors: the errors of `claim_all` that may pass with time.
    """

    errors: tuple[type[Exception], ...]
    _overlaps: Sequence[Overlap] = ()
    _narrowed_at: float

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release(has_ended=False)

    @abstractmethod
    def release(self, *, has_ended: bool) -> None:
        """End the claim, as `Claim.release`."""

    @abstractmethod
    async def claim_all(self) -> None:
        """Try once to claim all CVMs of the run again.

        Raises:
            Exception: one of `errors`.
        """

    async def claim_again(self, recheck_after: float, waiting: Callable[[str], None]) -> float | None:
        """Claim all CVMs of the run again, as `Claim.claim_again`."""
        has_warned = False
        while True:
            try:
                await self.claim_all()
                return self.wait_before_reading(self._narrowed_at, recheck_after)
            except self.errors as error:
                if not has_warned:
                    waiting(str(error))
                has_warned = True
            await anyio.sleep(_LOOK_EVERY_S)

    def wait_before_reading(self, since: float, recheck_after: float) -> float | None:
        """Seconds to wait before a new read of the statuses, as `Claim.wait_before_reading`."""
        waits = []
        for other in self._overlaps:
            # A run that ended with all its requests answered has seen their effect.
            lag = 0.0 if other.has_ended else recheck_after
            if other.is_live:
                waits.append(0.0)
            elif other.last_at + lag >= since - _CLOCK_STEP_S:
                waits.append(min(recheck_after, max(0.0, other.last_at + lag - time.time())))
        return max(waits, default=None)


class FileClaim(ClaimBesideOthers):
    """The claim of a run in a file, as `Claim`; a lock on the file ends with the process.

    Attributes:
        run_id: the run.
    """

    errors = (ClaimedError, OSError)

    def __init__(
        self,
        claims: FileClaimStore,
        path: Path,
        fd: int,
        about: tuple[str, str, tuple[CvmRef, ...]],
        overlaps: list[Overlap],
        *,
        ignore_running: bool,
    ) -> None:
        """Write the claim; only `FileClaimStore.create_claim` creates claims."""
        self.run_id, self._cloud_url, self._all = about
        self._claims, self._path, self._fd = claims, path, fd
        self._overlaps, self._ignore_running = overlaps, ignore_running
        self._size, self._is_released, self._narrowed_at = 0, False, time.time()
        self._cvms: tuple[CvmRef, ...] = ()
        os.ftruncate(fd, 0)
        self._write_claim(self._all)

    def keep_only(self, refs: Iterable[CvmRef]) -> None:
        """Reduce the claim to these CVMs for now, as `Claim.keep_only`."""
        with suppress(OSError, ClaimedError), self._claims.hold_lock():
            self._write_claim(tuple(refs))
            self._narrowed_at = time.time()

    async def claim_all(self) -> None:
        """Try once to claim all CVMs of the run again."""
        with self._claims.hold_lock():
            batch = FileClaimBatch(self._claims)
            self._overlaps = batch.list_overlaps(self._cloud_url, self._all, without=self._path)
            if not self._ignore_running:
                refuse_live(self._overlaps)
            self._write_claim(self._all)

    def release(self, *, has_ended: bool) -> None:
        """End the claim, as `Claim.release`."""
        if not self._is_released:
            self._is_released = True
            with suppress(OSError):
                self._write_claim(self._cvms, has_ended=has_ended)
            os.close(self._fd)

    def _write_claim(self, refs: tuple[CvmRef, ...], *, has_ended: bool = False) -> None:
        """Write the claim in place. The file never shrinks, so a full disk cannot cut a later claim short."""
        cvms = [(ref.id, ref.uuid_key, ref.name) for ref in refs]
        document = {"v": 1, "run_id": self.run_id, "cloud_url": self._cloud_url, "ended": has_ended, "cvms": cvms}
        data = json.dumps(document).encode("ascii").ljust(self._size)
        self._size = max(self._size, os.pwrite(self._fd, data, 0))
        if self._size < len(data):
            raise OSError(28, os.strerror(28))
        self._cvms = refs


def refuse_live(overlaps: list[Overlap]) -> None:
    """Refuse a claim on CVMs claimed by a live run.

    Raises:
        ClaimedError: when any of the overlapping runs is live.
    """
    live = [each for each in overlaps if each.is_live]
    if live:
        runs = [f"run {each.run_id} ({plural(len(each.cvms), 'CVM')}: {join_names(each.cvms)})" for each in live]
        hint = (
            "wait for the end of that run, or add --ignore-running to act on these CVMs all the same: "
            "two runs can act, and bill, twice"
        )
        error = ClaimedError(f"another run is acting on the same CVMs: {'; '.join(runs)}", hint=hint)
        error.run_ids = tuple(each.run_id for each in live)
        raise error


def _explain_failure(error: OSError, path: Path) -> SettingsError:
    hint = "nothing was sent; set ORCHESTRATOR_STATE_DIR to a folder that can be written"
    return SettingsError(f"cannot claim CVMs: {error.strerror}", file=path, hint=hint)


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
