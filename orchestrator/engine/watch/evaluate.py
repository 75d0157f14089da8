"""Evaluate a status read of a CVM with a sent request. Pure.

| status read, after an accepted request | to be down | to be started | to be restarted |
|---|---|---|---|
| stopped or exited, nothing in progress | settled | pending, then failed | under way |
| running, nothing in progress | pending, then failed | settled | settled if seen in another status, else failed |
| under way to the wanted status | under way | under way | under way |
| `error` | failed | failed | failed |
| anything else | no information | no information | no information |

| status read, after a request of unknown effect | to be down | to be started | to be restarted |
|---|---|---|---|
| under way, or in the wanted status | effect | effect | effect |
| as before the request | no effect | no effect | unknown, so failed |
| `error`, with another status before | effect | effect | effect |
| anything else | no information | no information | no information |

Status reads may lag an operation by seconds. So for a while, a read of the old status gives no information. The read
proves "no effect" only if the read was begun `recheck_after` seconds after the end of the request. The same condition
holds for a read of a started CVM, because the CVM may have run shortly before. A CVM counts as back in its old status
only after a second read with the same result, begun `recheck_after` seconds later.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from orchestrator.action import Action, Goal
from orchestrator.cvm import COMING_UP, DOWN, GOING_DOWN, UP
from orchestrator.reply import StatusRead

PATIENCE = 5
"""Time until an unchanged old status counts as the result, as a multiple of `recheck_after`."""

_SHOWS_NO_EFFECT = frozenset({UP, "error"}) | COMING_UP
"""Statuses impossible while a CVM goes down; an unknown status proves nothing."""


class Finding(StrEnum):
    """Result of evaluating a status read."""

    PENDING = "pending"
    """No result yet; read again."""
    EFFECT = "effect"
    """The request of unknown effect took effect."""
    NO_EFFECT = "no_effect"
    """The request of unknown effect had no effect."""
    INCONCLUSIVE = "inconclusive"
    """The CVM runs, and a restart can neither be proved nor excluded."""
    SETTLED = "settled"
    """The CVM has the wanted status."""
    ERROR = "error"
    """The status of the CVM turned to `error`."""
    BACK_UP = "back_up"
    """The CVM runs again, and was never seen down."""
    NOT_UP = "not_up"
    """The CVM is down, although its start was accepted."""
    CAME_UP = "came_up"
    """The CVM was seen down and is up again."""
    WENT_DOWN = "went_down"
    """The CVM was seen running and no longer runs."""


@dataclass(slots=True)
class WatchState:
    """State of a watched CVM. Times are seconds of the engine's clock.

    Attributes:
        before: the status before the action.
        since: time of the acceptance, or the end of the request of unknown effect.
        deadline: end of the wait for the CVM.
        is_accepted: False while the effect of the request is unknown.
        is_shared: whether the request was a batch, which may have skipped this CVM.
        action: the requested action.
        status: the last status seen; None before the first read.
        follows_shutdown: whether the action is a stop after a shutdown, so going down is no news.
        has_moved: whether an answer or a read showed the CVM under way.
        doubted_at: time of the first read with the unwanted status; None without such a read.
    """

    before: str
    since: float
    deadline: float
    is_accepted: bool
    is_shared: bool = False
    action: Action = Action.STOP
    follows_shutdown: bool = False
    status: str | None = None
    has_moved: bool = False
    doubted_at: float | None = None


def evaluate_status(watched: WatchState, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """Evaluate a status read of a watched CVM, and update the state of the CVM.

    Args:
        watched: the state of the CVM.
        read: the status.
        begun: start time of the read.
        recheck_after: the longest lag of a status, in seconds.
    """
    return _find_rule(watched)(watched, read, begun, recheck_after)


def evaluate_settled_status(watched: WatchState, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """Evaluate a status read of a settled CVM, for the final verification."""
    if watched.action.leaves_running:
        if read.up:
            return Finding.SETTLED
        left, found = not read.in_progress and read.status in {"error", *DOWN, *GOING_DOWN}, Finding.WENT_DOWN
    else:
        if read.down:
            return Finding.SETTLED
        left = read.status in _SHOWS_NO_EFFECT and not (read.in_progress and read.status == "error")
        found = Finding.CAME_UP
    return found if left and _is_confirmed(watched, begun, recheck_after) else Finding.PENDING


def _going_down(watched: WatchState, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """Evaluate a read after an accepted stop or shutdown."""
    if read.down:
        return Finding.SETTLED
    if read.status in GOING_DOWN or read.status in DOWN:
        return _note_movement(watched)
    if read.in_progress or read.status not in {UP, "error"}:
        return Finding.PENDING
    unmoved = read.status == watched.before and not watched.has_moved
    if unmoved and begun < watched.since + PATIENCE * recheck_after:
        return Finding.PENDING
    if read.status == "error":
        return Finding.ERROR
    return Finding.BACK_UP if _is_confirmed(watched, begun, recheck_after) else Finding.PENDING


def _perhaps_going_down(watched: WatchState, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """Evaluate a read after a stop or shutdown of unknown effect."""
    late_enough = begun >= watched.since + recheck_after
    if watched.follows_shutdown and read.status == watched.before and read.status in GOING_DOWN:
        return Finding.NO_EFFECT if late_enough else Finding.PENDING
    if read.status in GOING_DOWN or read.status in DOWN:
        return Finding.EFFECT
    if watched.is_shared:
        # A batch skips a CVM with an operation in progress; a stop for this CVM alone cancels the operation.
        return Finding.NO_EFFECT if late_enough and read.status in _SHOWS_NO_EFFECT else Finding.PENDING
    if read.in_progress or read.status not in _SHOWS_NO_EFFECT:
        return Finding.PENDING
    if read.status not in {UP, watched.before}:
        # The status turned to `error`, or the CVM is being started: some change happened, and a second stop is worse.
        return Finding.EFFECT
    return Finding.NO_EFFECT if late_enough else Finding.PENDING


def _coming_up(watched: WatchState, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """Evaluate a read after an accepted start."""
    if read.up:
        return Finding.SETTLED if begun >= watched.since + recheck_after else Finding.PENDING
    if read.status in COMING_UP:
        return _note_movement(watched)
    if read.in_progress or read.status not in {"error", *DOWN}:
        return Finding.PENDING
    unmoved = not watched.has_moved and (read.status == watched.before or read.status in DOWN)
    if unmoved and begun < watched.since + PATIENCE * recheck_after:
        return Finding.PENDING
    if read.status == "error":
        return Finding.ERROR
    return Finding.NOT_UP if _is_confirmed(watched, begun, recheck_after) else Finding.PENDING


def _perhaps_coming_up(watched: WatchState, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """Evaluate a read after a start of unknown effect."""
    late_enough = begun >= watched.since + recheck_after
    if read.status in COMING_UP or (read.status == UP and late_enough):
        return Finding.EFFECT
    if read.in_progress or read.status not in {"error", *DOWN}:
        return Finding.PENDING
    if read.status in {"error", "exited"} and read.status != watched.before:
        # The start failed, or the guest ended at once: a second start would be the worse mistake.
        return Finding.EFFECT
    return Finding.NO_EFFECT if late_enough else Finding.PENDING


def _coming_back(watched: WatchState, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """Evaluate a read after an accepted restart."""
    if read.up and watched.has_moved:
        return Finding.SETTLED if begun >= watched.since + recheck_after else Finding.PENDING
    if read.up:
        if begun < watched.since + PATIENCE * recheck_after:
            return Finding.PENDING
        return Finding.INCONCLUSIVE if _is_confirmed(watched, begun, recheck_after) else Finding.PENDING
    if read.status in COMING_UP | GOING_DOWN | DOWN or read.status == UP:
        return _note_movement(watched)
    return Finding.ERROR if read.status == "error" and not read.in_progress else Finding.PENDING


def _perhaps_coming_back(watched: WatchState, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """Evaluate a read after a restart of unknown effect."""
    if read.status in COMING_UP | GOING_DOWN | DOWN or (read.status == "error" and not read.in_progress):
        return Finding.EFFECT
    if not read.up or begun < watched.since + PATIENCE * recheck_after:
        return Finding.PENDING
    # The CVM may have restarted unseen. A second restart would be the worse mistake.
    return Finding.INCONCLUSIVE if _is_confirmed(watched, begun, recheck_after) else Finding.PENDING


def _find_rule(watched: WatchState) -> Callable[[WatchState, StatusRead, float, float], Finding]:
    """Find the column of the table for the goal of the action."""
    match goal := watched.action.spec.goal:
        case Goal.DOWN:
            return _going_down if watched.is_accepted else _perhaps_going_down
        case Goal.UP:
            return _coming_up if watched.is_accepted else _perhaps_coming_up
        case Goal.RESTARTED:
            return _coming_back if watched.is_accepted else _perhaps_coming_back
        case _:
            assert_never(goal)


def _note_movement(watched: WatchState) -> Finding:
    watched.has_moved, watched.doubted_at = True, None
    return Finding.PENDING


def _is_confirmed(watched: WatchState, begun: float, recheck_after: float) -> bool:
    if watched.doubted_at is None:
        watched.doubted_at = begun
    return begun >= watched.doubted_at + recheck_after
