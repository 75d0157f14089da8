"""Sections of a plan for people: targets by teepod, name and app with cost per hour; steps in order; the rollout."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from rich.text import Text

from orchestrator.audit.replay import RunState
from orchestrator.billing.rates import Total
from orchestrator.cvm import CvmRef
from orchestrator.outcome import ENDS_THE_RUN, Outcome, SkipReason
from orchestrator.playbook.deadline import Forecast
from orchestrator.playbook.plan import Plan, Target
from orchestrator.playbook.resolved_steps import AnyPlanned, FollowUp, Message, OwnLimits, PlannedStep, Question
from orchestrator.report.phrases import OUTCOMES
from orchestrator.runs.records import steps_from
from orchestrator.text import plural, safe_text
from orchestrator.times import format_duration

_PREFIX = re.compile(r"[^-_.]+[-_.]|\D+(?=\d+$)")


@dataclass(frozen=True, slots=True)
class Group:
    """Targets with a common property.

    Attributes:
        name: the common property.
        cvms: the number of CVMs.
        total: the cost of all CVMs of the group per hour.
    """

    name: str
    cvms: int
    total: Total

    @property
    def price(self) -> str:
        """Format the compute in USD per hour, and the number of CVMs with an unknown price."""
        unknown = self.total.compute_unknown
        if unknown == self.cvms:
            return "unknown"
        return f"{self.total.compute:,.4f}" + (f" ({unknown} unknown)" if unknown else "")


def group_targets(targets: Iterable[Target], name: Callable[[CvmRef], str]) -> list[Group]:
    """Group targets by a name, the largest group first."""
    found: dict[str, list[Target]] = {}
    for target in targets:
        found.setdefault(name(target.cvm.ref), []).append(target)
    made = [Group(key, len(of), Total.sum_rates(each.note.rates for each in of)) for key, of in found.items()]
    return sorted(made, key=lambda group: (-group.cvms, -group.total.compute, group.name))


def keep_largest(found: list[Group], most: int) -> list[Group]:
    """Keep the largest groups up to a limit, and merge the smaller groups.

    The merged group is named after their number.
    """
    if len(found) <= most:
        return found
    first, rest = found[: most - 1], found[most - 1 :]
    sums = Total(
        sum((group.total.compute for group in rest), Decimal(0)),
        compute_unknown=sum(group.total.compute_unknown for group in rest),
    )
    return [*first, Group(f"and {len(rest)} more", sum(group.cvms for group in rest), sums)]


def teepod_of(ref: CvmRef) -> str:
    """Return the name of a CVM's teepod, else its number."""
    return safe_text(ref.teepod, 64) if ref.teepod else f"#{ref.teepod_id}" if ref.teepod_id is not None else "unknown"


def app_of(ref: CvmRef) -> str:
    """Return the whole id of a CVM's app."""
    return safe_text(ref.app_id, 64) if ref.app_id else "unknown"


def prefix_of(ref: CvmRef) -> str:
    """Return the pattern of a CVM's name up to its first separator, such as `web-*`; without a separator the name."""
    found = _PREFIX.match(ref.name)
    return safe_text(f"{found[0]}*" if found else ref.name or "(no name)", 40)


_WIDTH = 200


def is_worth_a_list(steps: Sequence[AnyPlanned]) -> bool:
    """Return True for a plan with several or special steps; False for a single plain action."""
    return len(steps) > 1 or any(_describe_options(step) for step in steps if isinstance(step, PlannedStep))


def step_lines(
    steps: Sequence[AnyPlanned], targets: Mapping[str, int], may_follow: Mapping[str, int]
) -> Iterator[tuple[int, str]]:
    """Format the steps with their numbers, in order of execution.

    Args:
        steps: all steps of the plan.
        targets: the number of CVMs of every step, by the step's name.
        may_follow: the highest possible number of CVMs of every follow-up step, by the step's name.
    """
    numbers = {step.name: number for number, step in enumerate(steps, start=1)}
    for number, step in enumerate(steps, start=1):
        name = "" if step.name == f"step {number}" else f"{safe_text(step.name, 60)}: "
        if isinstance(step, Question):
            what = f"pause: “{_on_one_line(step.question)}” ({format_duration(step.timeout)} to answer)"
        elif isinstance(step, Message):
            what = f"notify: “{_on_one_line(step.text)}”"
        elif step.follows is None:
            what = f"{step.action.verb} {plural(targets.get(step.name, 0), 'CVM')}{_describe_options(step)}"
        else:
            source = numbers.get(step.follows.step, "?")
            most = may_follow.get(step.name, 0)
            number_of = f"up to {plural(most, 'CVM')}" if most else "none so far"
            ended = _describe_outcomes(step.follows)
            options = _describe_options(step)
            what = f"{step.action.verb} CVMs that {ended} in step {source}, {number_of}{options}"
        yield number, f"{name}{what}"


