"""In which order a step goes through its targets, and so which of them are the canary. Pure."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import TypeAlias

from orchestrator.cvm import CvmRef
from orchestrator.playbook.value_types import Order

_DIGITS = re.compile(r"(\d+)", re.ASCII)

_Name: TypeAlias = tuple[tuple[int, str], ...]
Rank: TypeAlias = tuple[object, ...]
"""What targets are sorted by."""


def rank_target(by: Order, ref: CvmRef, compute: Decimal | None) -> Rank:
    """What a target is sorted by; the same for no two CVMs.

    Args:
        by: the step's order.
        ref: the target.
        compute: what it costs while it runs, in USD per hour; None where unknown.
    """
    return (*_FIRST[by](ref, compute), natural_key(ref.name), ref.name, ref.key)


def natural_key(name: str) -> _Name:
    """A name as people sort: `web-2` before `web-10`, whatever the case."""
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
