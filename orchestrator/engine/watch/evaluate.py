"""What a status read says about a CVM that something was asked of. Pure.

| a read shows, of a CVM whose request was accepted | to be down | to be started | to be restarted |
|---|---|---|---|
| stopped or exited, nothing in progress | settled | no news, then failed | on its way |
| running, nothing in progress | no news, then failed | settled | settled if it was seen elsewhere, else failed |
| on its way to where it is to be | on its way | on its way | on its way |
| `error` | failed | failed | failed |
| anything else | nothing | nothing | nothing |

| a read shows, of a CVM whose request has an unknown outcome | to be down | to be started | to be restarted |
|---|---|---|---|
| it on its way, or there | it had its effect | it had its effect | it had its effect |
| it as it was before | it had none | it had none | can't be told, so failed |
| `error`, where it was not before | it had its effect | the same | the same |
| anything else | nothing | nothing | nothing |

Reads may lag an operation by seconds. So a read that still shows the CVM as it was before is no news for a while, and
it proves that a request had no effect only if it was begun `recheck_after` seconds after that request ended. A read
proves that a CVM came up under the same condition: it may have run shortly before. Nobody is said to be back where it
was but by a second read, begun `recheck_after` later, that agrees.
"""

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.action import Action
from orchestrator.cvm import COMING_UP, DOWN, GOING_DOWN, UP
from orchestrator.reply import StatusRead

PATIENCE = 5
"""How many times `recheck_after` a CVM may go on showing its old status before that counts as its answer."""

_SHOWS_NO_EFFECT = frozenset({UP, "error"}) | COMING_UP
"""Statuses that a CVM does not have while it goes down; an unknown string proves nothing."""


class Finding(StrEnum):
    """What a read says."""

    OPEN = "open"
    """Nothing yet; read again."""
    EFFECT = "effect"
    """The request whose answer was unknown had its effect."""
    NO_EFFECT = "no_effect"
    """It had none."""
    INCONCLUSIVE = "untold"
    """The CVM runs, and whether it was restarted can't be told."""
    SETTLED = "settled"
    """The CVM is where it is to be."""
    ERROR = "error"
    """It turned to `error`."""
    BACK_UP = "back_up"
    """It runs again without having been seen down."""
    NOT_UP = "not_up"
    """It is down, although its start was accepted."""
    CAME_UP = "risen"
    """It was seen down and is up again."""
    WENT_DOWN = "fallen"
    """It was seen running and is not any more."""


@dataclass(slots=True)
class Watched:
    """What is known of a CVM while it is watched. Times are seconds of the engine's clock.

    Attributes:
        before: its status before the action.
        since: when the action was accepted, or the request of unknown outcome ended.
        deadline: when the wait for it ends.
        accepted: False while it is unknown whether the request had an effect.
        shared: whether that request was for others too, so that it may have left this one alone.
        action: what was asked of it.
        status: the last status that was seen; None before the first.
        overtaken: whether it is a stop that followed a shutdown, so that going down is no news.
        moved: whether an answer or a read showed it on its way.
        doubted_at: when the first of the reads was begun that show it where it was before; None while none does.
    """

    before: str
    since: float
    deadline: float
    accepted: bool
    shared: bool = False
    action: Action = Action.STOP
    overtaken: bool = False
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
    accepted, unknown = _RULES[watched.action]
    return (accepted if watched.accepted else unknown)(watched, read, begun, recheck_after)


