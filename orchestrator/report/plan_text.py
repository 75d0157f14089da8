"""A plan for people: targets by teepod and app, what is skipped, guards, requests and time, and the bill."""

from collections import Counter
from decimal import Decimal

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.action import Action
from orchestrator.billing.rates import HOURS_PER_MONTH, Total
from orchestrator.duration import format_duration
from orchestrator.playbook.lock import drifted
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.planned import MOST_AT_ONCE
from orchestrator.report.rollout_text import rollout_rows
from orchestrator.report.shown import shown
from orchestrator.report.steps_text import is_worth_a_list, step_lines
from orchestrator.skip_reason import CHANGED
from orchestrator.wording import counted

_MOST_ROWS = 20
_MOST_NAMES = 20


def print_plan(console: Console, plan: Plan, description: str | None, *, details: bool = False) -> None:
    """Print a plan.

    Args:
        console: where to.
        plan: the plan.
        description: the playbook's own sentence about itself.
        details: whether to name every CVM.
    """
    head = Text.assemble(("Plan ", "dim"), (shown(plan.playbook), "bold"))
    if description:
        head.append(f"  {shown(description)}", "dim")
    total = len(plan.targets) + len(plan.skipped)
    console.print(head)
    console.print(Text(f"{_what_happens(plan, total)}\n"))
    if plan.targets:
        console.print(_targets(plan))
    if details:
        console.print(_details(plan))
    console.print(_facts(plan))
    for warning in plan.warnings:
        console.print(Text.assemble(("! ", "bold yellow"), shown(warning, 400)))


_WILL_BE = {
    Action.STOP: "stopped (power pulled)",
    Action.SHUTDOWN: "shut down (the guest is asked to)",
    Action.START: "started",
    Action.RESTART: "restarted (the guest is asked to shut down)",
}


def _what_happens(plan: Plan, total: int) -> str:
    """How many CVMs will be acted on, and how."""
    actions = list(dict.fromkeys(step.action for step in plan.acting if plan.count(step.action)))
    if len(actions) < 2:  # noqa: PLR2004 - several
        action = actions[0] if actions else plan.acting[0].action
        return f"{counted(len(plan.targets), 'CVM')} of {total} will be {_WILL_BE[action]}"
    parts = [f"{plan.count(action)} {_WILL_BE[action]}" for action in actions]
    return f"{counted(len(plan.targets), 'CVM')} of {total}: {', '.join(parts)}"


