"""The end of a run for people: what did not end as wanted, with the API's own words; the bill; what to type next."""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.billing.rates import HOURS_PER_MONTH
from orchestrator.duration import format_duration
from orchestrator.moment import parse_timestamp
from orchestrator.outcome import Outcome
from orchestrator.report.audit_run_words import ENDINGS
from orchestrator.report.documents import counts_of
from orchestrator.report.meaning import TROUBLE, meaning_of
from orchestrator.report.question_text import answer_lines, waits
from orchestrator.report.shown import shown
from orchestrator.wording import counted

STYLES = {
    "settled": "green",
    "gone": "green",
    "skipped": "green",
    "refused": "red",
    "failed": "red",
    "resurrected": "red",
    "unsettled": "yellow",
    "not_sent": "yellow",
}

_MOST_ROWS = 200


def print_run(console: Console, state: RunState, code: int | None, audit_log: Path) -> None:
    """Print how a run ended, or where it stands while it goes on (without a code)."""
    counts = counts_of(state) if code is not None else {stage: n for stage, n in state.stages.items() if n}
    run_id = shown(state.run_id)
    meaning = (waits(state) or "going on") if code is None else f"{meaning_of(code)} (exit {code})"
    if state.drifted:
        source = "run to undo" if "restores" in state.started else "plan file"
        meaning += f"; {len(state.drifted)} of the {source} drifted, left alone"
    head = Text.assemble(("Run ", "dim"), (run_id, "bold"), f"  {meaning}")
    console.print(head)
    tally = Text("  ").join(Text(f"{number} {outcome}", STYLES.get(outcome, "")) for outcome, number in counts.items())
    console.print(tally if counts else Text("nothing to do: no targets"))
    troubled = [
        target
        for target in state.targets.values()
        if target.taken_up_by is None and (target.outcome if code is None else target.outcome_so_far) in TROUBLE
    ]
    if troubled:
        console.print()
        console.print(_troubles(troubled[:_MOST_ROWS]))
        if len(troubled) > _MOST_ROWS:
            rest = len(troubled) - _MOST_ROWS
            console.print(Text(f"and {rest} more: orchestrator show {run_id} --json"))
    if code is not None:
        _not_sent(console, state)
    console.print()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    slowest = max((target.seconds for target in state.targets.values() if target.seconds is not None), default=None)
    if slowest is not None:
        facts.add_row("slowest", f"{format_duration(slowest)} from its first request to its end")
    _cut_short(facts, state)
    _began(facts, state)
    _follow_ups(facts, state)
    _deadline(facts, state)
    money = state.money
    if money["triggered"] or "starts" in money:
        facts.add_row("billing", _bill(money))
    _abandoned(facts, state)
    for line in answer_lines(state, going_on=code is None):
        facts.add_row("answer", Text(line))
    if state.drifted:
        names = ", ".join(shown(each["cvm"]["name"], 64) for each in state.drifted[:_MOST_ROWS])
        more = f" and {len(state.drifted) - _MOST_ROWS} more" if len(state.drifted) > _MOST_ROWS else ""
        facts.add_row("drifted", Text(names + more))
    facts.add_row("audit log", Text(shown(audit_log, 4096)))
    facts.add_row("verify", Text(f"orchestrator audit verify {run_id}"))
    if state.finished is None and code is not None and not state.simulated:
        facts.add_row("go on", Text(f"orchestrator resume {run_id}", "bold"))
    console.print(facts)


def _not_sent(console: Console, state: RunState) -> None:
    """Who was never asked, and why."""
    not_sent = [target for target in state.targets.values() if target.outcome_so_far is Outcome.NOT_SENT]
    if not not_sent:
        return
    names = ", ".join(shown(target.ref.name, 64) for target in not_sent[:_MOST_ROWS])
    more = f" and {len(not_sent) - _MOST_ROWS} more" if len(not_sent) > _MOST_ROWS else ""
    console.print(Text.assemble(("\nnot sent: ", STYLES["not_sent"]), names, more))
    if not_sent[0].reason and state.finished is not None:
        console.print(Text(shown(not_sent[0].reason, 300), "dim"))


