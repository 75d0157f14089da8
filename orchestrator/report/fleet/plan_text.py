"""A plan over several workspaces for people: a section for every workspace with targets, and the totals."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from orchestrator.billing.rates import Total
from orchestrator.playbook.guards import GuardCheck
from orchestrator.playbook.plan import Plan
from orchestrator.report.fleet.totals import merge_plans, merge_warnings
from orchestrator.report.layout import Column, fact_lines, print_lines, print_table, prose_lines, warning_lines
from orchestrator.report.plan.sections import Group, group_targets, keep_largest, teepod_of
from orchestrator.report.plan.text import (
    describe_effects,
    describe_plan_bill,
    describe_settling,
    list_choice_facts,
    list_guards,
    list_order_facts,
    print_targets,
)
from orchestrator.text import plural, safe_text
from orchestrator.times import format_duration

_MOST_LISTED = 16
_MOST_TEEPODS = 8
_MOST_WARNINGS = 10

COLUMNS = (
    Column("workspace", wraps=True),
    Column("CVMs", right=True),
    Column("of", rank=1, right=True),
    Column("$/h", rank=2, right=True),
    Column("takes", rank=3, right=True),
    Column("guards", rank=4),
)


def print_fleet_plan(
    console: Console,
    plans: Sequence[tuple[str, Plan]],
    description: str | None,
    *,
    guards: Sequence[GuardCheck] = (),
    first: str | None = None,
    left_out: Sequence[Mapping[str, Any]] = (),
    warnings: Sequence[str] = (),
    details: bool = False,
    now: datetime | None = None,
) -> None:
    """Print a plan over several workspaces, the totals last.

    Args:
        console: the console to print on.
        plans: the name of every workspace, and its plan.
        description: the playbook's description of itself.
        guards: the guards of the total.
        first: the name of the canary workspace.
        left_out: the unreachable workspaces left out on request.
        warnings: the warnings about the plan as a whole.
        details: whether to list every CVM by name.
        now: the reference time for ages; the present by default.
    """
    total = merge_plans([plan for _, plan in plans], guards)
    head = Text.assemble(("Plan ", "dim"), (safe_text(total.playbook), "bold"))
    if description:
        head.append(f"  {safe_text(description)}", "dim")
    print_lines(console, prose_lines(console, head))
    print_lines(console, fact_lines(console, list_order_facts(total)))
    console.print()
    for name, plan in plans:
        if details or plan.targets or not all(check.ok for check in plan.guards):
            _print_section(console, name, plan, details=details, now=now)
    print_lines(console, prose_lines(console, Text(describe_fleet_effects(plans, total), "bold")))
    console.print()
    print_table(console, COLUMNS, [list(row) for row in workspace_rows(plans, total)])
    console.print()
    if total.targets:
        teepods = keep_largest(group_targets(total.targets, teepod_of), _MOST_TEEPODS)
        rows = [[group.name, f"{group.cvms:,}", group.price] for group in teepods]
        print_table(console, [Column("teepod"), Column("CVMs", right=True), Column("$/h", right=True)], rows)
        console.print()
    print_lines(console, fact_lines(console, list_total_facts(plans, total, first=first, left_out=left_out)))
    found = [*warnings, *(merge_warnings(plans) if total.has_matches else ())]
    for message in found[:_MOST_WARNINGS]:
        print_lines(console, warning_lines(console, message))
    if len(found) > _MOST_WARNINGS:
        print_lines(console, [Text(f"and {len(found) - _MOST_WARNINGS} more warnings: --format json")])


def _print_section(console: Console, name: str, plan: Plan, *, details: bool, now: datetime | None) -> None:
    head = Text.assemble(("Workspace ", "dim"), (safe_text(name), "bold"), f"  {describe_effects(plan)}")
    print_lines(console, prose_lines(console, head))
    print_targets(console, plan, _MOST_LISTED, details=details, now=now)
    guards = plan.guards if details else [check for check in plan.guards if not check.ok]
    facts = [*list_choice_facts(plan), *(list_guards(guards) if guards else ())]
    print_lines(console, fact_lines(console, facts))
    if facts:
        console.print()


def describe_fleet_effects(plans: Sequence[tuple[str, Plan]], total: Plan) -> str:
    """Describe the actions, the number of CVMs, and the number of workspaces."""
    return f"{describe_effects(total)}, in {_count_acting(plans)}"


def _count_acting(plans: Sequence[tuple[str, Plan]]) -> str:
    acting, every = sum(bool(plan.targets) for _, plan in plans), len(plans)
    return plural(every, "workspace") if acting == every else f"{acting} of {plural(every, 'workspace')}"


def workspace_rows(plans: Sequence[tuple[str, Plan]], total: Plan) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Format a row for every workspace, by `COLUMNS`, and a row of sums."""
    for name, plan in plans:
        kept = all(check.ok for check in plan.guards)
        words = ("ok" if plan.guards else "none") if kept else "REFUSED"
        yield (safe_text(name, 64), *_count_row(plan), words)
    yield ("all", *_count_row(total), "")


def _count_row(plan: Plan) -> tuple[str, str, str, str]:
    group = Group("", len(plan.targets), Total.sum_rates(target.note.rates for target in plan.targets))
    every = len(plan.targets) + len(plan.skipped)
    takes = format_duration(plan.estimate.seconds) if plan.targets else "-"
    return f"{len(plan.targets):,}", f"{every:,}", group.price if plan.targets else "-", takes


def list_total_facts(
    plans: Sequence[tuple[str, Plan]],
    total: Plan,
    *,
    first: str | None = None,
    left_out: Sequence[Mapping[str, Any]] = (),
) -> Iterator[tuple[str, str | Text]]:
    """List the facts of the plan as a whole, as `report.plan.text.list_facts`."""
    yield from list_guards(total.guards)
    if first is not None:
        yield "first", f"workspace {safe_text(first, 64)}; the others begin after its success"
    if total.settings_file is not None:
        yield "settings", f"{safe_text(total.settings_file, 400)} of the current folder"
    slowest, plan = max(plans, key=lambda each: each[1].estimate.seconds)
    seconds = "less than a second" if plan.estimate.seconds < 1 else format_duration(plan.estimate.seconds)
    longest = f"{seconds} to send" if plan.estimate.seconds < 1 else f"{seconds} to send in {safe_text(slowest, 64)}"
    yield "takes", f"about {total.estimate.requests:,} requests, {longest}; {describe_settling(total)}"
    if total.targets:
        yield "billing", describe_plan_bill(total)
    yield from list_left_out(left_out)


def list_left_out(left_out: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str | Text]]:
    """List the unreachable workspaces left out on request."""
    for number, each in enumerate(left_out):
        reason = safe_text(each.get("reason") or "not readable", 300)
        text = Text.assemble(safe_text(each.get("workspace"), 64), (f"  {reason}", "yellow"))
        yield "" if number else "left out", text
