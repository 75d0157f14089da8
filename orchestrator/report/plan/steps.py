"""The steps of a plan for people, a line for every step, in order of execution."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.audit.replay import RunState
from orchestrator.duration import format_duration
from orchestrator.outcome import ENDS_THE_RUN, Outcome
from orchestrator.playbook.resolved_steps import AnyPlanned, FollowUp, Message, OwnLimits, PlannedStep, Question
from orchestrator.plural import plural
from orchestrator.report.phrases import OUTCOMES
from orchestrator.runs.steps import steps_from
from orchestrator.safe_text import safe_text

_WIDTH = 200


def is_worth_a_list(steps: Sequence[AnyPlanned]) -> bool:
    """Tell a plan with several or special steps from a plan with a single plain action."""
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