def targets_ahead(state: RunState) -> tuple[dict[str, int], dict[str, int]]:
    """Count the open targets of every step of a run, and the possible targets of the follow-up steps."""
    still_open = Counter(target.step for target in state.targets.values() if target.outcome is None)
    may_have: dict[str, set[str]] = {}
    for step in steps_from(state.planned.steps):
        if isinstance(step, PlannedStep) and step.follows is not None and step.name not in state.passed:
            may_have[step.name] = {
                key
                for key, outcome in _list_results(state, step.follows.step, may_have)
                if (outcome is None or outcome in step.follows.outcomes)
                and (step.follows.among is None or key in step.follows.among)
            }
    return dict(still_open), {name: len(keys) for name, keys in may_have.items()}


def _list_results(state: RunState, step: str, may_have: Mapping[str, set[str]]) -> Iterator[tuple[str, Outcome | None]]:
    """Yield the known outcomes of a step's CVMs. Possible CVMs of the step count as well."""
    if step in may_have:
        yield from ((key, None) for key in may_have[step])
        return
    for (name, key), target in state.targets.items():
        if name == step and target.taken_up_by is None:
            yield key, target.outcome


def _on_one_line(text: str) -> str:
    return safe_text(" ".join(text.split()), _WIDTH)


def _describe_outcomes(follows: FollowUp) -> str:
    if follows.outcomes == ENDS_THE_RUN:
        return "did not end as wanted"
    words = [phrase.plural for outcome, phrase in OUTCOMES.items() if outcome in follows.outcomes]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _describe_options(step: PlannedStep) -> str:
    """Describe the other options of a step."""
    parts = []
    if step.escalate_after is not None:
        parts.append(f"force-stopped after {format_duration(step.escalate_after)}")
    if step.on_failure == "stop":
        parts.append("a failure ends the run")
    return "".join(f", {part}" for part in (*parts, *_describe_limits(step.limits)))


def _describe_limits(limits: OwnLimits) -> Iterator[str]:
    if limits.requests_per_second is not None:
        yield f"at most {limits.requests_per_second:g} requests a second"
    if limits.max_in_flight is not None:
        yield f"{limits.max_in_flight} in flight"
    if limits.per_teepod is not None:
        yield f"{limits.per_teepod} per teepod"
    if limits.max_failures is not None:
        yield f"at most {limits.max_failures} failures"
    if limits.dispatch is not None:
        yield "in batches" if limits.dispatch == "batch" else "one by one"


_MOST_ROWS = 8
_MOST_WAVES = 12
_ORDER = {"cost": "most expensive first", "teepod": "teepod by teepod", "name": "by name"}


def rollout_rows(plan: Plan) -> Iterator[tuple[str, Text]]:
    """Format the rollout as rows of the plan's facts; no rows for a plan without rollout options."""
    yield from _list_survivors(plan)
    several = len(plan.acting_steps) > 1
    orders = [(step.name, _ORDER[step.order_by]) for step in plan.acting_steps if step.order_by is not None]
    waves = [(step.name, _describe_waves(plan, step)) for step in plan.acting_steps if step.waves is not None]
    for label, found in (("order", orders), ("waves", waves)):
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


def _describe_waves(plan: Plan, step: PlannedStep) -> str:
    if step.follows is not None:
        return f"{', '.join(map(str, step.waves or ()))} of the step's later targets"
    waves = [target.wave for target in plan.targets if target.step == step.name]
    sizes = [waves.count(number) for number in sorted(set(waves))]
    if len(sizes) < 2:  # noqa: PLR2004 - one wave is none
        return "one wave with all targets" if sizes else ""
    first = next(target.cvm.ref.name for target in plan.targets if target.step == step.name)
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
