"""A plan for people: targets by teepod and app, skipped CVMs, guards, requests, time and cost."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.billing.rates import HOURS_PER_MONTH, Total
from orchestrator.cvm import Cvm
from orchestrator.outcome import CHANGED
from orchestrator.playbook.guards import GuardCheck
from orchestrator.playbook.plan import Plan, Target
from orchestrator.playbook.resolved_steps import MOST_AT_ONCE
from orchestrator.report.layout import Column, fact_lines, print_lines, print_table, prose_lines, table, warning_lines
from orchestrator.report.phrases import describe_narrowing
from orchestrator.report.plan.sections import (
    Group,
    app_of,
    group_targets,
    is_worth_a_list,
    keep_largest,
    prefix_of,
    rollout_rows,
    step_lines,
    teepod_of,
)
from orchestrator.text import plural, safe_text
from orchestrator.times import format_duration, utc_now

_MOST_ROWS = 20
_PIPE_HEIGHT = 50
"""Lines without a terminal."""
_LEAST_ROWS = 8
_LEAST_GROUPS = 3
_LEAST_APPS = 2


def print_plan(
    console: Console, plan: Plan, description: str | None, *, details: bool = False, now: datetime | None = None
) -> None:
    """Print a plan.

    Args:
        console: the console to print on.
        plan: the plan.
        description: the playbook's description of itself.
        details: whether to list every CVM by name.
        now: the reference time for ages; the present by default.
    """
    head = Text.assemble(("Plan ", "dim"), (safe_text(plan.playbook), "bold"))
    if description:
        head.append(f"  {safe_text(description)}", "dim")
    above = [*prose_lines(console, head), *prose_lines(console, describe_effects(plan))]
    below = fact_lines(console, list_facts(plan))
    # Without a match, the warnings are the hint of the later error.
    for warning in plan.warnings if plan.has_matches else ():
        below += warning_lines(console, warning.message)
    print_lines(console, above)
    screen = console.height if console.is_terminal else _PIPE_HEIGHT
    rows = max(_LEAST_ROWS, screen - len(above) - len(below) - 1)  # a line for the question
    print_targets(console, plan, rows, details=details, now=now)
    print_lines(console, below)


def print_targets(
    console: Console, plan: Plan, rows: int, *, details: bool = False, now: datetime | None = None
) -> None:
    """Print the targets within a number of rows, else their totals; with details, every CVM as well."""
    if len(plan.targets) >= rows:
        _print_totals(console, plan, rows)
    else:
        console.print()
        if plan.targets and not details:
            _print_each(console, plan)
    if details:
        _print_details(console, plan, now or utc_now())


def describe_effects(plan: Plan) -> str:
    """Describe the actions and the number of CVMs."""
    total = len(plan.targets) + len(plan.skipped)
    counts = Counter(target.action for target in plan.targets)
    actions = list(dict.fromkeys(step.action for step in plan.acting_steps if counts[step.action]))
    if len(actions) < 2:  # noqa: PLR2004 - several
        action = actions[0] if actions else plan.acting_steps[0].action
        return f"{plural(len(plan.targets), 'CVM')} of {total} will be {action.spec.done_in_full}"
    parts = [f"{counts[action]} {action.spec.done_in_full}" for action in actions]
    return f"{plural(len(plan.targets), 'CVM')} of {total}: {', '.join(parts)}"


def _print_totals(console: Console, plan: Plan, most: int) -> None:
    """Print totals within a number of rows: all teepods first, as far as the rows suffice."""
    teepods, prefixes, apps = (group_targets(plan.targets, by) for by in (teepod_of, prefix_of, app_of))
    has_blanks = most >= len(teepods) + _LEAST_APPS + 4  # two rows of headers, two blank ones
    if has_blanks:
        most -= 2
        console.print()
    half = max(most - _LEAST_APPS - 2, _LEAST_GROUPS)
    beside = [
        table([Column(name), _COUNT, _PRICE], _group_rows(found, half), console.width)
        for name, found in (("teepod", teepods), ("name", prefixes))
    ]
    widths = [console.measure(each).maximum for each in beside]
    if sum(widths) <= console.width:
        pair = Table.grid(padding=(0, 2, 0, 0))
        pair.add_row(*beside)
        console.print(pair)
    else:
        for each in beside:
            console.print(each, crop=False)
    rows = max(most - min(max(len(teepods), len(prefixes)), half) - 2, _LEAST_APPS)
    print_table(console, [Column("app"), _COUNT, _PRICE], _group_rows(apps, rows))
    if has_blanks:
        console.print()


_COUNT, _PRICE = Column("CVMs", right=True), Column("$/h", right=True)


def _group_rows(found: list[Group], most: int) -> list[list[str]]:
    return [[group.name, f"{group.cvms:,}", group.price] for group in keep_largest(found, most)]


def _print_each(console: Console, plan: Plan) -> None:
    """Print a line for each target, with the ids if CVMs share a name."""
    order = [step.name for step in plan.steps]
    shares_names = len({target.cvm.ref.name for target in plan.targets}) < len({t.cvm.ref.key for t in plan.targets})
    columns = [Column("CVM", wraps=True), *([Column("id")] if shares_names else [])]
    columns += [
        Column("step", rank=4, wraps=True),
        Column("teepod", rank=1),
        Column("app", rank=3),
        Column("$/h", rank=2, right=True),
    ]
    rows = [
        [
            safe_text(target.cvm.ref.name, 64),
            *([safe_text(target.cvm.ref.address, 64)] if shares_names else []),
            safe_text(target.step, 60),
            teepod_of(target.cvm.ref),
            app_of(target.cvm.ref),
            format_price(target),
        ]
        for target in sorted(plan.targets, key=lambda each: (order.index(each.step), teepod_of(each.cvm.ref)))
    ]
    print_table(console, columns, rows)
    console.print()


def format_price(target: Target) -> str:
    """Format the compute of a target in USD per hour."""
    return "unknown" if target.note.rates.compute is None else f"{target.note.rates.compute:,.4f}"


def _print_details(console: Console, plan: Plan, now: datetime) -> None:
    columns = [Column("CVM", wraps=True), Column("id", rank=3), Column("teepod", rank=1), Column("app", rank=5)]
    columns += [
        Column("type", rank=6),
        Column("age", rank=7, right=True),
        Column("$/h", rank=4, right=True),
        Column("status", rank=2, wraps=True),
        Column("action", wraps=True),
    ]
    in_waves = {target.step for target in plan.targets if target.wave > 1}
    rows: list[list[str | Text]] = []
    for target in plan.targets:
        what = target.action.verb + (f", wave {target.wave}" if target.step in in_waves else "")
        rows.append([*_describe_place(target.cvm, now), format_price(target), safe_text(target.cvm.status), Text(what)])
    for each in plan.skipped:
        why = Text(f"skipped: {safe_text(each.why.in_full)}", "dim")
        rows.append([*_describe_place(each.cvm, now), "", safe_text(each.cvm.status), why])
    print_table(console, columns, rows)
    console.print()


def _describe_place(cvm: Cvm, now: datetime) -> list[str]:
    ref = cvm.ref
    names = [safe_text(ref.name, 64), safe_text(ref.address, 64), teepod_of(ref), app_of(ref)]
    return [*names, safe_text(cvm.instance_type or "", 64), _format_age(cvm, now)]


def _format_age(cvm: Cvm, now: datetime) -> str:
    """Format the age of a CVM in days, or in hours on its first day; empty for an unknown age."""
    if cvm.created_at is None:
        return ""
    hours = max(0, int((now - cvm.created_at).total_seconds() // 3600))
    return f"{hours}h" if hours < 24 else f"{hours // 24}d"  # noqa: PLR2004 - hours of a day


def list_facts(plan: Plan) -> Iterator[tuple[str, str | Text]]:
    """List the names and values of the facts of a plan; further values of a fact have an empty name."""
    if plan.workspace_name is not None:
        yield "workspace", Text(safe_text(plan.workspace_name))
    yield from list_order_facts(plan)
    yield from list_choice_facts(plan)
    yield from list_guards(plan.guards)
    if plan.settings_file is not None:
        yield "settings", f"{safe_text(plan.settings_file, 400)} of the current folder"
    batches = "" if plan.limits.dispatch == "single" else f" with up to {MOST_AT_ONCE} stops each"
    sending = _describe_sending(plan)
    yield "takes", f"about {plan.estimate.requests} requests{batches}, {sending}; {describe_settling(plan)}"
    if plan.targets:
        yield "billing", describe_plan_bill(plan)


def list_order_facts(plan: Plan) -> Iterator[tuple[str, str | Text]]:
    """List the steps and the conditions of `--only` and `--exclude`."""
    if is_worth_a_list(plan.steps):
        targets = Counter(target.step for target in plan.targets)
        for number, line in step_lines(plan.steps, targets, plan.may_follow):
            yield "steps" if number == 1 else "", Text(f"{number}  {line}")
    if plan.narrowed is not None:
        yield "narrowed", Text(safe_text(describe_narrowing(plan.narrowed), 400))


def list_choice_facts(plan: Plan) -> Iterator[tuple[str, str | Text]]:
    """List the reasons of skipped CVMs, the changed targets, and the rollout."""
    yield from _list_skip_reasons(plan)
    left = plan.drifted
    for number, each in enumerate(left[:_MOST_ROWS]):
        change = safe_text(each.why.detail or "no longer in the list", 400)
        name = safe_text(each.cvm.ref.name, 64)
        yield "" if number else "changed", Text.assemble(name, (f"  {change}", "yellow"))
    if len(left) > _MOST_ROWS:
        yield "", f"and {len(left) - _MOST_ROWS} more"
    yield from rollout_rows(plan)


def list_guards(guards: Sequence[GuardCheck]) -> Iterator[tuple[str, str | Text]]:
    """List the checked guards."""
    for number, check in enumerate(guards):
        mark = Text("ok  ", "green") if check.ok else Text("REFUSED  ", "bold red")
        yield "" if number else "guards", Text.assemble(mark, f"{check.name}: {check.message}")
    if not guards:
        yield "guards", Text("none", "yellow")


def describe_settling(plan: Plan) -> str:
    """Describe the time of a CVM after its request."""
    # A force-stopped CVM gets the whole settle time again.
    settle = format_duration(max(step.settle_timeout + (step.escalate_after or 0) for step in plan.acting_steps))
    leave_running = {step.action.leaves_running for step in plan.acting_steps}
    goal = "settle" if len(leave_running) > 1 else "come up" if True in leave_running else "go down"
    return f"each CVM then has {settle} to {goal}"


def _list_skip_reasons(plan: Plan) -> Iterator[tuple[str, Text]]:
    reasons = Counter(each.why.summary for each in plan.skipped if each.why.code not in CHANGED)
    if reasons:
        listed = [f"{count} {safe_text(reason)}" for reason, count in reasons.most_common(8)]
        listed += [f"and {len(reasons) - 8} more reasons"] if len(reasons) > 8 else []  # noqa: PLR2004 - as above
        yield "skipped", Text(", ".join(listed))


def _describe_sending(plan: Plan) -> str:
    rates = {step.limits.within(plan.limits).requests_per_second for step in plan.acting_steps}
    rate = " to ".join(f"{rate:g}" for rate in sorted({min(rates), max(rates)}))
    seconds = "less than a second" if plan.estimate.seconds < 1 else format_duration(plan.estimate.seconds)
    if plan.limits.adaptive:
        return f"{seconds} to send at {plan.limits.requests_per_second:.3g} a second at first, then adapted"
    return f"{seconds} to send at {rate} a second"


def describe_plan_bill(plan: Plan) -> Text:
    """Describe the ending or beginning compute, and the storage still billed."""
    lines = []
    if any(not target.action.leaves_running for target in plan.targets):
        lines += [("ends  ", plan.stopped_total, "compute"), ("still billed  ", plan.stopped_total, "storage")]
    if plan.started_total is not None:
        lines += [("begins  ", plan.started_total, "compute")]
        lines += [] if len(lines) > 1 else [("still billed  ", plan.started_total, "storage")]
    text = Text("\n").join(Text(f"{label}{_format_amount_line(total, what)}") for label, total, what in lines)
    return text if lines else Text("the effect of a restart on the bill is not documented")


def _format_amount_line(total: Total, what: str) -> str:
    per_hour: Decimal = getattr(total, what)
    unknown: int = getattr(total, f"{what}_unknown")
    month = per_hour * HOURS_PER_MONTH
    known = f"{what} ${per_hour:.4f}/h, ${month:,.2f} a month"
    if unknown:
        return f"{known}, and {plural(unknown, 'CVM')} of unknown rate"
    return known
