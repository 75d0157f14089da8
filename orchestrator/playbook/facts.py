"""Facts of a CVM that depend on the moment of a plan and on the price list. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from orchestrator.billing.rates import choose_rate
from orchestrator.cvm import Cvm


def derive_facts(cvm: Cvm, *, moment: datetime, price_list: Mapping[str, Decimal]) -> Cvm:
    """Return a CVM with its age and its compute rate.

    Args:
        cvm: the CVM as read.
        moment: the moment of the plan.
        price_list: USD per hour by instance type; empty if not read.
    """
    age = None if cvm.created_at is None else max(0.0, (moment - cvm.created_at).total_seconds())
    return replace(cvm, age=age, usd_per_hour=choose_rate(cvm, price_list)[0])


def rewind_uptime(cvm: Cvm, seconds: float) -> Cvm:
    """Return a CVM with the uptime of an earlier moment; 0 for a CVM started since that moment."""
    return cvm if cvm.uptime is None else replace(cvm, uptime=max(0.0, cvm.uptime - seconds))
