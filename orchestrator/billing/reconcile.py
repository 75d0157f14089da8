"""The actual and the expected charge of each stop, by the usage records of its CVM. Pure."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import partial

from orchestrator.billing.charges import (
    TOLERANCE,
    find_charges,
    find_creation_time,
    find_record_time,
    names_a_stop,
    select_compute,
)
from orchestrator.billing.reconciled import Basis, ChargeState, Figure, Reconciled
from orchestrator.billing.stop import Stop
from orchestrator.cvm import CvmRef
from orchestrator.reply import UsageRecord
from orchestrator.times import format_duration, timestamp

NOT_YET = "no usage record of it yet"
"""The usual reason of `pending`."""

LOOK_BACK = timedelta(hours=25)
"""Usage before a stop is read for this time, to find the last record charged before the stop."""

LOOK_AHEAD = timedelta(hours=25)
"""Usage after the window is read for this time: a record may have its creation time or its day as its date."""

_NAMES_AN_APP = re.compile(r"[A-Za-z0-9_-]{1,128}")
_CENT_OF_MINUTE = Decimal("0.01")
_MICRO_USD = Decimal("0.000001")
_LEAST = Decimal(1)
"""Minutes; shorter usage is not charged."""

_NOT_KNOWN = Figure(None, None, Basis.ESTIMATED)
_NOT_SEEN = Figure(None, None, Basis.OBSERVED)


def reconcile_stops(
    stops: Sequence[Stop],
    usage: Sequence[UsageRecord],
    *,
    gone: bool,
    ahead: timedelta,
    now: datetime,
    pending_for: float,
) -> list[Reconciled]:
    """Find the charge of each stop of a CVM.

    Args:
        stops: the stops of this CVM, in the order of sending.
        usage: the CVM's usage records, in any order.
        gone: whether the API does not know the CVM's app (any more).
        ahead: the lead of the API's clock over the clock of the stops' times.
        now: the time of the usage read.
        pending_for: seconds after a stop; a charge is not expected later.
    """
    compute = select_compute(usage)
    found = []
    for written in stops:
        stop = written if abs(ahead) <= TOLERANCE else written.shift_clock(ahead)
        charges = find_charges(stop, compute)
        left = [each for each in compute if each not in charges]
        found.append(_reconcile_stop(stop, charges, left, gone=gone, now=now, pending_for=pending_for))
        compute = left  # a record belongs to one stop only
    return found


def without_usage(stop: Stop, reason: str, now: datetime, standing: ChargeState = ChargeState.UNKNOWN) -> Reconciled:
    """Return the result for a stop whose usage could not be read, with this reason."""
    return _build_result(stop, now, standing, reason)


def why_without_usage(ref: CvmRef) -> str | None:
    """Return the reason why the usage of a CVM can't be read; None if readable."""
    if ref.app_id is None:
        return "the list gave no app_id for this CVM, and usage is listed by app"
    if _NAMES_AN_APP.fullmatch(ref.app_id) is None:
        return "the app_id that the list gave for this CVM is none, and usage is listed by app"
    if ref.uuid_key is None:
        return "the list gave no UUID for this CVM, and usage is listed by UUID"
    return None


def _reconcile_stop(
    stop: Stop,
    charges: Sequence[UsageRecord],
    others: Sequence[UsageRecord],
    *,
    gone: bool,
    now: datetime,
    pending_for: float,
) -> Reconciled:
    build = partial(_build_result, stop, now, expected=_estimate_charge(stop, charges, others), charges=charges)
    if any(each.cost is None for each in charges):
        return build(ChargeState.UNKNOWN, "its usage record has no cost that can be read")
    if charges:
        minutes = [each.minutes for each in charges if each.minutes is not None]
        charged = Figure(
            sum((each.cost for each in charges if each.cost is not None), Decimal(0)),
            sum(minutes, Decimal(0)) if len(minutes) == len(charges) else None,
            Basis.OBSERVED,
        )
        return build(ChargeState.CHARGED, _find_peculiarity(charges), charged=charged)
    if (now - (stop.down or stop.ended)).total_seconds() < pending_for:
        return build(ChargeState.PENDING, "the API does not know its app" if gone else NOT_YET)
    if gone:
        return build(ChargeState.UNKNOWN, "the API does not know its app any more")
    zero = Figure(Decimal(0), Decimal(0), Basis.OBSERVED)
    return build(ChargeState.NONE, f"nothing was charged within {format_duration(pending_for)}", charged=zero)


def _find_peculiarity(charges: Sequence[UsageRecord]) -> str | None:
    """Return a remark for the reader of the figures, if needed."""
    if not names_a_stop(charges[0]):
        return f"identified by its time only: event type {charges[0].event_type!r}"
    return None if len(charges) == 1 else f"charged in {len(charges)} records"


def _estimate_charge(stop: Stop, charges: Sequence[UsageRecord], others: Sequence[UsageRecord]) -> Figure:
    """Compute the expected charge: the open minutes times the compute rate."""
    opened = _find_open_since(stop, charges, others)
    if opened is None:
        return Figure(None, None, Basis.ESTIMATED)
    lasted = Decimal(max(timedelta(0), stop.stopped_at - opened) // timedelta(milliseconds=1))
    minutes = (lasted / 60_000).quantize(_CENT_OF_MINUTE, ROUND_HALF_UP)
    if stop.rate is None:
        return Figure(None, minutes, Basis.ESTIMATED)
    usd = (stop.rate * minutes / 60).quantize(_MICRO_USD, ROUND_HALF_UP) if minutes >= _LEAST else Decimal(0)
    return Figure(usd, minutes, Basis.ESTIMATED)


def _find_open_since(stop: Stop, charges: Sequence[UsageRecord], others: Sequence[UsageRecord]) -> datetime | None:
    """Find the start of the uncharged compute at the time of the stop; None without a record.

    The start is the end of the last earlier record, or the start of the charge, whichever is later: the CVM may have
    been down in between.
    """
    # A record paid up front is made before its period ends.
    before = [each for each in others if find_creation_time(each) <= stop.stopped_at]
    last = max(before, key=find_record_time, default=None)
    begins = [each.begin for each in charges if each.begin is not None]
    if begins:
        return (
            max(min(begins), find_record_time(last))
            if last is not None and find_record_time(last) <= stop.stopped_at
            else min(begins)
        )
    if last is None or names_a_stop(last):
        return None  # the CVM was started since, at an unknown time
    return find_record_time(last)


def _build_result(
    stop: Stop,
    now: datetime,
    standing: ChargeState,
    reason: str | None,
    *,
    expected: Figure = _NOT_KNOWN,
    charged: Figure = _NOT_SEEN,
    charges: Sequence[UsageRecord] = (),
) -> Reconciled:
    is_metered = why_without_usage(stop.ref) is None
    since, until = stop.search_window
    return Reconciled(
        step=stop.step,
        action=stop.action.value,
        ref=stop.ref,
        asked_at=timestamp(now),
        since=timestamp(since) if is_metered else None,
        until=timestamp(until) if is_metered else None,
        standing=standing,
        expected=expected,
        charged=charged,
        billing_keys=tuple(each.key for each in charges if each.key is not None),
        reason=reason,
    )
