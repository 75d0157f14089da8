"""The open question of a run for people: the question, the state of the run, the next steps, and the time limit."""

from datetime import datetime

from rich.console import Console
from rich.text import Text

from orchestrator.audit.events import ApprovalRequested
from orchestrator.audit.replay import RunState
from orchestrator.duration import format_duration
from orchestrator.moment import format_clock, parse_timestamp
from orchestrator.report.layout import fact_lines, print_lines, prose_lines
from orchestrator.report.plan.sections import step_lines, targets_ahead
from orchestrator.runs.answer import describe_answer
from orchestrator.runs.steps import steps_from
from orchestrator.safe_text import safe_text

_MOST_LINES = 20
_WIDTH = 400


def describe_wait(state: RunState) -> str | None:
    """Describe the open question of a run in a line; None for a run without an open question or at its end."""
    if state.question is None or state.finished is not None or state.interrupted is not None:
        return None
    until = format_clock(parse_timestamp(state.question.expires_at))
    return f"waits for an answer until {until}: orchestrator approve {safe_text(state.run_id)}"


def print_question(console: Console, state: RunState, question: ApprovalRequested, now: datetime) -> None:
    """Print an open question, and the facts needed for an answer.

    Args:
        console: the console to print on.
        state: the run.
        question: the `approval.requested` record.
        now: the current time, in UTC.
    """
    steps = steps_from(state.planned.steps)
    number = next((n for n, step in enumerate(steps, start=1) if step.name == question.step), 0)
    name = "" if question.step == f"step {number}" else f", {safe_text(question.step, 60)}"
    playbook = safe_text(state.started.playbook["name"])
    head = Text.assemble((playbook, "bold"), (f"  step {number} of {len(steps)}{name}", "dim"))
    print_lines(console, prose_lines(console, head))
    console.print()
    for line in question.question.strip().splitlines()[:_MOST_LINES]:
        console.print(Text(f"  {safe_text(line, _WIDTH)}", "bold yellow"))
    console.print()
    facts: list[tuple[str, str | Text]] = []
    so_far = ", ".join(f"{count} {stage}" for stage, count in state.stages.items() if count and stage != "waiting")
    facts.append(("so far", so_far or "nothing was sent"))
    ahead = [(n, line) for n, line in step_lines(steps, *targets_ahead(state)) if n > number]
    for each, line in ahead:
        facts.append(("then" if each == ahead[0][0] else "", Text(f"{each}  {line}")))
    if not ahead:
        facts.append(("then", "the run ends"))
    expires_at = parse_timestamp(question.expires_at)
    left = format_duration(max(0, round((expires_at - now).total_seconds())))
    facts.append(("until", f"{format_clock(expires_at, now)}, {left} from now; no answer means no: the run ends"))
    print_lines(console, fact_lines(console, facts))


def answer_lines(state: RunState, *, going_on: bool = True) -> list[str]:
    """List the answers to the questions of a run, a line for every question.

    Args:
        state: the run.
        going_on: whether a process carries the run out; without a process, no answer to an open question is read.
    """
    lines = [describe_answer(question, record) for question, record in state.answers]
    if state.question is not None and not going_on and state.finished is None:
        lines.append(f"{safe_text(state.question.step, 60)}: not answered: resume asks again")
    return lines
