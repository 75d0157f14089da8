"""The rollout of a plan for people: survivors, order, waves, and the chance to meet the deadline."""

from collections.abc import Iterator

from rich.text import Text

from orchestrator.duration import format_duration
from orchestrator.playbook.deadline import Forecast
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.resolved_steps import Question
from orchestrator.plural import plural
from orchestrator.safe_text import safe_text
from orchestrator.skip_reason import SkipReason

_MOST_ROWS = 8
_MOST_WAVES = 12
_ORDER = {"cost": "most expensive first", "teepod": "teepod by teepod", "name": "by name"}


def rollout_rows(plan: Plan) -> Iterator[tuple[str, Text]]:
    """Format the rollout as rows of the plan's facts; no rows for a plan without rollout options."""
    yield from _list_survivors(plan)
    several = len(plan.acting_steps) > 1
    for label, find in (("order", _describe_order), ("waves", _describe_waves)):
        found = [(step.name, find(plan, step.name)) for step in plan.acting_steps]
        rows = [f"{safe_text(name, 60)}: {text}" if several else text for name, text in found if text]
        for number, row in enumerate(rows):
            yield "" if number else label, Text(row)
    if plan.deadline is not None:
        yield "deadline", _describe_deadline(plan, plan.deadline)


def _list_survivors(plan: Plan) -> Iterator[tuple[str, Text]]:
    """List the CVMs kept running as survivors, and the reasons."""
    kept = [each for each in plan.skipped if each.why.code is SkipReason.KEPT_RUNNING]
    for number, each in enumerate(kept[:_MOST_ROWS]):
        why = safe_text(each.why.detail, 400)
        yield "" if number else "kept", Text.assemble(safe_text(each.cvm.ref.name, 64), (f"  {why}", "dim"))
    if len(kept) > _MOST_ROWS:
        yield "", Text(f"and {len(kept) - _MOST_ROWS} more: see `plan --details`")


def _describe_order(plan: Plan, name: str) -> str:
    by = next(step.order_by for step in plan.acting_steps if step.name == name)
    return "" if by is None else _ORDER[by]


def _describe_waves(plan: Plan, name: str) -> str:
    step = next(step for step in plan.acting_steps if step.name == name)
    if step.waves is None:
        return ""
    if step.follows is not None:
        return f"{', '.join(map(str, step.waves))} of the step's later targets"
    waves = [target.wave for target in plan.targets if target.step == name]
    sizes = [waves.count(number) for number in sorted(set(waves))]
    if len(sizes) < 2:  # noqa: PLR2004 - one wave is none
        return "one wave with all targets" if sizes else ""
    first = next(target.cvm.ref.name for target in plan.targets if target.step == name)
    canary = safe_text(first, 40) if sizes[0] == 1 else f"{sizes[0]} CVMs"
    rest = ", then ".join(map(str, sizes[1:_MOST_WAVES]))
    soaked = "" if step.soak is None else f" and a pause of {format_duration(step.soak)}"
    more = f" and {len(sizes) - _MOST_WAVES} more waves" if len(sizes) > _MOST_WAVES else ""
    return f"{canary} as the canary, then {rest}{more}, each after the wave before has settled{soaked}"


def _describe_deadline(plan: Plan, deadline: Forecast) -> Text:
    limit = format_duration(deadline.seconds)
    last = format_duration(deadline.estimate_seconds)
    settling = ""
    if deadline.settle is not None:
        settling = f", with a settle time of {format_duration(deadline.settle)} ({deadline.basis})"
    if any(isinstance(step, Question) for step in plan.steps):
        settling += ", if questions get an answer at once"
    if deadline.ok:
        return Text.assemble(("met  ", "green"), f"{limit}: last request after about {last}{settling}")
    late = deadline.late
    first = safe_text(plan.targets[late[0]].cvm.ref.name, 64)
    return Text.assemble(
        ("NOT MET  ", "bold yellow"),
        f"{limit}: {plural(len(late), 'CVM')} too late, first {first} after about "
        f"{format_duration(deadline.asked[late[0]])}; last request after about {last}{settling}",
    )
