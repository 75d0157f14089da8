"""Warnings at the confirmation of a plan. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

from orchestrator.action import Goal
from orchestrator.cvm import Cvm
from orchestrator.outcome import MAY_BE_PROTECTED
from orchestrator.playbook.deadline import Forecast
from orchestrator.playbook.guards import has_guards
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.playbook.plan import Skipped, Target
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.playbook.select import describe_unmatched, describe_unmatched_protection, is_covered
from orchestrator.text import join_names, plural
from orchestrator.times import format_duration


def list_plan_warnings(playbook: Playbook, cvms: tuple[Cvm, ...], targets: tuple[Target, ...]) -> Iterable[PlanWarning]:
    """Yield the warnings about unmatched selectors, GPUs, shared CVMs and unreachable steps.

    Args:
        playbook: the playbook.
        cvms: the inventory.
        targets: the targets of the plan.
    """
    for sentence in describe_unmatched((step.select for step in playbook.acting_steps), cvms):
        yield PlanWarning(WarningCode.SELECTOR_UNMATCHED, sentence)
    rented = sum(target.cvm.gpu_rental for target in targets)
    if rented:
        sentence = f"{plural(rented, 'target')} managed by a GPU rental; such CVMs usually refuse a stop"
        yield PlanWarning(WarningCode.GPU_RENTAL, sentence)
    gpus = Counter(target.action.spec.goal for target in targets if target.cvm.gpus)
    for goal in Goal:
        if gpus[goal]:
            yield _gpu_warning(_describe_minimum(goal, f"{plural(gpus[goal], 'target')} with GPUs"))
    if len(playbook.acting_steps) > 1:
        yield from _list_shared_cvms(playbook, targets)
        yield from _list_unreachable_steps(playbook)


def list_narrowing_warnings(narrowing: Narrowing, cvms: Sequence[Cvm]) -> Iterable[PlanWarning]:
    """Yield a warning for every value of `--only` and `--exclude` without a match.

    Args:
        narrowing: the conditions of the options.
        cvms: the inventory.
    """
    for sentence in narrowing.list_unmatched(cvms):
        yield PlanWarning(WarningCode.SELECTOR_UNMATCHED, sentence)


def _describe_minimum(goal: Goal, targets: str) -> str:
    match goal:
        case Goal.DOWN:
            return f"{targets}: a later start of such a CVM is charged a new 24-hour minimum"
        case Goal.UP:
            return f"{targets} to start: each is charged a new 24-hour minimum up front"
        case Goal.RESTARTED:
            return f"{targets} to restart: each may be charged a new 24-hour minimum"
        case _:
            assert_never(goal)


def list_gpu_warnings(playbook: Playbook, taken_up: Mapping[str, Mapping[str, Cvm]]) -> Iterable[PlanWarning]:
    """Yield a warning for every step with a result selector and possible starts of CVMs with GPUs.

    Args:
        playbook: the playbook.
        taken_up: the most possible CVMs of every step with a result selector, by the step's name.
    """
    for step in playbook.acting_steps:
        gpus = sum(bool(cvm.gpus) for cvm in taken_up.get(step.name, {}).values())
        if gpus and step.action.leaves_running:
            charged = "is" if step.action.starts_cvms else "may be"
            yield _gpu_warning(
                f"step {step.name!r} may {step.action} up to {plural(gpus, 'CVM')} with GPUs: each {charged} charged "
                f"a new 24-hour minimum"
            )


def _gpu_warning(sentence: str) -> PlanWarning:
    return PlanWarning(WarningCode.GPU_MINIMUM, sentence)


def list_guard_warnings(
    playbook: Playbook, guards: Guards, cvms: Sequence[Cvm], *, whole: bool, bounded: bool
) -> Iterable[PlanWarning]:
    """Yield a warning for every unmatched value of `protect`, and for a plan of all CVMs without any guard.

    Args:
        playbook: the playbook.
        guards: the merged guards.
        cvms: the inventory.
        whole: whether the inventory is the whole workspace; otherwise a protected CVM may be outside the inventory.
        bounded: whether something else limits the plan to some CVMs, such as a plan file.
    """
    for sentence in describe_unmatched_protection(guards.protect, cvms) if whole else ():
        yield PlanWarning(WarningCode.PROTECT_UNMATCHED, sentence)
    of_all = [step.name for step in playbook.acting_steps if step.select.all]
    if of_all and not bounded and not has_guards(guards):
        yield PlanWarning(
            WarningCode.NO_GUARDS,
            f"step {of_all[0]!r} selects every CVM, and there is no guard: set max_targets, max_percent or protect",
        )


def list_omission_warnings(
    playbook: Playbook, targets: Sequence[Target], skipped: Sequence[Skipped]
) -> Iterable[PlanWarning]:
    """Yield a warning for every step without targets, and for CVMs skipped because of unknown facts."""
    busy = {target.step for target in targets}
    for step in playbook.acting_steps:
        if step.name not in busy and step.select.result is None:
            selected = sum(each.selected and is_covered(step.select, each.cvm) for each in skipped)
            if selected:
                left = f"{plural(selected, 'CVM')} selected, all skipped"
            else:
                taken = any(is_covered(step.select, target.cvm) for target in targets)
                left = "all selected CVMs belong to earlier steps" if taken else "no CVM selected"
            yield PlanWarning(WarningCode.STEP_EMPTY, f"step {step.name!r} has no target: {left}")
    unknown = [each for each in skipped if each.why.needed_by in MAY_BE_PROTECTED]
    if unknown:
        facts = ", ".join(sorted({each.why.detail for each in unknown}))
        listed = join_names(each.cvm.ref.name or each.cvm.ref.address for each in unknown)
        yield PlanWarning(
            WarningCode.FACT_UNKNOWN,
            f"{plural(len(unknown), 'selected CVM')} skipped ({listed}): "
            f"`protect` or `exclude` needs an unknown fact ({facts}); the run ends with exit code 6 at best",
        )


def _list_shared_cvms(playbook: Playbook, targets: tuple[Target, ...]) -> Iterable[PlanWarning]:
    """Warn about CVMs in two steps: a CVM belongs to the first step only."""
    left: Counter[tuple[str, str]] = Counter()
    steps = [step for step in playbook.acting_steps if step.select.result is None]
    for number, step in enumerate(steps):
        earlier = {each.name for each in steps[:number] if each.action != step.action}
        left.update(
            (step.name, target.step)
            for target in (targets if earlier else ())
            if target.step in earlier and is_covered(step.select, target.cvm)
        )
    for (step_name, first), count in left.items():
        yield PlanWarning(
            WarningCode.LEFT_TO_EARLIER,
            f"step {step_name!r} also selects CVMs of the earlier step {first!r} ({plural(count, 'CVM')}); "
            f"to act on a CVM again, select its `result`",
        )


def _list_unreachable_steps(playbook: Playbook) -> Iterable[PlanWarning]:
    """Warn about a step for failures of an earlier step with `on_failure: stop`."""
    ending = {step.name for step in playbook.acting_steps if step.on_failure == "stop"}
    for step in playbook.acting_steps:
        result = step.select.result
        if result is not None and result.step in ending and not {"settled", "skipped"} & set(result.outcome):
            yield PlanWarning(
                WarningCode.NEVER_REACHED,
                f"step {step.name!r} never runs: it acts on failures of {result.step!r}, which end the run "
                f"(`on_failure: stop`)",
            )


def list_deadline_warnings(deadline: Forecast, targets: tuple[Target, ...]) -> Iterable[PlanWarning]:
    """Warn about a missed deadline: the number of late targets, and the first late target."""
    if not deadline.ok:
        late = deadline.late
        first = targets[late[0]].cvm.ref.name
        yield PlanWarning(
            WarningCode.DEADLINE,
            f"the deadline of {format_duration(deadline.seconds)} can't be met: {plural(len(late), 'target')} "
            f"too late, first {first!r}, about {format_duration(deadline.asked[late[0]])} after the start",
        )
