"""The words of notices: what others named or wrote on one line and cut to a width, numbers in the right form."""

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from orchestrator.audit.replay import RunState
from orchestrator.duration import format_duration
from orchestrator.moment import parse_timestamp
from orchestrator.outcome import Ending, Exit

_WIDTH = 300
_MOST_LINES = 20

INTERRUPTED = {
    Ending.SIGINT.value: "interrupted",
    Ending.SIGTERM.value: "terminated",
    Ending.KEY_REFUSED.value: "ended early, the API refuses the key",
    Ending.CLOUD_DOWN.value: "ended early, the API was down for too long",
    Ending.TIMED_OUT.value: "ended early, it took too long",
    Ending.LOG_FAILED.value: "ended early, the audit log failed",
}
"""What a run that can be resumed ended by."""


_EARLY = {
    Ending.MAX_FAILURES.value: "ended early, too many failures",
    Ending.STEP_FAILED.value: "ended early, a step failed",
    Ending.CANARY_FAILED.value: "ended early, the first wave failed",
    Ending.NOT_APPROVED.value: "ended early, not approved",
    Ending.ABANDONED.value: "ended early, abandoned",
}


def one_line(text: object, width: int = _WIDTH) -> str:
    """Text on one line, without what can't be seen, cut to a width.

    Args:
        text: anything.
        width: characters at the most.
    """
    plain = "".join(char if char.isprintable() else " " for char in str(text)[: 2 * width])
    plain = " ".join(plain.split())
    return plain if len(plain) <= width else f"{plain[: width - 1]}…"


def paragraph(text: str) -> list[str]:
    """Text of several lines, each as `one_line` gives it; there is always one."""
    lines = [one_line(line, 2000) for line in text.strip().splitlines()[:_MOST_LINES]]
    return lines or [""]


def step(name: str) -> str:
    """A step, by its name; one that has none of its own is called `step N` already."""
    plain = one_line(name)
    return plain if plain.startswith("step ") else f"step {plain}"


def moment(text: str) -> str:
    """A timestamp of the log, for people."""
    return f"{parse_timestamp(text):%Y-%m-%d %H:%M:%S} UTC"


def cvms(number: int) -> str:
    """A number of CVMs."""
    return f"{number} CVM" if number == 1 else f"{number} CVMs"


def to_do(actions: Iterable[str]) -> str:
    """How many CVMs are to be stopped, started and so on."""
    each = Counter(actions)
    verbs = {"shutdown": "shut down"}
    parts = [f"{number} to {verbs.get(action, action)}" for action, number in each.items()]
    return ", ".join(parts) or "no CVM to act on so far"


def tally(numbers: Mapping[str, int]) -> str:
    """How many ended in each way."""
    return ", ".join(f"{number} {outcome.replace('_', ' ')}" for outcome, number in numbers.items()) or "no targets"


def counts(state: RunState) -> dict[str, int]:
    """How many CVMs ended in each way, or would if nothing more were done, by the last word on each."""
    return dict(Counter(target.outcome_so_far.value for target in state.targets.values() if not target.taken_up_by))


def ended(code: int, ending: str) -> str:
    """How a run ended that is finished."""
    if ending != Ending.COMPLETED:
        return _EARLY.get(ending, "ended early")
    if code == Exit.UNSETTLED:
        return "finished, not all settled in time"
    return "finished, all as wanted" if code == Exit.OK else "finished with failures"


def ends(money: Mapping[str, Any]) -> str:
    """What a run's stops and starts do to the bill, where that is known; begins with a comma."""
    starts = money.get("starts") or {}
    parts = [("ends", money.get("compute_usd_per_hour")), ("begins", starts.get("compute_usd_per_hour"))]
    return "".join(
        f", {verb} ${Decimal(amount):.4f} an hour of compute" for verb, amount in parts if amount and Decimal(amount)
    )


def seconds_between(begin: str, end: str) -> float:
    """Seconds from one timestamp of the log to another."""
    return max(0.0, round((parse_timestamp(end) - parse_timestamp(begin)).total_seconds(), 1))


def duration(seconds: float) -> str:
    """A duration for people."""
    return format_duration(seconds)
