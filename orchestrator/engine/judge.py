"""What a status read says about a CVM that was told to stop. Pure.

Reads may lag an operation by seconds. So a read that still shows the CVM as it was before is no news for a while, and
it proves that a request had no effect only if it was begun `recheck_after` seconds after that request ended. A CVM is
called back up, or risen again, only when a second read, begun `recheck_after` later, agrees.
"""

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.cvm import DOWN, GOING_DOWN, UP, is_down
from orchestrator.reply import StatusRead

PATIENCE = 5
"""How many times `recheck_after` a CVM may go on showing its old status before that counts as its answer."""

_SHOWS_NO_EFFECT = frozenset({UP, "error", "starting", "restarting", "creating"})
"""Statuses that a CVM does not have while it goes down; an unknown string proves nothing."""


class Finding(StrEnum):
    """What a read says."""

    OPEN = "open"
    """Nothing yet; read again."""
    EFFECT = "effect"
    """The request whose answer was unknown had its effect."""
    NO_EFFECT = "no_effect"
    """It had none."""
    SETTLED = "settled"
    """The CVM is down."""
    ERROR = "error"
    """It turned to `error`."""
    BACK_UP = "back_up"
    """It runs again without having been seen down."""
    RISEN = "risen"
    """It was seen down and is up again."""


@dataclass(slots=True)
class Watched:
    """What is known of a CVM while it is watched. Times are seconds of the engine's clock.

    Attributes:
        before: its status before the stop.
        since: when its stop was accepted, or the request of unknown outcome ended.
        deadline: when the wait for it ends.
        accepted: False while it is unknown whether the request had an effect.
        shared: whether that request was for others too, so that it may have left this one alone.
        status: the last status that was seen; None before the first.
        moved: whether a read showed it on its way down.
        doubted_at: when the first of the reads was begun that show it up again; None while none does.
    """

    before: str
    since: float
    deadline: float
    accepted: bool
    shared: bool = False
    status: str | None = None
    moved: bool = False
    doubted_at: float | None = None


def judge(watched: Watched, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """What one read says of a watched CVM; updates what is known of it.

    Args:
        watched: what is known so far.
        read: the status.
        begun: when the read was begun.
        recheck_after: by how many seconds reads may lag.
    """
    if not watched.accepted:
        return _judge_unknown(watched, read, begun, recheck_after)
    if is_down(read.status, in_progress=read.in_progress):
        return Finding.SETTLED
    if read.status in GOING_DOWN or read.status in DOWN:
        watched.moved, watched.doubted_at = True, None
        return Finding.OPEN
    if read.in_progress or read.status not in {UP, "error"}:
        return Finding.OPEN
    same_as_before = read.status == watched.before and not watched.moved
    if same_as_before and begun < watched.since + PATIENCE * recheck_after:
        return Finding.OPEN
    if read.status == "error":
        return Finding.ERROR
    return Finding.BACK_UP if _confirmed(watched, begun, recheck_after) else Finding.OPEN


def _judge_unknown(watched: Watched, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    if read.status in GOING_DOWN or read.status in DOWN:
        return Finding.EFFECT
    late_enough = begun >= watched.since + recheck_after
    if watched.shared:
        # Whoever an operation holds is left out of a batch; a stop of its own cancels the operation.
        return Finding.NO_EFFECT if late_enough and read.status in _SHOWS_NO_EFFECT else Finding.OPEN
    if read.in_progress or read.status not in _SHOWS_NO_EFFECT:
        return Finding.OPEN
    if read.status not in {UP, watched.before}:
        # It turned to `error`, or is being started: something happened to it, and a second stop is the worse slip.
        return Finding.EFFECT
    return Finding.NO_EFFECT if late_enough else Finding.OPEN


def judge_again(watched: Watched, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """What the sweep at the end of a run says of a CVM that was seen down."""
    if is_down(read.status, in_progress=read.in_progress):
        return Finding.SETTLED
    coming_up = read.status in _SHOWS_NO_EFFECT and not (read.in_progress and read.status == "error")
    if not coming_up:
        return Finding.OPEN
    return Finding.RISEN if _confirmed(watched, begun, recheck_after) else Finding.OPEN


def _confirmed(watched: Watched, begun: float, recheck_after: float) -> bool:
    if watched.doubted_at is None:
        watched.doubted_at = begun
    return begun >= watched.doubted_at + recheck_after
