"""The journal of the schedules in a store for several machines: only the process with the duty writes.

After a write of unknown outcome the process steps down, and reads the journal anew.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import anyio

from orchestrator.errors import OrchestratorError, SettingsError, StoreDownError
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.runs.firing import FiringClaim
from orchestrator.service.duty import BuildRun, Term
from orchestrator.service.service_state import NEWEST_VERSION, ServiceState, find_version
from orchestrator.times import timestamp

if TYPE_CHECKING:
    from orchestrator.postgres.firing_run import FiringRun

LINES = 2000
"""Number of lines after which a snapshot follows: a new leader reads from the last snapshot on."""
TAKEN = "another process has the duty of the schedules"


class DutyJournal:
    """The journal of a term, as `Journal`.

    Attributes:
        state: the state after all written records.
        failure: reason of a failed last write; None after a successful write.
    """

    def __init__(self, term: Term, build_run: BuildRun, state: ServiceState, last: int, lines: int) -> None:
        """Set up; use `open_journal` instead.

        Args:
            term: the term.
            build_run: builds the run of a firing.
            state: the state after all lines.
            last: number of the last line; 0 for an empty journal.
            lines: number of lines from the last snapshot on.
        """
        self.state = state
        self.failure: str | None = None
        self._term, self._build_run, self._last, self._lines = term, build_run, last, lines
        self._turn = anyio.Lock()

    async def write(self, event: str, **fields: object) -> None:
        """Append a record, as `Journal.write`."""
        await self._append(event, fields)

    async def write_claim(self, claim: FiringClaim, loaded: LoadedPlaybook | None) -> None:
        """Append the claim of a firing, and submit its run, as `Journal.write_claim`."""
        run = None
        if loaded is not None and not claim.queued:
            try:
                run = self._build_run(claim, loaded)
            except OrchestratorError:
                run = None  # The start of the run reports the error.
        await self._append("firing.claimed", claim.record_fields(), run)

    def close(self) -> None:
        """Do nothing: the duty ends with the term."""

    async def _append(self, event: str, fields: Mapping[str, object], run: "FiringRun | None" = None) -> None:
        async with self._turn:
            await self._append_line(event, fields, run)
            if self._lines >= LINES:
                await self._append_line("snapshot", self.state.snapshot(self._term.store.wall()))
                self._lines = 1

    async def _append_line(self, event: str, fields: Mapping[str, object], run: "FiringRun | None" = None) -> None:
        term = self._term
        if term.reason is not None:
            raise OSError(term.reason)
        record: dict[str, Any] = {
            "v": find_version(event),
            "ts": timestamp(term.store.wall()),
            "event": event,
            **fields,
        }
        try:
            is_written = await term.store.append(term.epoch, self._last + 1, record, run)
        except StoreDownError as error:
            self._fail(f"the result of a write to the journal is unknown: {error}", error)
        if not is_written:
            self._fail(TAKEN)
        self.state.apply(record)
        self._last += 1
        self._lines += 1

    def _fail(self, reason: str, error: Exception | None = None) -> NoReturn:
        self.failure = reason
        self._term.step_down(reason)
        raise OSError(reason) from error


async def open_journal(term: Term, build_run: BuildRun) -> DutyJournal:
    """Read the journal for a new term.

    Raises:
        SettingsError: when the journal is damaged, or from a later version.
        StoreDownError: when the store can't be reached.
    """
    lines = await term.store.read_journal()
    return DutyJournal(term, build_run, replay_lines(lines), lines[-1][0] if lines else 0, len(lines))


def replay_lines(lines: Sequence[tuple[int, Mapping[str, Any]]]) -> ServiceState:
    """Return the state after the lines of a journal.

    Raises:
        SettingsError: when a line is damaged, or from a later version.
    """
    state = ServiceState()
    for seq, record in lines:
        try:
            if record["v"] > NEWEST_VERSION:
                message = f"line {seq} of the journal in the store is from a later version of orchestrator"
                raise SettingsError(message, hint="install that version or a later version on this machine")
            state.apply(record)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"line {seq} of the journal in the store is damaged: {type(error).__name__} {error}"
            raise SettingsError(message, hint="restore the database from a backup") from error
    return state
