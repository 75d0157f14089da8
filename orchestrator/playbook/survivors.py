"""Survivors: CVMs of every app or teepod that stay up in every plan. Pure.

Candidates are up now and not on the way down. A running CVM is a better survivor than a CVM that starts, is in error or
has an operation in progress. A rule keeps running CVMs first; the others only fill the remaining places. A CVM that the
plan starts is not up yet, and a CVM that the plan restarts is down for a while: neither is a survivor.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, Protocol

from orchestrator.cvm import DOWN, GOING_DOWN, Cvm, CvmRef, is_up
from orchestrator.playbook.value_types import Share
from orchestrator.skip_reason import Reason, SkipReason


class SurvivorRule(Protocol):
    """The number of CVMs left up in every group."""

    @property
    def per(self) -> Literal["app_id", "teepod"]:
        """The kind of group."""

    @property
    def min(self) -> Share:
        """The number of CVMs left up per group, or a percentage of the CVMs up now, rounded up."""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The result of a rule.

    Attributes:
        rule: the rule.
        reasons: the reason of every survivor, by the CVM's key.
        short: the number of groups with fewer CVMs up than the rule requires.
    """

    rule: SurvivorRule
    reasons: Mapping[str, Reason]
    short: int

    @property
    def message(self) -> str:
        """The result as a sentence."""
        number, what = len(self.reasons), _NOUN[self.rule.per]
        text = f"{number} spared so that at least {self.rule.min} of each {what} {_conjugate_stay(self.rule.min)} up"
        if self.short:
            text += f"; {self.short} {what}{'' if self.short == 1 else 's'} with fewer up, all kept"
        return text


_NOUN = {"app_id": "app", "teepod": "teepod"}


def spare_survivors(rules: Iterable[SurvivorRule], inventory: Iterable[Cvm], going: Sequence[Cvm]) -> list[RuleResult]:
    """Choose the survivors among a plan's CVMs to take down.

    Args:
        rules: all rules apply.
        inventory: all CVMs of the read inventory.
        going: the CVMs to take down, even if only for a while, in the plan's order; the last are spared first.
    """
    up = [cvm for cvm in inventory if cvm.status not in DOWN | GOING_DOWN]
    left = list(going)
    found = []
    for rule in rules:
        each = _apply_rule(rule, up, left)
        left = [cvm for cvm in left if cvm.ref.key not in each.reasons]
        found.append(each)
    return found


def _apply_rule(rule: SurvivorRule, up: Iterable[Cvm], going: Sequence[Cvm]) -> RuleResult:
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
    return RuleResult(rule, reasons, short)


def _count_wanted(share: Share, up: int) -> int:
    return ceil(up * share.amount / 100) if share.percent else int(share.amount)


def _choose_survivors(members: Sequence[Cvm], last_first: Sequence[Cvm], wanted: int) -> list[Cvm]:
    """Choose the survivors of a group among the CVMs to take down."""
    wanted = min(wanted, len(members))
    in_group = {cvm.ref.key for cvm in members}
    going = {cvm.ref.key for cvm in last_first}
    running = {cvm.ref.key for cvm in members if is_up(cvm.status, in_progress=cvm.in_progress)}
    missing = min(wanted, len(running)) - len(running - going)
    kept = [cvm for cvm in last_first if cvm.ref.key in running][: max(0, missing)]
    missing = wanted - len(in_group - going) - len(kept)
    others = [cvm for cvm in last_first if cvm.ref.key in in_group - running]
    return kept + others[: max(0, missing)]


def _find_group(rule: SurvivorRule, ref: CvmRef) -> str:
    """Return the group of a CVM; a CVM of an unknown group forms its own group, because no other CVM can replace it."""
    known = ref.app_id if rule.per == "app_id" else ref.teepod_key
    return known or f"? {ref.key}"


def _explain_group(rule: SurvivorRule, members: Sequence[Cvm], wanted: int) -> str:
    ref, what = members[0].ref, _NOUN[rule.per]
    name = ref.app_id if rule.per == "app_id" else (ref.teepod or ref.teepod_key)
    if not name:
        return f"its {what} is not known"
    if wanted > len(members):
        return f"only {len(members)} of {what} {name} up, {wanted} must stay up"
    return f"{wanted} of {len(members)} of {what} {name} {_conjugate_stay(wanted)} up"


def _conjugate_stay(number: Share | int) -> str:
    return "stays" if str(number) == "1" else "stay"
