"""What a person should know of a plan before saying yes. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.action import Action
from orchestrator.cvm import Cvm
from orchestrator.duration import format_duration
from orchestrator.playbook.deadline import Forecast
from orchestrator.playbook.guards import has_guards
from orchestrator.playbook.plan import Skipped, Target
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.playbook.select import describe_unmatched, describe_unmatched_protection, is_covered
from orchestrator.plural import names, plural
from orchestrator.skip_reason import MAY_BE_PROTECTED


def list_plan_warnings(playbook: Playbook, cvms: tuple[Cvm, ...], targets: tuple[Target, ...]) -> Iterable[PlanWarning]:
    """One sentence for each: values that match nothing, CVMs that refuse or cost, steps that leave CVMs to others.

    Args:
        playbook: what is to be done.
        cvms: the inventory.
        targets: what will be acted on.
    """
    for sentence in describe_unmatched((step.select for step in playbook.acting_steps), cvms):
        yield PlanWarning(WarningCode.SELECTOR_UNMATCHED, sentence)
    rented = sum(target.cvm.gpu_rental for target in targets)
    if rented:
        sentence = f"{plural(rented, 'target')} marked as managed by a GPU rental, whose CVMs usually refuse a stop"
        yield PlanWarning(WarningCode.GPU_RENTAL, sentence)
    gpus = Counter(target.action for target in targets if target.cvm.gpus)
    if minimum := gpus[Action.STOP] + gpus[Action.SHUTDOWN]:
        targets_with = f"{plural(minimum, 'target')} with GPUs"
        yield _gpu_warning(f"{targets_with}: starting such a CVM again is charged a new 24-hour minimum")
    if minimum := gpus[Action.START]:
        yield _gpu_warning(
            f"{plural(minimum, 'target')} with GPUs to start: each is charged a new 24-hour minimum up front"
        )
    if minimum := gpus[Action.RESTART]:
        yield _gpu_warning(
            f"{plural(minimum, 'target')} with GPUs to restart: each may be charged a new 24-hour minimum"
        )
    yield from _list_shared_cvms(playbook, targets)
    yield from _list_unreachable_steps(playbook)


def list_gpu_warnings(playbook: Playbook, taken_up: Mapping[str, Mapping[str, Cvm]]) -> Iterable[PlanWarning]:
    """A sentence for each step that may start CVMs with GPUs again.

    Args:
        playbook: what is to be done.
        taken_up: by the name of each step that takes up a result, the CVMs that it can have at the most.
    """
    for step in playbook.acting_steps:
        gpus = sum(bool(cvm.gpus) for cvm in taken_up.get(step.name, {}).values())
        if gpus and Action(step.action).leaves_running:
            charged = "is" if step.action == "start" else "may be"
            yield _gpu_warning(
                f"step {step.name!r} may {step.action} up to {plural(gpus, 'CVM')} with GPUs: each {charged} charged "
                f"a new 24-hour minimum"
            )


def _gpu_warning(sentence: str) -> PlanWarning:
    return PlanWarning(WarningCode.GPU_MINIMUM, sentence)


def list_guard_warnings(
    playbook: Playbook, guards: Guards, cvms: Sequence[Cvm], *, whole: bool, bounded: bool
) -> Iterable[PlanWarning]:
    """A warning for each value of `protect` that fits no CVM, and for a plan of every CVM without any guard.

    Args:
        playbook: what is to be done.
        guards: the guards that hold.
        cvms: the inventory.
        whole: whether the inventory is the whole workspace; otherwise what it lacks may well be protected.
        bounded: whether something else holds the plan to some CVMs, such as a plan file.
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
    """A warning for each step without targets, and for CVMs of which too little is known to act on them."""
    busy = {target.step for target in targets}
    for step in playbook.acting_steps:
        if step.name not in busy and step.select.result is None:
            selected = sum(each.selected and is_covered(step.select, each.cvm) for each in skipped)
            if selected:
                left = f"{plural(selected, 'CVM')} selected, all left alone"
            else:
                taken = any(is_covered(step.select, target.cvm) for target in targets)
                left = f"it selects no CVM{' that no step before it has' if taken else ''}"
            yield PlanWarning(WarningCode.STEP_EMPTY, f"step {step.name!r} has no target: {left}")
    unknown = [each for each in skipped if each.why.needed_by in MAY_BE_PROTECTED]
    if unknown:
        facts = ", ".join(sorted({each.why.detail for each in unknown}))
        yield PlanWarning(
            WarningCode.FACT_UNKNOWN,
            f"{plural(len(unknown), 'selected CVM')} left alone ({names(each.cvm.ref.name for each in unknown)}): "
            f"`protect` or `exclude` needs a fact that is not known ({facts}); the run ends with exit code 6 at best",
        )


def _list_shared_cvms(playbook: Playbook, targets: tuple[Target, ...]) -> Iterable[PlanWarning]:
    """A CVM belongs to one step; whoever wrote two for it may think otherwise."""
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
            f"step {step_name!r} also selects what belongs to step {first!r} before it ({plural(count, 'CVM')}); "
            f"to act on a CVM again, select its `result`",
        )


def _list_unreachable_steps(playbook: Playbook) -> Iterable[PlanWarning]:
    """A step for what failed before it, where the run ends as soon as anything does."""
    ending = {step.name for step in playbook.acting_steps if step.on_failure == "stop"}
    for step in playbook.acting_steps:
        result = step.select.result
        if result is not None and result.step in ending and not {"settled", "skipped"} & set(result.outcome):
            yield PlanWarning(
                WarningCode.NEVER_REACHED,
                f"step {step.name!r} takes up what does not end as wanted in {result.step!r}, but the run ends then "
                f"(`on_failure: stop`), so it will never have a CVM",
            )


def list_deadline_warnings(deadline: Forecast | None, targets: tuple[Target, ...]) -> Iterable[PlanWarning]:
    """A sentence where a deadline can't be met: how many will be asked after it, and who first."""
    if deadline is not None and not deadline.ok:
        late = deadline.late
        first = targets[late[0]].cvm.ref.name
        yield PlanWarning(
            WarningCode.DEADLINE,
            f"the deadline of {format_duration(deadline.seconds)} can't be met: {plural(len(late), 'target')} will be "
            f"asked after it, {first!r} first, about {format_duration(deadline.asked[late[0]])} after the start",
        )
