"""Guards: conditions for a plan, with exact numbers and the denominator of every percentage. Survivors. Pure.

Survivors are CVMs of every app or teepod that stay up in every plan. Candidates are up now and not on the way down. A
running CVM is a better survivor than a CVM that starts, is in error or has an operation in progress. A rule keeps
running CVMs first; the others only fill the remaining places. A CVM that the plan starts is not up yet, and a CVM that
the plan restarts is down for a while: neither is a survivor.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from math import ceil
from typing import Literal, Protocol, TypeVar

from orchestrator.cvm import DOWN, GOING_DOWN, Cvm, CvmRef, is_up
from orchestrator.outcome import Reason, SkipReason
from orchestrator.playbook.schema import Guards, Protect
from orchestrator.playbook.value_types import Share
from orchestrator.text import plural


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
        text = f"{number} left up so that at least {self.rule.min} of each {what} {_conjugate_stay(self.rule.min)} up"
        if self.short:
            text += f"; {self.short} {what}{'' if self.short == 1 else 's'} with fewer up, all kept"
        return text


_NOUN = {"app_id": "app", "teepod": "teepod"}


def spare_survivors(rules: Iterable[SurvivorRule], inventory: Iterable[Cvm], going: Sequence[Cvm]) -> list[RuleResult]:
    """Choose the survivors among a plan's CVMs to take down.

    Args:
        rules: all rules apply.
        inventory: all CVMs of the read inventory.
        going: the CVMs to take down, even if only for a while, in the plan's order; the last are left up first.
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


_N = TypeVar("_N", int, Decimal)


@dataclass(frozen=True, slots=True)
class GuardCheck:
    """The result of a guard.

    Attributes:
        name: the guard's key in the playbook.
        limit: the guard's limit; None for `protect`; the amount of `min` for `keep_running`.
        value: the measured value.
        ok: whether the plan passes.
        message: limit and value as a sentence.
    """

    name: str
    limit: Decimal | int | None
    value: Decimal | int
    ok: bool
    message: str


@dataclass(frozen=True, slots=True)
class Denominator:
    """The denominator of a percentage.

    Attributes:
        number: the number of CVMs.
        words: the restriction to some CVMs of the workspace, such as `that are up now`; empty for all CVMs.
        place: the holder of the CVMs.
    """

    number: int
    words: str = ""
    place: str = "the workspace"


def merge_guards(playbook: Guards, settings: Guards) -> Guards:
    """Merge the guards of a playbook and of the settings.

    The smaller limit wins; protections, freezes and the rules of `keep_running` add up.
    """

    def min_of_set(left: _N | None, right: _N | None) -> _N | None:
        return min((each for each in (left, right) if each is not None), default=None)

    def join_values(key: str) -> list[str] | None:
        values = [*(getattr(settings.protect, key) or ()), *(getattr(playbook.protect, key) or ())]
        return list(dict.fromkeys(values)) or None

    return Guards.model_construct(
        max_targets=min_of_set(playbook.max_targets, settings.max_targets),
        max_percent=min_of_set(playbook.max_percent, settings.max_percent),
        protect=Protect.model_construct(
            name=join_values("name"), app_id=join_values("app_id"), teepod=join_values("teepod")
        ),
        keep_running=[*(settings.keep_running or ()), *(playbook.keep_running or ())] or None,
        not_during=[*(settings.not_during or ()), *(playbook.not_during or ())] or None,
        only_during=[*(settings.only_during or ()), *(playbook.only_during or ())] or None,
    )


def needs_whole_workspace(guards: Guards) -> bool:
    """Return True if a guard needs all CVMs of the workspace."""
    return guards.max_percent is not None or any(rule.per == "teepod" for rule in guards.keep_running or ())


def needs_more_than_named(guards: Guards) -> bool:
    """Return True if a guard needs CVMs beside the CVMs named by id: the whole workspace, or the rest of an app."""
    return needs_whole_workspace(guards) or bool(guards.keep_running)


