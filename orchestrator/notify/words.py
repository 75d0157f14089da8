"""Phrases of notices: foreign names and texts on one line of limited width, and formatted numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from orchestrator.action import Action
from orchestrator.audit.replay import RunState
from orchestrator.outcome import Ending, Exit
from orchestrator.times import parse_timestamp

_WIDTH = 300
_MOST_LINES = 20

INTERRUPTED = {
    Ending.SIGINT.value: "interrupted",
    Ending.SIGTERM.value: "terminated",
    Ending.KEY_REFUSED.value: "ended early, the API refuses the key",
    Ending.CLOUD_DOWN.value: "ended early, the API was down for too long",
    Ending.TIMED_OUT.value: "ended early, timed out",
    Ending.LOG_FAILED.value: "ended early, the audit log failed",
}
"""Endings of a run that can be resumed."""


_EARLY = {
    Ending.MAX_FAILURES.value: "ended early, too many failures",
    Ending.STEP_FAILED.value: "ended early, a step failed",
    Ending.CANARY_FAILED.value: "ended early, the first wave failed",
    Ending.NOT_APPROVED.value: "ended early, not approved",
    Ending.FROZEN.value: "ended early, a freeze began",
    Ending.ABANDONED.value: "ended early, abandoned",
    Ending.CANCELLED.value: "ended early, cancelled",
}


def one_line(text: object, width: int = _WIDTH) -> str:
    """Make a single line of a text, without invisible characters, cut to a width.

    Args:
        text: any value.
        width: number of characters at most.
    """
    plain = "".join(char if char.isprintable() else " " for char in str(text)[: 2 * width])
    plain = " ".join(plain.split())
    return plain if len(plain) <= width else f"{plain[: width - 1]}…"


def split_lines(text: str) -> list[str]:
    """Split a text into lines cut to a width; an empty text gives an empty line."""
    lines = [one_line(line, 2000) for line in text.strip().splitlines()[:_MOST_LINES]]
    return lines or [""]


def name_step(name: str) -> str:
    """Name a step; a step without its own name is already named `step N`."""
    plain = one_line(name)
    return plain if plain.startswith("step ") else f"step {plain}"


def format_moment(text: str) -> str:
    """Format a timestamp of the log for reading."""
    return f"{parse_timestamp(text):%Y-%m-%d %H:%M:%S} UTC"


def count_actions(actions: Iterable[str]) -> str:
    """Count the CVMs to stop, to start and so on."""
    each = Counter(actions)
    parts = [f"{number} to {Action(action).verb}" for action, number in each.items()]
    return ", ".join(parts) or "no CVM to act on so far"


def list_counts(numbers: Mapping[str, int]) -> str:
    """List the number of CVMs per outcome."""
    return ", ".join(f"{number} {outcome.replace('_', ' ')}" for outcome, number in numbers.items()) or "no targets"


def count_outcomes(state: RunState) -> dict[str, int]:
    """Count the CVMs per outcome; a CVM without an outcome counts with its outcome so far."""
    return dict(Counter(target.outcome_so_far.value for target in state.targets.values() if not target.taken_up_by))


def describe_end(code: int, ending: str | None) -> str:
    """Describe the end of a finished run."""
    if ending not in {None, Ending.COMPLETED}:
        return _EARLY.get(ending, "ended early")
    if code == Exit.UNSETTLED:
        return "finished, some CVMs did not settle in time"
    return "succeeded" if code == Exit.OK else "finished with failures"


def describe_cost_change(money: Mapping[str, Any]) -> str:
    """Describe the change of compute costs by stops and starts; begins with a comma, empty if unknown."""
    starts = money.get("starts") or {}
    parts = [("stopped", money.get("compute_usd_per_hour")), ("started", starts.get("compute_usd_per_hour"))]
    return "".join(f", {verb} compute ${Decimal(amount):.4f}/h" for verb, amount in parts if amount and Decimal(amount))


def seconds_between(begin: str, end: str) -> float:
    """Seconds between two timestamps of the log."""
    return max(0.0, round((parse_timestamp(end) - parse_timestamp(begin)).total_seconds(), 1))
