"""Outcomes of targets, endings of runs, and exit codes: three contracts."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum


class Outcome(StrEnum):
    """Outcomes of a target."""

    SETTLED = "settled"
    """Down (or running, by the action), with nothing in progress, and still so at the end of the run."""
    REFUSED = "refused"
    """The API refuses the action (403, such as a GPU rental)."""
    FAILED = "failed"
    """The action failed for good, or the CVM turned to `error`, or went back to what it was before."""
    UNSETTLED = "unsettled"
    """Did not go down (or come up) within the settle timeout, counted from its own acceptance."""
    GONE = "gone"
    """Deleted meanwhile; nothing is left to stop. A CVM to be started that was deleted has failed."""
    RESURRECTED = "resurrected"
    """Was seen down, and later up again."""
    NOT_SENT = "not_sent"
    """The run ended before its request was sent, or the CVM changed or became protected before `resume`."""
    SKIPPED = "skipped"
    """Turned out to be as wanted already when its turn came; nothing was sent, nothing is billed."""


class Exit(IntEnum):
    """The exit codes of every command. 2 to 5 mean that nothing was changed."""

    OK = 0
    BUG = 1
    USAGE = 2
    GUARD = 3
    NO_MATCH = 4
    CLOUD = 5
    FAILED = 6
    UNSETTLED = 7
    ENDED_EARLY = 8
    SIGINT = 130
    SIGTERM = 143


class Ending(StrEnum):
    """Reasons for the end of a run."""

    COMPLETED = "completed"
    MAX_FAILURES = "max_failures"
    STEP_FAILED = "step_failed"
    CANARY_FAILED = "canary_failed"
    NOT_APPROVED = "not_approved"
    FROZEN = "frozen"
    KEY_REFUSED = "key_refused"
    LOG_FAILED = "log_failed"
    CLOUD_DOWN = "cloud_down"
    TIMED_OUT = "timed_out"
    SIGINT = "sigint"
    SIGTERM = "sigterm"
    ABANDONED = "abandoned"

    @property
    def resumable(self) -> bool:
        """Whether `resume` can continue the run: the reason for its end is outside the run's own plan."""
        return self not in {Ending.COMPLETED, Ending.ABANDONED, *OF_ITS_OWN_MAKING}


OF_ITS_OWN_MAKING = frozenset(
    {Ending.MAX_FAILURES, Ending.STEP_FAILED, Ending.CANARY_FAILED, Ending.NOT_APPROVED, Ending.FROZEN}
)
"""Early endings required by the playbook; the rest stays unsent for good."""

_EARLY = frozenset(
    {
        *OF_ITS_OWN_MAKING,
        *(Ending.KEY_REFUSED, Ending.LOG_FAILED, Ending.CLOUD_DOWN, Ending.TIMED_OUT, Ending.ABANDONED),
    }
)
_FAILED = frozenset({Outcome.REFUSED, Outcome.FAILED, Outcome.RESURRECTED})

COUNTS_AS_FAILURE = _FAILED
"""The outcomes counted by `max_failures`."""

ENDS_THE_RUN = _FAILED | {Outcome.UNSETTLED}
"""Outcomes of a target that end the run after a step with `on_failure: stop`, and after a canary."""


def exit_code(ending: Ending, counts: Mapping[Outcome, int], *, anything_sent: bool, left_alone: bool = False) -> Exit:
    """Return the exit code of a run with this ending and these outcomes.

    Args:
        ending: the reason for the run's end.
        counts: the number of targets of each outcome.
        anything_sent: whether a request that can change something was ever announced.
        left_alone: whether a selected CVM was skipped because of an unknown fact.

    If several codes apply, the order is: interruption, early end, failures, time-outs. A refused key before the first
    request changed nothing, so the code is 5.
    """
    if ending is Ending.SIGINT:
        return Exit.SIGINT
    if ending is Ending.SIGTERM:
        return Exit.SIGTERM
    if ending in {Ending.KEY_REFUSED, Ending.CLOUD_DOWN} and not anything_sent:
        return Exit.CLOUD
    if ending in {Ending.NOT_APPROVED, Ending.FROZEN} and not anything_sent:
        return Exit.GUARD
    if ending in _EARLY:
        return Exit.ENDED_EARLY
    if left_alone or any(counts.get(outcome) for outcome in (*_FAILED, Outcome.NOT_SENT)):
        return Exit.FAILED
    if counts.get(Outcome.UNSETTLED):
        return Exit.UNSETTLED
    return Exit.OK


AS_WANTED = frozenset({Outcome.SETTLED, Outcome.GONE, Outcome.SKIPPED})
"""The outcomes of targets in the state wanted by their step."""

TROUBLE = frozenset(Outcome) - AS_WANTED - {Outcome.NOT_SENT}
"""The outcomes of targets with a problem."""
