"""Decisions about a whole fleet run: exit code and ending, the canary workspace, the total of failures. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from orchestrator.audit.fleet_log import RUNS_LEFT
from orchestrator.outcome import COUNTS_AS_FAILURE, Ending, Exit, Outcome
from orchestrator.playbook.value_types import Share

_NOTHING_SENT = frozenset({Exit.CLOUD, Exit.GUARD})
"""Exit codes of a run without any request."""
_BY_IMPORTANCE = (Exit.SIGINT, Exit.SIGTERM, Exit.ENDED_EARLY, Exit.FAILED, Exit.UNSETTLED)


@dataclass(frozen=True, slots=True)
class MemberEnd:
    """The end of one workspace's run, or its present state.

    Attributes:
        workspace: name of the workspace.
        run_id: the run.
        ending: the ending of this part of the run; None for a run that did not begin.
        exit_code: the exit code of the run; None for a run that did not begin.
        finished_hash: the hash of its `run.finished` record; None for an unfinished run.
    """

    workspace: str
    run_id: str
    ending: Ending | None = None
    exit_code: Exit | None = None
    finished_hash: str | None = None

    @property
    def has_finished(self) -> bool:
        """Whether the run has its last record."""
        return self.finished_hash is not None

    def document(self) -> dict[str, object]:
        """Build the entry of `runs` in `fleet.finished`."""
        return {
            "workspace": self.workspace,
            "run_id": self.run_id,
            "ending": None if self.ending is None else self.ending.value,
            "exit_code": None if self.exit_code is None else int(self.exit_code),
            "hash": self.finished_hash,
        }


def combine_exit_codes(codes: Iterable[Exit], *, left_out: bool) -> Exit:
    """Return the exit code of a fleet run.

    The order is that of a run: interruption, early end, failures, time-outs. A run that ended before its first request
    counts as an early end beside a run with requests.

    Args:
        codes: the exit code of every run that began.
        left_out: whether an unreachable workspace was left out, or a run did not begin.
    """
    found = set(codes)
    if found and found <= _NOTHING_SENT:
        return Exit.CLOUD if Exit.CLOUD in found else Exit.GUARD
    if found & _NOTHING_SENT:
        found.add(Exit.ENDED_EARLY)
    if left_out:
        found.add(Exit.FAILED)
    return next((code for code in _BY_IMPORTANCE if code in found), Exit.OK)


def choose_ending(ends: Iterable[MemberEnd]) -> Ending:
    """Return the ending of the fleet run: the ending of the run with the most important exit code."""
    order = [*_BY_IMPORTANCE, *sorted(_NOTHING_SENT), Exit.OK]
    begun = [end for end in ends if end.ending is not None and end.exit_code is not None]
    first = min(begun, key=lambda end: order.index(end.exit_code or Exit.OK), default=None)
    return Ending.COMPLETED if first is None or first.ending is None else first.ending


def name_interruption(ends: Iterable[MemberEnd]) -> str:
    """Name the reason for an unfinished fleet run: the most important ending of its unfinished runs.

    Returns:
        an `Ending`, or `RUNS_LEFT` without such an ending, as after `--skip-unreachable`.
    """
    ending = choose_ending(end for end in ends if not end.has_finished)
    return ending.value if ending.resumable else RUNS_LEFT


def sum_counts(counts: Iterable[Mapping[Outcome, int]]) -> dict[Outcome, int]:
    """Add the counts of all runs up, without outcomes of zero targets."""
    total: Counter[Outcome] = Counter()
    for each in counts:
        total.update(each)
    return {outcome: total[outcome] for outcome in Outcome if total[outcome]}


def has_too_many_failures(counts: Iterable[Mapping[Outcome, int]], limit: Share | None, targets: int) -> bool:
    """Return True if more targets failed in all workspaces than the limit allows.

    Args:
        counts: the number of targets by outcome, for every run.
        limit: the limit; a percentage is of `targets`.
        targets: the number of targets of all runs.
    """
    if limit is None:
        return False
    failed = sum(number for each in counts for outcome, number in each.items() if outcome in COUNTS_AS_FAILURE)
    return failed > limit.of(targets)


class AfterCanary(Enum):
    """The consequence of the canary workspace's end for the other workspaces."""

    BEGIN = "begin"
    """The run ended as wanted: the others begin."""
    END = "end"
    """The run failed: the others end without a request."""
    WAIT = "wait"
    """The run can be resumed: the others wait for the resume."""


def decide_after_canary(end: MemberEnd) -> AfterCanary:
    """Decide about the other workspaces after the end of the canary workspace's run."""
    if not end.has_finished:
        return AfterCanary.WAIT
    return AfterCanary.BEGIN if end.exit_code is Exit.OK else AfterCanary.END
