"""A stop to reconcile with usage records: times of the request and of the CVM going down, and the compute rate."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator.action import Action
from orchestrator.cvm import CvmRef

SLACK = timedelta(minutes=5)
"""Length of the search window after the CVM was seen down: a charge may be dated a little later."""

SLACK_IF_NOT_DOWN = timedelta(hours=1)
"""The same for a CVM never seen down, because the CVM may have gone down later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A stop or shutdown with a certain or possible effect.

    Attributes:
        step: the step's name.
        action: the last requested action.
        ref: the CVM.
        sent: time of the first request with a possible effect.
        accepted: time of the acceptance; None if no answer showed the acceptance.
        ended: time of the target's outcome; time of the last record without an outcome.
        down: time of the first read of the CVM down; None without such a read.
        rate: US dollars per hour for compute; None if unknown.
        later: time of the run's next request for the same CVM; None without such a request.
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
        """Beginning and end of the period searched for the charge."""
        until = self.ended + SLACK_IF_NOT_DOWN if self.down is None else self.down + SLACK
        return self.sent, until if self.later is None else min(until, self.later)

    @property
    def stopped_at(self) -> datetime:
        """Assumed end of compute: the acceptance of a stop, or the first read of the CVM down after a shutdown."""
        at_once = self.accepted if self.action.spec.is_instant else None
        return at_once or self.down or self.accepted or self.ended

    def shift_clock(self, ahead: timedelta) -> "Stop":
        """Return the stop in the times of a clock ahead of this clock."""

        def shift(moment: datetime | None) -> datetime | None:
            return None if moment is None else moment + ahead

        return replace(
            self,
            sent=self.sent + ahead,
            ended=self.ended + ahead,
            accepted=shift(self.accepted),
            down=shift(self.down),
            later=shift(self.later),
        )