def _targets(plan: Plan) -> RenderableType:
    groups: dict[tuple[str, str, str | None], list[str]] = {}
    for target in plan.targets:
        ref = target.cvm.ref
        place = shown(ref.teepod) if ref.teepod else f"#{ref.teepod_id}" if ref.teepod_id is not None else "unknown"
        groups.setdefault((target.step, place, ref.app_id), []).append(ref.name)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("step", "teepod", "app"):
        table.add_column(column, overflow="fold")
    table.add_column("CVMs", justify="right")
    table.add_column("names", overflow="ellipsis", no_wrap=True)
    before: tuple[str, str] = ("", "")
    order = [step.name for step in plan.steps]
    rows = sorted(groups.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    for (step, place, app_id), names in rows[:_MOST_ROWS]:
        # What stands in the row above already is not said again.
        row = ("" if step == before[0] else shown(step), "" if (step, place) == before else place)
        before = step, place
        listed = Text(", ".join(shown(name, 40) for name in names[:_MOST_NAMES]), "dim")
        table.add_row(Text(row[0]), Text(row[1]), Text(shown(app_id, 14)), str(len(names)), listed)
    if len(groups) > _MOST_ROWS:
        rest = sum(len(names) for _, names in rows[_MOST_ROWS:])
        table.add_row("", "", f"and {len(groups) - _MOST_ROWS} more", str(rest), "")
    return Group(table, Text())


def _details(plan: Plan) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("CVM", "teepod", "status", "what happens"):
        table.add_column(column, overflow="fold")
    in_waves = {target.step for target in plan.targets if target.wave > 1}
    for target in plan.targets:
        ref = target.cvm.ref
        what = Text(target.action.verb + (f", wave {target.wave}" if target.step in in_waves else ""))
        table.add_row(Text(shown(ref.name)), Text(shown(ref.teepod)), Text(shown(target.cvm.status)), what)
    for each in plan.skipped:
        ref = each.cvm.ref
        what = Text(f"skipped: {shown(each.reason)}", "dim")
        table.add_row(Text(shown(ref.name)), Text(shown(ref.teepod)), Text(shown(each.cvm.status)), what)
    return Group(table, Text())


def _facts(plan: Plan) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    if is_worth_a_list(plan.steps):
        targets = Counter(target.step for target in plan.targets)
        for number, line in step_lines(plan.steps, targets, plan.may_follow):
            table.add_row("steps" if number == 1 else "", Text(f"{number}  {line}"))
    reasons = Counter(each.why.summary for each in plan.skipped if each.why.code not in CHANGED)
    if reasons:
        listed = [f"{count} {shown(reason)}" for reason, count in reasons.most_common(8)]
        listed += [f"and {len(reasons) - 8} more reasons"] if len(reasons) > 8 else []  # noqa: PLR2004 - as above
        table.add_row("skipped", Text(", ".join(listed)))
    left = drifted(plan)
    for number, each in enumerate(left[:_MOST_ROWS]):
        change = shown(each.why.detail or "no longer in the list", 400)
        name = shown(each.cvm.ref.name, 64)
        table.add_row("" if number else "drifted", Text.assemble(name, (f"  {change}", "yellow")))
    if len(left) > _MOST_ROWS:
        table.add_row("", f"and {len(left) - _MOST_ROWS} more")
    for label, row in rollout_rows(plan):
        table.add_row(label, row)
    for number, check in enumerate(plan.guards):
        mark = Text("ok  ", "green") if check.ok else Text("REFUSED  ", "bold red")
        table.add_row("" if number else "guards", Text.assemble(mark, f"{check.name}: {check.message}"))
    # One whose power is pulled has the whole time again from then on.
    settle = format_duration(max(step.settle_timeout + (step.escalate_after or 0) for step in plan.acting))
    table.add_row(
        "takes",
        f"about {plan.estimate.requests} requests{_batches(plan)}, {_sending(plan)}; "
        f"each CVM then has {settle} to {_get_there(plan)}",
    )
    if plan.targets:
        table.add_row("billing", _money(plan))
    return table


def _sending(plan: Plan) -> str:
    rates = {step.limits.within(plan.limits).requests_per_second for step in plan.acting}
    rate = " to ".join(f"{rate:g}" for rate in sorted({min(rates), max(rates)}))
    seconds = "no time" if plan.estimate.seconds < 1 else format_duration(plan.estimate.seconds)
    if plan.limits.adaptive:
        return f"{seconds} to send at {plan.limits.requests_per_second:.3g} a second, from where auto goes on"
    return f"{seconds} to send at {rate} a second"


def _batches(plan: Plan) -> str:
    return "" if plan.limits.dispatch == "single" else f" with up to {MOST_AT_ONCE} stops each"


def _get_there(plan: Plan) -> str:
    up = {step.action.ends_up for step in plan.acting}
    return "settle" if len(up) > 1 else "run" if True in up else "go down"


def _money(plan: Plan) -> Text:
    lines = []
    if plan.count(Action.STOP) or plan.count(Action.SHUTDOWN):
        lines += [("stops  ", plan.total, "compute"), ("goes on  ", plan.total, "storage")]
    if plan.begins is not None:
        lines += [("begins  ", plan.begins, "compute")]
        lines += [] if len(lines) > 1 else [("goes on  ", plan.begins, "storage")]
    text = Text("\n").join(Text(f"{label}{_amount(total, what)}") for label, total, what in lines)
    return text if lines else Text("what a restart does to the bill is not documented")


def _amount(total: Total, what: str) -> str:
    per_hour: Decimal = getattr(total, what)
    unknown: int = getattr(total, f"{what}_unknown")
    month = per_hour * HOURS_PER_MONTH
    known = f"${per_hour:.4f} an hour, ${month:,.2f} a month of {what}"
    if unknown:
        return f"{known}, and {counted(unknown, 'CVM')} whose {what} rate is unknown"
    return known
