"""Survivors: of each app or teepod, some CVMs stay up whatever a plan says. Pure.

Who counts is up now and not on its way down. A CVM that runs is a better survivor than one that starts, is in error or
has an operation in progress: of those that run as many are kept as are asked for, and the others only make up for what
is missing. What a plan starts is not up yet, and what it restarts is down for a while, so neither is a survivor.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, Protocol

from orchestrator.cvm import DOWN, GOING_DOWN, Cvm, CvmRef, is_up
from orchestrator.playbook.value_types import Share
from orchestrator.skip_reason import Reason, SkipReason


class Rule(Protocol):
    """How many are to stay up of each group."""

    @property
    def per(self) -> Literal["app_id", "teepod"]:
        """What makes a group."""

    @property
    def min(self) -> Share:
        """How many of a group's CVMs, or what part of those that are up now, rounded up."""


@dataclass(frozen=True, slots=True)
class Spared:
    """What one rule comes to.

    Attributes:
        rule: the rule.
        reasons: why each survivor is spared, by the CVM's key.
        short: how many of those groups have fewer up than are to stay up.
    """

    rule: Rule
    reasons: Mapping[str, Reason]
    short: int

    @property
    def message(self) -> str:
        """What it comes to in words."""
        number, what = len(self.reasons), _NOUN[self.rule.per]
        text = f"{number} spared so that at least {self.rule.min} of each {what} {_conjugate_stay(self.rule.min)} up"
        if self.short:
            text += f"; {self.short} {what}{'' if self.short == 1 else 's'} with fewer left alone"
        return text


_NOUN = {"app_id": "app", "teepod": "teepod"}


def spare_survivors(rules: Iterable[Rule], inventory: Iterable[Cvm], going: Sequence[Cvm]) -> list[Spared]:
    """Who of those that a plan takes down has to stay up.

    Args:
        rules: all of them hold.
        inventory: every CVM that was read.
        going: those that the plan takes down, were it for a while, in its order; the last ones are spared first.
    """
    up = [cvm for cvm in inventory if cvm.status not in DOWN | GOING_DOWN]
    left = list(going)
    found = []
    for rule in rules:
        each = _apply_rule(rule, up, left)
        left = [cvm for cvm in left if cvm.ref.key not in each.reasons]
        found.append(each)
    return found


def _apply_rule(rule: Rule, up: Iterable[Cvm], going: Sequence[Cvm]) -> Spared:
    groups: dict[str, list[Cvm]] = {}
    for cvm in up:
        groups.setdefault(_find_group(rule, cvm.ref), []).append(cvm)
    last_first: dict[str, list[Cvm]] = {}
    for cvm in reversed(going):
        last_first.setdefault(_find_group(rule, cvm.ref), []).append(cvm)
    reasons: dict[str, Reason] = {}
    short = 0
    for group, members in groups.items():
        wanted = _count_wanted(rule.min, len(members))
        kept = _choose_survivors(members, last_first.get(group, []), wanted)
        if kept:
            short += wanted > len(members)
            reason = Reason(SkipReason.KEPT_RUNNING, _explain_group(rule, members, wanted))
            reasons.update((cvm.ref.key, reason) for cvm in kept)
    return Spared(rule, reasons, short)


def _count_wanted(share: Share, up: int) -> int:
    return ceil(up * share.amount / 100) if share.percent else int(share.amount)


def _choose_survivors(members: Sequence[Cvm], last_first: Sequence[Cvm], wanted: int) -> list[Cvm]:
    """Those of one group who are spared, of those whom the plan takes down."""
    wanted = min(wanted, len(members))
    in_group = {cvm.ref.key for cvm in members}
    going = {cvm.ref.key for cvm in last_first}
    running = {cvm.ref.key for cvm in members if is_up(cvm.status, in_progress=cvm.in_progress)}
    missing = min(wanted, len(running)) - len(running - going)
    kept = [cvm for cvm in last_first if cvm.ref.key in running][: max(0, missing)]
    missing = wanted - len(in_group - going) - len(kept)
    others = [cvm for cvm in last_first if cvm.ref.key in in_group - running]
    return kept + others[: max(0, missing)]


def _find_group(rule: Rule, ref: CvmRef) -> str:
    """The group of a CVM; one of its own where that is not known, since nothing else is sure to stand in for it."""
    known = ref.app_id if rule.per == "app_id" else ref.teepod_key
    return known or f"? {ref.key}"


def _explain_group(rule: Rule, members: Sequence[Cvm], wanted: int) -> str:
    ref, what = members[0].ref, _NOUN[rule.per]
    name = ref.app_id if rule.per == "app_id" else (ref.teepod or ref.teepod_key)
    if not name:
        return f"its {what} is not known"
    if wanted > len(members):
        return f"only {len(members)} of {what} {name} up, and {wanted} are to stay up"
    return f"{wanted} of {len(members)} of {what} {name} {_conjugate_stay(wanted)} up"


def _conjugate_stay(number: Share | int) -> str:
    return "stays" if str(number) == "1" else "stay"
