"""Make a plan from a playbook and the present inventory, with a reason for every CVM. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.action import Action, nothing_to_do
from orchestrator.billing.rates import billing_note, rates_of
from orchestrator.cvm import Cvm
from orchestrator.outcome import MAY_BE_PROTECTED, Reason, SkipReason
from orchestrator.playbook.deadline import Forecast, derive_send_rate, forecast_deadline
from orchestrator.playbook.guards import Denominator, check_guards, spare_survivors
from orchestrator.playbook.narrowing import Narrowing, is_out_of_scope
from orchestrator.playbook.order import Rank, rank_target
from orchestrator.playbook.plan import Plan, Skipped, StepLoad, Target, TargetFilter, estimate_plan
from orchestrator.playbook.plan_warning import PlanWarning
from orchestrator.playbook.resolved_steps import AnyPlanned, PlannedStep, RunLimits, resolve_step
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.playbook.select import (
    Coverage,
    find_coverage,
    find_protection,
    find_unknown_fact,
    find_unknown_protection,
    find_unmet_key,
    has_key,
    is_covered,
)
from orchestrator.playbook.steps import Step
from orchestrator.playbook.warnings import (
    list_deadline_warnings,
    list_gpu_warnings,
    list_guard_warnings,
    list_narrowing_warnings,
    list_omission_warnings,
    list_plan_warnings,
)
from orchestrator.playbook.waves import number_waves

if TYPE_CHECKING:
    from orchestrator.playbook.keep import KeepList


def make_plan(
    playbook: Playbook,
    inventory: Iterable[Cvm],
    *,
    guards: Guards,
    limits: RunLimits,
    settle_timeout: float,
    price_list: Mapping[str, Decimal],
    storage_usd_per_gb_hour: Decimal,
    batch_size: int,
    more_warnings: Iterable[PlanWarning] = (),
    whole: bool = True,
    target_filter: TargetFilter | None = None,
    settle_seconds: Mapping[str, float] | None = None,
    whole_of_starts: Denominator | None = None,
    narrowing: Narrowing | None = None,
    keep: "KeepList | None" = None,
) -> Plan:
    """Make the plan of a playbook for this inventory.

    Args:
        playbook: the playbook.
        inventory: all CVMs of the read inventory, without duplicates.
        guards: the merged guards of the playbook and the settings.
        limits: the limits of the run.
        settle_timeout: seconds, for steps without an own value.
        price_list: USD per hour by instance type, for CVMs without an own price.
        storage_usd_per_gb_hour: the setting with this name.
        batch_size: statuses per request, for the estimate.
        more_warnings: the warnings of the inventory's reader.
        whole: whether the inventory is the whole workspace.
        target_filter: may skip more CVMs, or replace the reason of a skipped CVM.
        settle_seconds: seconds to settle in earlier runs, by action, as far as known.
        whole_of_starts: the denominator of `max_percent` for starts; default: all CVMs of the inventory.
        narrowing: the conditions of `--only` and `--exclude`, before guards and waves.
        keep: the exemptions; None without any.
    """
    cvms = tuple(inventory)
    steps = [step for step in playbook.acting_steps if step.select.result is None]
    selection = _select_targets(steps, cvms, guards, narrowing, target_filter, keep=keep)
    selected = []
    for at, cvm in selection.selected:
        step, rates = steps[at], rates_of(cvm, price_list, storage_usd_per_gb_hour)
        selected.append((at, Target(step.name, step.action, cvm, billing_note(cvm, rates, step.action))))
    selected.sort(key=itemgetter(0))
    if any(step.order_by is not None for step in steps):
        selected.sort(key=lambda pair: (pair[0], _rank_in_step(steps[pair[0]], pair[1])))
    kept = []
    if guards.keep_running:
        down = [target.cvm for _, target in selected if not target.action.starts_cvms]
        kept = spare_survivors(guards.keep_running, cvms, down)
    survivors = {key: reason for each in kept for key, reason in each.reasons.items()}
    by_key = {target.cvm.ref.key: target.cvm for _, target in selected}
    skipped = (
        *selection.skipped,
        *(Skipped(by_key[key], reason, selected=True) for key, reason in survivors.items()),
    )
    remaining = [target for _, target in selected if target.cvm.ref.key not in survivors]
    targets = tuple(_assign_waves(steps, remaining))
    follow_ups, possible_keys = find_follow_ups(playbook, targets)
    planned_steps = tuple(resolve_step(step, settle_timeout, possible_keys) for step in playbook.steps)
    deadline = None
    if playbook.deadline is not None:
        deadline = _forecast_steps(playbook.deadline, planned_steps, targets, limits, settle_seconds or {})
    checks = check_guards(
        guards,
        targets=len(targets),
        up=sum(not cvm.down for cvm in cvms),
        protected=selection.protected,
        starts=sum(target.action.starts_cvms for target in targets),
        whole_of_starts=whole_of_starts or Denominator(len(cvms)),
        kept=kept,
        unsure=sum(each.why.needed_by == "protect" for each in skipped),
    )
    is_bounded = target_filter is not None or narrowing is not None
    selects_any = bool(targets) or any(each.selected for each in skipped)
    warnings = (
        *list_plan_warnings(playbook, cvms, targets),
        *(list_narrowing_warnings(narrowing, cvms) if narrowing is not None else ()),
        *list_guard_warnings(playbook, guards, cvms, whole=whole, bounded=is_bounded),
        *(list_omission_warnings(playbook, targets, skipped) if selects_any else ()),
        *(list_gpu_warnings(playbook, follow_ups) if follow_ups else ()),
        *(list_deadline_warnings(deadline, targets) if deadline is not None else ()),
        *(keep.list_warnings(targets) if keep is not None else ()),
        *more_warnings,
    )
    return Plan(
        playbook=playbook.name,
        steps=planned_steps,
        targets=targets,
        skipped=skipped,
        guards=checks,
        limits=limits,
        estimate=estimate_plan(_list_loads(planned_steps, targets, limits), limits.burst, batch_size),
        warnings=warnings,
        may_follow={name: len(covered) for name, covered in follow_ups.items()},
        deadline=deadline,
        narrowed=None if narrowing is None else narrowing.document(),
    )


class _Selection(NamedTuple):
    """The selected and the skipped CVMs, before survivors and waves.

    Attributes:
        selected: CVMs with something to do, each with the index of its step; in the order of the inventory.
        skipped: all other CVMs.
        protected: the number of CVMs skipped by `protect`.
    """

    selected: list[tuple[int, Cvm]]
    skipped: list[Skipped]
    protected: int


def _select_targets(
    steps: list[Step],
    cvms: Iterable[Cvm],
    guards: Guards,
    narrowing: Narrowing | None,
    target_filter: TargetFilter | None,
    *,
    keep: "KeepList | None",
) -> _Selection:
    selected: list[tuple[int, Cvm]] = []
    skipped: list[Skipped] = []
    protected = 0
    for cvm in cvms:
        position, reason = _assign_step(steps, guards, cvm)
        has_step = position >= 0
        if narrowing is not None and has_step:
            reason = narrowing.narrow(cvm, reason)
        if keep is not None and reason is None:
            reason = keep.find_reason(steps[position].action, cvm)
        protected += reason is not None and reason.code is SkipReason.PROTECTED
        if target_filter is not None:
            reason = target_filter(cvm, steps[position] if has_step else None, reason)
        if reason is None:
            selected.append((position, cvm))
        else:
            skipped.append(Skipped(cvm, reason, selected=has_step and not is_out_of_scope(reason)))
    return _Selection(selected, skipped, protected)


def list_cvms_lacking_facts(
    playbook: Playbook, guards: Guards, inventory: Iterable[Cvm], narrowing: Narrowing | None = None
) -> list[Cvm]:
    """List the CVMs skipped only because a protection, an `exclude` or an option needs an unknown fact."""
    steps = [step for step in playbook.acting_steps if step.select.result is None]
    later = [step for step in playbook.acting_steps if step.select.result is not None]
    has_exclusions = any(has_key(step.select, "exclude") for step in playbook.acting_steps)
    if narrowing is None and not guards.protect and not has_exclusions:
        return []
    return [
        cvm
        for cvm in inventory
        if _lacks_facts(steps, guards, cvm, narrowing)
        or any(find_coverage(step.select, cvm) is Coverage.UNSURE for step in later)
    ]


def _lacks_facts(steps: list[Step], guards: Guards, cvm: Cvm, narrowing: Narrowing | None) -> bool:
    position, reason = _assign_step(steps, guards, cvm)
    if reason is not None:
        return reason.needed_by in MAY_BE_PROTECTED
    return narrowing is not None and position >= 0 and narrowing.lacks_facts(cvm)


def _rank_in_step(step: Step, target: Target) -> Rank:
    """Compute the sort key of a target within its step; equal for all targets of a step without an order."""
    return () if step.order_by is None else rank_target(step.order_by, target.cvm.ref, target.note.rates.compute)


def _assign_waves(steps: Iterable[Step], targets: Iterable[Target]) -> Iterable[Target]:
    """Yield the targets, sorted by step, with their waves."""
    sizes = {step.name: step.waves for step in steps}
    for name, group in groupby(targets, key=lambda target: target.step):
        of_step, waves = list(group), sizes[name]
        if waves is None:
            yield from of_step
        else:
            for target, wave in zip(of_step, number_waves(waves, len(of_step)), strict=True):
                yield replace(target, wave=wave)


def _list_loads(steps: Iterable[AnyPlanned], targets: Iterable[Target], limits: RunLimits) -> Iterable[StepLoad]:
    """Yield the load of every step with targets."""
    targets = list(targets)
    targets_by_step = Counter(target.step for target in targets)
    waves_by_step = Counter(step for step, _ in {(target.step, target.wave) for target in targets})
    for step in steps:
        if isinstance(step, PlannedStep) and targets_by_step[step.name]:
            own = step.limits.within(limits)
            if limits.adaptive:  # an adaptive rate never exceeds the step's own rate
                own = replace(own, requests_per_second=min(own.requests_per_second, limits.requests_per_second))
            soak = (step.soak or 0.0) * (waves_by_step[step.name] - 1)
            yield StepLoad(targets_by_step[step.name], own, step.action.spec.is_batchable, soak)


def _forecast_steps(
    seconds: float,
    steps: Iterable[AnyPlanned],
    targets: Iterable[Target],
    limits: RunLimits,
    settle_seconds: Mapping[str, float],
) -> Forecast:
    by_step: dict[str, list[tuple[int, str]]] = {}
    for target in targets:
        by_step.setdefault(target.step, []).append((target.wave, target.cvm.ref.teepod_key))
    acting = [step for step in steps if isinstance(step, PlannedStep)]
    return forecast_deadline(
        seconds,
        [(derive_send_rate(step, limits, settle_seconds), by_step.get(step.name, [])) for step in acting],
    )


def _assign_step(steps: list[Step], guards: Guards, cvm: Cvm) -> tuple[int, Reason | None]:
    """Return the index of a CVM's step, and the skip reason.

    The index is -1 without a step, and the reason None for a target. The step is the first step with a matching select
    and something to do; otherwise the first step with a matching select.
    """
    coverages = [find_coverage(step.select, cvm) for step in steps]
    covering = [position for position, coverage in enumerate(coverages) if coverage is not Coverage.NO]
    if not covering:
        return -1, _explain_unselected(steps, cvm)
    protected = find_protection(guards.protect, cvm)
    if protected is not None:
        return covering[0], Reason(SkipReason.PROTECTED, protected)
    reasons = [nothing_to_do(steps[position].action, cvm.status, in_progress=cvm.in_progress) for position in covering]
    if None not in reasons:
        return covering[0], reasons[0]
    position = covering[reasons.index(None)]
    # A CVM that an earlier step may exclude must not go to a later step: the later action may differ.
    if coverages[position] is Coverage.UNSURE:
        fact = find_unknown_fact(steps[position].select, cvm) or ""
        return position, Reason(SkipReason.FACT_UNKNOWN, fact, "exclude")
    unknown = find_unknown_protection(guards.protect, cvm)
    if unknown is not None:
        return position, Reason(SkipReason.FACT_UNKNOWN, unknown, "protect")
    return position, None if cvm.ref.address else Reason(SkipReason.NO_ADDRESS)


def _explain_unselected(steps: list[Step], cvm: Cvm) -> Reason:
    """Return the skip reason of a CVM without a step: an unknown fact, or the unmet keys of the selectors."""
    facts = (find_unknown_fact(step.select, cvm) for step in steps)
    fact = next(filter(None, facts), None)
    if fact:
        return Reason(SkipReason.FACT_UNKNOWN, fact, "select")
    unmet = dict.fromkeys(find_unmet_key(step.select, cvm) for step in steps)
    return Reason(SkipReason.NOT_SELECTED, ", ".join(unmet))


def find_binding_reason(guards: Guards, action: Action, cvm: Cvm, keep: "KeepList | None" = None) -> Reason | None:
    """Return the present reason against an action on an earlier chosen CVM; None if allowed.

    Args:
        guards: the present guards.
        action: the action.
        cvm: the CVM at present.
        keep: the present exemptions; None without any.
    """
    protected = find_protection(guards.protect, cvm)
    if protected is not None:
        return Reason(SkipReason.PROTECTED, protected)
    kept = None if keep is None else keep.find_reason(action, cvm)
    if kept is not None:
        return kept
    fact = find_unknown_protection(guards.protect, cvm)
    return None if fact is None else Reason(SkipReason.FACT_UNKNOWN, fact, "protect")


def find_follow_ups(
    playbook: Playbook, targets: tuple[Target, ...]
) -> tuple[dict[str, dict[str, Cvm]], dict[str, frozenset[str] | None]]:
    """Find the possible CVMs of every step with a result selector, by the step's name.

    Returns:
        The CVMs by their keys; and the same keys as a set, or None if the rest of the select covers all CVMs of the
        earlier step.
    """
    follow_ups: dict[str, dict[str, Cvm]] = {}
    possible_keys: dict[str, frozenset[str] | None] = {}
    for step in playbook.acting_steps:
        if step.select.result is not None:
            earlier = _list_source_cvms(step.select.result.step, targets, follow_ups)
            covered = {key: cvm for key, cvm in earlier.items() if is_covered(step.select, cvm)}
            follow_ups[step.name] = covered
            possible_keys[step.name] = None if len(covered) == len(earlier) else frozenset(covered)
    return follow_ups, possible_keys


def _list_source_cvms(
    source: str, targets: tuple[Target, ...], follow_ups: Mapping[str, Mapping[str, Cvm]]
) -> Mapping[str, Cvm]:
    """Return the CVMs of the earlier step, by their keys."""
    if source in follow_ups:
        return follow_ups[source]
    return {target.cvm.ref.key: target.cvm for target in targets if target.step == source}