def judge_again(watched: Watched, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """What the sweep at the end of a run says of a CVM that was seen where it is to be."""
    if watched.action.leaves_running:
        if read.up:
            return Finding.SETTLED
        left, found = not read.in_progress and read.status in {"error", *DOWN, *GOING_DOWN}, Finding.WENT_DOWN
    else:
        if read.down:
            return Finding.SETTLED
        left = read.status in _SHOWS_NO_EFFECT and not (read.in_progress and read.status == "error")
        found = Finding.CAME_UP
    return found if left and _confirmed(watched, begun, recheck_after) else Finding.OPEN


def _going_down(watched: Watched, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """Of a CVM whose stop or shutdown was accepted."""
    if read.down:
        return Finding.SETTLED
    if read.status in GOING_DOWN or read.status in DOWN:
        return _on_its_way(watched)
    if read.in_progress or read.status not in {UP, "error"}:
        return Finding.OPEN
    unmoved = read.status == watched.before and not watched.moved
    if unmoved and begun < watched.since + PATIENCE * recheck_after:
        return Finding.OPEN
    if read.status == "error":
        return Finding.ERROR
    return Finding.BACK_UP if _confirmed(watched, begun, recheck_after) else Finding.OPEN


def _perhaps_going_down(watched: Watched, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """Of a CVM of which it is unknown whether its stop or shutdown had an effect."""
    late_enough = begun >= watched.since + recheck_after
    if watched.overtaken and read.status == watched.before and read.status in GOING_DOWN:
        return Finding.NO_EFFECT if late_enough else Finding.OPEN
    if read.status in GOING_DOWN or read.status in DOWN:
        return Finding.EFFECT
    if watched.shared:
        # Whoever an operation holds is left out of a batch; a stop of its own cancels the operation.
        return Finding.NO_EFFECT if late_enough and read.status in _SHOWS_NO_EFFECT else Finding.OPEN
    if read.in_progress or read.status not in _SHOWS_NO_EFFECT:
        return Finding.OPEN
    if read.status not in {UP, watched.before}:
        # It turned to `error`, or is being started: something happened to it, and a second stop is the worse slip.
        return Finding.EFFECT
    return Finding.NO_EFFECT if late_enough else Finding.OPEN


def _coming_up(watched: Watched, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """Of a CVM whose start was accepted."""
    if read.up:
        return Finding.SETTLED if begun >= watched.since + recheck_after else Finding.OPEN
    if read.status in COMING_UP:
        return _on_its_way(watched)
    if read.in_progress or read.status not in {"error", *DOWN}:
        return Finding.OPEN
    unmoved = not watched.moved and (read.status == watched.before or read.status in DOWN)
    if unmoved and begun < watched.since + PATIENCE * recheck_after:
        return Finding.OPEN
    if read.status == "error":
        return Finding.ERROR
    return Finding.NOT_UP if _confirmed(watched, begun, recheck_after) else Finding.OPEN


def _perhaps_coming_up(watched: Watched, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """Of a CVM of which it is unknown whether its start had an effect."""
    late_enough = begun >= watched.since + recheck_after
    if read.status in COMING_UP or (read.status == UP and late_enough):
        return Finding.EFFECT
    if read.in_progress or read.status not in {"error", *DOWN}:
        return Finding.OPEN
    if read.status in {"error", "exited"} and read.status != watched.before:
        # It was started and failed, or its guest ended at once: to start it a second time is the worse slip.
        return Finding.EFFECT
    return Finding.NO_EFFECT if late_enough else Finding.OPEN


def _coming_back(watched: Watched, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """Of a CVM whose restart was accepted."""
    if read.up and watched.moved:
        return Finding.SETTLED if begun >= watched.since + recheck_after else Finding.OPEN
    if read.up:
        if begun < watched.since + PATIENCE * recheck_after:
            return Finding.OPEN
        return Finding.INCONCLUSIVE if _confirmed(watched, begun, recheck_after) else Finding.OPEN
    if read.status in COMING_UP | GOING_DOWN | DOWN or read.status == UP:
        return _on_its_way(watched)
    return Finding.ERROR if read.status == "error" and not read.in_progress else Finding.OPEN


def _perhaps_coming_back(watched: Watched, read: StatusRead, begun: float, recheck_after: float) -> Finding:
    """Of a CVM of which it is unknown whether its restart had an effect."""
    if read.status in COMING_UP | GOING_DOWN | DOWN or (read.status == "error" and not read.in_progress):
        return Finding.EFFECT
    if not read.up or begun < watched.since + PATIENCE * recheck_after:
        return Finding.OPEN
    # It may have restarted unseen. A second restart would be the worse slip.
    return Finding.INCONCLUSIVE if _confirmed(watched, begun, recheck_after) else Finding.OPEN


_RULES = {
    Action.STOP: (_going_down, _perhaps_going_down),
    Action.SHUTDOWN: (_going_down, _perhaps_going_down),
    Action.START: (_coming_up, _perhaps_coming_up),
    Action.RESTART: (_coming_back, _perhaps_coming_back),
}


def _on_its_way(watched: Watched) -> Finding:
    watched.moved, watched.doubted_at = True, None
    return Finding.OPEN


def _confirmed(watched: Watched, begun: float, recheck_after: float) -> bool:
    if watched.doubted_at is None:
        watched.doubted_at = begun
    return begun >= watched.doubted_at + recheck_after
