"""The order of a step's targets, and so the choice of the canary. Pure."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import TypeAlias

from orchestrator.cvm import CvmRef
from orchestrator.playbook.value_types import Order

_DIGITS = re.compile(r"(\d+)", re.ASCII)

_Name: TypeAlias = tuple[tuple[int, str], ...]
Rank: TypeAlias = tuple[object, ...]
"""The sort key of a target."""


def rank_target(by: Order, ref: CvmRef, compute: Decimal | None) -> Rank:
    """Compute the sort key of a target. Two CVMs never have equal keys.

    Args:
        by: the step's order.
        ref: the target.
        compute: the target's compute price in USD per hour while up; None if unknown.
    """
    return (*_FIRST[by](ref, compute), natural_key(ref.name), ref.name, ref.key)


def natural_key(name: str) -> _Name:
    """Return a sort key for natural order: `web-2` before `web-10`, ignoring case."""
    parts = _DIGITS.split(name.casefold())
    return tuple((len(part.lstrip("0")), part.lstrip("0")) if n % 2 else (0, part) for n, part in enumerate(parts))


def _cost_rank(ref: CvmRef, compute: Decimal | None) -> Rank:
    del ref
    return (compute is None, -(compute or 0))


def _teepod_rank(ref: CvmRef, compute: Decimal | None) -> Rank:
    del compute
    return (ref.teepod is None, natural_key(ref.teepod or ""), ref.teepod_id is None, ref.teepod_id or 0)


def _name_rank(ref: CvmRef, compute: Decimal | None) -> Rank:
    del ref, compute
    return ()


_FIRST: dict[Order, Callable[[CvmRef, Decimal | None], Rank]] = {
    "cost": _cost_rank,
    "teepod": _teepod_rank,
    "name": _name_rank,
}
