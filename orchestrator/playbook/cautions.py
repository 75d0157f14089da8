"""What a person should know of a plan before saying yes. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping

from orchestrator.action import Action
from orchestrator.cvm import Cvm
from orchestrator.duration import format_duration
from orchestrator.playbook.deadline import Forecast
from orchestrator.playbook.plan import Target
from orchestrator.playbook.schema import Playbook
from orchestrator.playbook.select import matches, unmatched
from orchestrator.wording import counted


def cautions(playbook: Playbook, cvms: tuple[Cvm, ...], targets: tuple[Target, ...]) -> Iterable[str]:
    """One sentence for each: values that match nothing, CVMs that refuse or cost, steps that leave CVMs to others.

    Args:
        playbook: what is to be done.
        cvms: the inventory.
        targets: what will be acted on.
    """
    yield from unmatched((step.select for step in playbook.acting), cvms)
    rented = sum(target.cvm.gpu_rental for target in targets)
    if rented:
        yield f"{counted(rented, 'target')} marked as managed by a GPU rental, whose CVMs usually refuse a stop"
    gpus = Counter(target.action for target in targets if target.cvm.gpus)
    if minimum := gpus[Action.STOP] + gpus[Action.SHUTDOWN]:
        yield f"{counted(minimum, 'target')} with GPUs: starting such a CVM again is charged a new 24-hour minimum"
    if minimum := gpus[Action.START]:
        yield f"{counted(minimum, 'target')} with GPUs to start: each is charged a new 24-hour minimum up front"
    if minimum := gpus[Action.RESTART]:
        yield f"{counted(minimum, 'target')} with GPUs to restart: each may be charged a new 24-hour minimum"
    yield from _left_to_earlier(playbook, targets)
    yield from _never_reached(playbook)


def paid_again(playbook: Playbook, taken_up: Mapping[str, Mapping[str, Cvm]]) -> Iterable[str]:
    """A sentence for each step that may start CVMs with GPUs again.

    Args:
        playbook: what is to be done.
        taken_up: by the name of each step that takes up a result, the CVMs that it can have at the most.
    """
    for step in playbook.acting:
        gpus = sum(bool(cvm.gpus) for cvm in taken_up.get(step.name, {}).values())
        if gpus and Action(step.action).ends_up:
            charged = "is" if step.action == "start" else "may be"
            yield (
                f"step {step.name!r} may {step.action} up to {counted(gpus, 'CVM')} with GPUs: each {charged} charged "
                f"a new 24-hour minimum"
            )


def _left_to_earlier(playbook: Playbook, targets: tuple[Target, ...]) -> Iterable[str]:
    """A CVM belongs to one step; whoever wrote two for it may think otherwise."""
    left: Counter[tuple[str, str]] = Counter()
    steps = [step for step in playbook.acting if step.select.result is None]
    for number, step in enumerate(steps):
        earlier = {each.name for each in steps[:number] if each.action != step.action}
        left.update(
            (step.name, target.step)
            for target in (targets if earlier else ())
            if target.step in earlier and matches(step.select, target.cvm)
        )
    for (step_name, first), count in left.items():
        yield (
            f"step {step_name!r} also selects what belongs to step {first!r} before it ({counted(count, 'CVM')}); "
            f"to act on a CVM again, select its `result`"
        )


def _never_reached(playbook: Playbook) -> Iterable[str]:
    """A step for what failed before it, where the run ends as soon as anything does."""
    ending = {step.name for step in playbook.acting if step.on_failure == "stop"}
    for step in playbook.acting:
        result = step.select.result
        if result is not None and result.step in ending and not {"settled", "skipped"} & set(result.outcome):
            yield (
                f"step {step.name!r} takes up what does not end as wanted in {result.step!r}, but the run ends then "
                f"(`on_failure: stop`), so it will never have a CVM"
            )


def too_late(deadline: Forecast | None, targets: tuple[Target, ...]) -> Iterable[str]:
    """A sentence where a deadline can't be met: how many will be asked after it, and who first."""
    if deadline is not None and not deadline.ok:
        late = deadline.late
        first = targets[late[0]].cvm.ref.name
        yield (
            f"the deadline of {format_duration(deadline.seconds)} can't be met: {counted(len(late), 'target')} will be "
            f"asked after it, {first!r} first, about {format_duration(deadline.asked[late[0]])} after the start"
        )
