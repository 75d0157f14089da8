"""One stop whose charge is looked for: when it was sent, when the CVM was down, what its compute costs."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator.action import Action
from orchestrator.cvm import CvmRef

SLACK = timedelta(minutes=5)
"""So long after a CVM was seen down its window lasts: a charge may be dated a little later."""

SLACK_IF_NOT_DOWN = timedelta(hours=1)
"""The same for one that was not seen down: it may have gone down later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """One stop or shutdown that had an effect, or may have had one.

    Attributes:
        step: its step.
        action: what was asked for in the end.
        ref: the CVM.
        sent: when the first request left that may have had the effect.
        accepted: when it was accepted; None where no answer told.
        ended: when the run was done with it.
        down: when it was first seen down; None where it was not.
        rate: US dollars per hour for compute; None where unknown.
        later: when the run's next action on the same CVM was sent; None for no such action.
    """

    step: str
    action: Action
    ref: CvmRef
    sent: datetime
    accepted: datetime | None
    ended: datetime
    down: datetime | None
    rate: Decimal | None
    later: datetime | None = None

    @property
    def search_window(self) -> tuple[datetime, datetime]:
        """From when to when its charge is looked for."""
        until = self.ended + SLACK_IF_NOT_DOWN if self.down is None else self.down + SLACK
        return self.sent, until if self.later is None else min(until, self.later)

    @property
    def stopped_at(self) -> datetime:
        """When compute is taken to have ended: at once for a stop, when it was seen down for a shutdown."""
        at_once = self.accepted if self.action.spec.is_instant else None
        return at_once or self.down or self.accepted or self.ended

    def shift_clock(self, ahead: timedelta) -> "Stop":
        """The same by a clock that is ahead by so much."""

        def by(moment: datetime | None) -> datetime | None:
            return None if moment is None else moment + ahead

        return replace(
            self,
            sent=self.sent + ahead,
            ended=self.ended + ahead,
            accepted=by(self.accepted),
            down=by(self.down),
            later=by(self.later),
        )
