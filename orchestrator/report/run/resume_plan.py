"""The plan of a resume: the CVMs to send requests for, to watch and to skip, and the cost."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.audit.replay import RunState
from orchestrator.billing.rates import Total
from orchestrator.engine.job import Job
from orchestrator.outcome import SkipReason
from orchestrator.playbook.resolved_steps import AnyPlanned, PlannedStep, Question, RunLimits
from orchestrator.report.layout import moment, print_lines, warning_lines
from orchestrator.runs.resume import ResumePlan
from orchestrator.text import join_names, plural, safe_text


def print_resume_plan(console: Console, plan: ResumePlan, state: RunState) -> None:
    """Print the plan for people."""
    name, actor = state.started.playbook["name"], state.started.actor or "unknown"
    head = Text.assemble(("Resume ", "dim"), (safe_text(state.run_id), "bold"), f"  {safe_text(name)}")
    console.print(head.append(f", started {safe_text(moment(state.started.ts))} by {safe_text(actor)}", "dim"))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    _add_rows(table, "send", plan.send, lambda job: job.action.verb)
    _add_rows(table, "watch", plan.watch, _describe_request)
    reasons = {id(job): _AS_WANTED.get(reason.code, reason.text) for job, reason in plan.skip}
    _add_rows(table, "skip", [job for job, _ in plan.skip], lambda job: reasons[id(job)])
    if plan.ended:
        table.add_row("done", plural(plan.ended, "target"))
    later = [step for step in plan.steps if step.name not in state.passed and _is_open(step)]
    if later:
        table.add_row("later", Text(", ".join(map(_describe_step, later))))
    if state.started.workspace_name is not None:
        table.add_row("workspace", Text(safe_text(state.started.workspace_name, 64)))
    table.add_row("rate", Text(_describe_rate(plan.limits)))
    if plan.stricter:
        table.add_row("stricter", Text(f"by the present settings: {', '.join(plan.stricter)}"))
    for line in _describe_bill(plan):
        table.add_row("billing", line)
    console.print(table)
    for warning in plan.warnings:
        print_lines(console, warning_lines(console, warning.message))
    console.print()


def _describe_bill(plan: ResumePlan) -> Iterable[str]:
    if any(not job.action.leaves_running for job in plan.send):
        yield f"ends  {_format_compute(plan.ends)}"
    if plan.starts:
        yield f"begins  {_format_compute(plan.begins)}"


def _add_rows(table: Table, label: str, jobs: Iterable[Job], what: Any) -> None:  # noqa: ANN401 - a function
    """Add a row for every group of targets: the number, the action or the reason against, and the names."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(what(job), []).append(job)
    if not groups:
        table.add_row(label, "no CVM")
    for number, (text, members) in enumerate(groups.items()):
        listed = join_names(safe_text(job.ref.name, 40) for job in members)
        table.add_row(
            "" if number else label, Text.assemble(f"{len(members)} {safe_text(text, 200)}: ", (listed, "dim"))
        )


def _describe_request(job: Job) -> str:
    return f"{job.action} sent, {'not settled yet' if job.is_accepted else 'outcome unknown'}"


_AS_WANTED = {SkipReason.ALREADY_DOWN: "already down, nothing sent", SkipReason.ALREADY_UP: "already up, nothing sent"}


def _is_open(step: AnyPlanned) -> bool:
    return isinstance(step, Question) or (isinstance(step, PlannedStep) and step.follows is not None)


def _describe_step(step: AnyPlanned) -> str:
    what = "requests an approval" if isinstance(step, Question) else "selects its CVMs at its start"
    return f"step {safe_text(step.name, 60)!r} {what}"


def _describe_rate(limits: RunLimits) -> str:
    rate = "auto" if limits.adaptive else f"{limits.requests_per_second:g} requests a second"
    return f"{rate}, burst {limits.burst}, at most {limits.max_in_flight} in flight"


def _format_compute(total: Total) -> str:
    unknown = f", and {plural(total.compute_unknown, 'CVM')} of unknown rate" if total.compute_unknown else ""
    return f"compute ${total.compute:.4f}/h{unknown}"
