"""Guards: conditions for a plan, with exact numbers and the denominator of every percentage."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TypeVar

from orchestrator.playbook.schema import Guards, Protect
from orchestrator.playbook.survivors import RuleResult
from orchestrator.plural import plural

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
    """

    number: int
    words: str = ""


def merge_guards(playbook: Guards, settings: Guards) -> Guards:
    """Merge the guards of a playbook and of the settings.

    The smaller limit wins; protections and the rules of `keep_running` add up.
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
    )


def needs_whole_workspace(guards: Guards) -> bool:
    """Return True if a guard needs all CVMs of the workspace."""
    return guards.max_percent is not None or any(rule.per == "teepod" for rule in guards.keep_running or ())


def has_guards(guards: Guards) -> bool:
    """Return True if any guard is set."""
    return bool(guards.max_targets or guards.max_percent or guards.protect or guards.keep_running)


def check_guards(
    guards: Guards,
    *,
    targets: int,
    up: int,
    spared: int,
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
        spared: the number of selected CVMs excluded by `protect`.
        starts: the number of targets to start.
        whole_of_starts: the denominator of `max_percent` for starts; required if there are starts.
        kept: the results of the rules of `keep_running`.
        unsure: the number of selected CVMs skipped because `protect` needs an unknown fact.
    """
    checks = []
    if guards.max_targets is not None:
        ok = targets <= guards.max_targets
        message = f"{plural(targets, 'target')}, at most {guards.max_targets} allowed"
        checks.append(GuardCheck("max_targets", guards.max_targets, targets, ok, message))
    if guards.max_percent is not None:
        if targets > starts or not starts:
            whole = Denominator(up, "that are up now")
            checks.append(_check_percent(guards.max_percent, targets - starts, whole, "targets"))
        if starts and whole_of_starts is not None:
            checks.append(_check_percent(guards.max_percent, starts, whole_of_starts, "targets to start"))
    if guards.protect:
        message = f"{plural(spared, 'selected CVM')} protected and skipped"
        if unsure:
            message += f"; {plural(unsure, 'other CVM')} skipped: name, app or teepod not known"
        checks.append(GuardCheck("protect", None, spared, ok=True, message=message))
    checks += [
        GuardCheck("keep_running", each.rule.min.amount, len(each.reasons), ok=True, message=each.message)
        for each in kept
    ]
    return tuple(checks)


def _check_percent(limit: Decimal, targets: int, whole: Denominator, what: str) -> GuardCheck:
    share = Decimal(targets) * 100 / whole.number if whole.number else Decimal(0)
    ok = targets * 100 <= limit * whole.number
    # Rounded away from the limit, so a share just above the limit never looks equal to the limit.
    value = share.quantize(Decimal("0.1"), ROUND_FLOOR if ok else ROUND_CEILING)
    which = f" {whole.words}" if whole.words else ""
    message = (
        f"{targets} {what} are {value}% of the {whole.number} CVMs of the workspace{which}, at most {limit:f}% allowed"
    )
    return GuardCheck("max_percent", limit, value, ok, message)