def has_guards(guards: Guards) -> bool:
    """Return True if any guard is set."""
    return bool(guards.max_targets or guards.max_percent or guards.protect or guards.keep_running)


def check_guards(
    guards: Guards,
    *,
    targets: int,
    up: int,
    protected: int,
    starts: int = 0,
    whole_of_starts: Denominator | None = None,
    kept: Sequence[RuleResult] = (),
    unsure: int = 0,
) -> tuple[GuardCheck, ...]:
    """Check the guards of a plan.

    Args:
        guards: the merged guards.
        targets: the number of targets.
        up: the number of CVMs of the workspace up now (not stopped, not exited): the denominator of `max_percent`.
        protected: the number of selected CVMs excluded by `protect`.
        starts: the number of targets to start.
        whole_of_starts: the denominator of `max_percent` for starts; required if there are starts.
        kept: the results of the rules of `keep_running`.
        unsure: the number of selected CVMs skipped because `protect` needs an unknown fact.
    """
    checks = []
    if guards.max_targets is not None:
        checks.append(_check_number(guards.max_targets, targets))
    if guards.max_percent is not None:
        if targets > starts or not starts:
            whole = Denominator(up, "that are up now")
            checks.append(_check_percent(guards.max_percent, targets - starts, whole, "targets"))
        if starts and whole_of_starts is not None:
            checks.append(_check_percent(guards.max_percent, starts, whole_of_starts, "targets to start"))
    if guards.protect:
        message = f"{plural(protected, 'selected CVM')} protected and skipped"
        if unsure:
            message += f"; {plural(unsure, 'other CVM')} skipped: name, app or teepod not known"
        checks.append(GuardCheck("protect", None, protected, ok=True, message=message))
    checks += [
        GuardCheck("keep_running", each.rule.min.amount, len(each.reasons), ok=True, message=each.message)
        for each in kept
    ]
    return tuple(checks)


def check_totals(
    guards: Guards, *, targets: int, up: int, starts: int, whole_of_starts: int, workspaces: int
) -> tuple[GuardCheck, ...]:
    """Check the guards over all workspaces of a fleet run.

    Args:
        guards: the guards of the total: `max_targets` and `max_percent`.
        targets: the number of targets in all workspaces.
        up: the number of CVMs up now in all workspaces: the denominator of `max_percent`.
        starts: the number of targets to start.
        whole_of_starts: the number of CVMs in all workspaces: the denominator of `max_percent` for starts.
        workspaces: the number of workspaces.
    """
    place = plural(workspaces, "workspace")
    checks = []
    if guards.max_targets is not None:
        checks.append(_check_number(guards.max_targets, targets, f" in {place}"))
    if guards.max_percent is not None:
        if targets > starts or not starts:
            whole = Denominator(up, "that are up now", place)
            checks.append(_check_percent(guards.max_percent, targets - starts, whole, "targets"))
        if starts:
            whole = Denominator(whole_of_starts, place=place)
            checks.append(_check_percent(guards.max_percent, starts, whole, "targets to start"))
    return tuple(checks)


def _check_number(limit: int, targets: int, where: str = "") -> GuardCheck:
    message = f"{plural(targets, 'target')}{where}, at most {limit} allowed"
    return GuardCheck("max_targets", limit, targets, targets <= limit, message)


def _check_percent(limit: Decimal, targets: int, whole: Denominator, what: str) -> GuardCheck:
    share = Decimal(targets) * 100 / whole.number if whole.number else Decimal(0)
    ok = targets * 100 <= limit * whole.number
    # Rounded away from the limit, so a share just above the limit never looks equal to the limit.
    value = share.quantize(Decimal("0.1"), ROUND_FLOOR if ok else ROUND_CEILING)
    which = f" {whole.words}" if whole.words else ""
    message = (
        f"{targets} {what} are {value}% of the {whole.number} CVMs of {whole.place}{which}, at most {limit:f}% allowed"
    )
    return GuardCheck("max_percent", limit, value, ok, message)