def _cut_short(facts: Table, state: RunState) -> None:
    """What kept a finished run from confirming what it did."""
    by = (state.finished or {}).get("cut_short_by")
    if by is not None:
        facts.add_row("cut short", Text(ENDINGS.get(by, shown(by, 64)), "yellow"))


def _abandoned(facts: Table, state: RunState) -> None:
    end = state.finished or {}
    if "abandoned_by" in end:
        facts.add_row("abandoned", Text(f"by {shown(end['abandoned_by'], 100)}: {shown(end['reason'], 1000)}"))


def _deadline(facts: Table, state: RunState) -> None:
    """Whether everybody was asked in time."""
    deadline = (state.finished or {}).get("deadline")
    if deadline is None:
        return
    limit = format_duration(deadline["seconds"])
    if deadline["met"]:
        facts.add_row("deadline", Text.assemble(("met  ", "green"), f"everybody was asked within {limit}"))
        return
    late = f"{counted(deadline['late'], 'CVM')} asked after {limit}, or never"
    facts.add_row("deadline", Text.assemble(("NOT MET  ", "bold yellow"), late))


def _began(facts: Table, state: RunState) -> None:
    """Which firing of a schedule began the run; nothing where a person did."""
    trigger = state.started.get("trigger")
    if trigger is not None:
        planned = f"{parse_timestamp(trigger['planned']):%Y-%m-%d %H:%MZ}"
        facts.add_row("began", Text(f"by the schedule of {shown(trigger['schedule'])}, for {planned}"))


def _follow_ups(facts: Table, state: RunState) -> None:
    """Who did not go down at the first asking, and what followed."""
    escalated = sum(target.escalated_at is not None for target in state.targets.values())
    if escalated:
        facts.add_row(
            "escalated", f"the power of {counted(escalated, 'CVM')} was pulled, which did not shut down in time"
        )
    for (step, by), count in Counter(
        (target.step, target.taken_up_by) for target in state.targets.values() if target.taken_up_by
    ).items():
        facts.add_row("taken up", Text(f"{counted(count, 'CVM')} of {shown(step)!r} by {shown(by)!r}"))


def _troubles(targets: list[TargetState]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("CVM", overflow="fold", min_width=12)
    table.add_column("teepod", overflow="fold")
    table.add_column("outcome", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=1)
    for target in targets:
        outcome = target.outcome_so_far.value
        why = Text(shown(target.reason, 300) if target.reason else _why(target))
        if target.request_id:
            why.append(f"  request {shown(target.request_id, 64)}", "dim")
        name = Text.assemble(shown(target.ref.name, 64), (f"\n{shown(target.ref.address, 40)}", "dim"))
        table.add_row(name, Text(shown(target.ref.teepod)), Text(outcome, STYLES.get(outcome, "")), why)
    return table


def _why(target: TargetState) -> str:
    return f"the run ended before it was seen to settle; last seen {shown(target.status)}"


def _bill(money: Mapping[str, object]) -> Text:
    text = Text()
    lines: list[tuple[Mapping[str, object], str, str]] = []
    if money["triggered"]:
        text.append(f"{money['triggered']} stops billed their open compute usage\n")
        lines = [(money, "compute_usd_per_hour", "stops"), (money, "storage_usd_per_hour", "goes on")]
    starts = money.get("starts")
    if isinstance(starts, Mapping):
        lines.append((starts, "compute_usd_per_hour", "begins"))
    for part, key, label in lines:
        amount = part[key]
        if amount is None:
            text.append(f"{label}: not known for every CVM; see the audit log\n")
        else:
            rate = Decimal(str(amount))
            kind = key.split("_")[0]
            text.append(f"{label}  ${rate:.4f} an hour, ${rate * HOURS_PER_MONTH:,.2f} a month of {kind}\n")
    text.rstrip()
    return text
