"""A run for people: failed targets with the API's own words, the bill, the next commands; and the open question."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.text import Text

from orchestrator.audit.events import ApprovalRequested, Json, RunFinished
from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.billing.rates import HOURS_PER_MONTH
from orchestrator.outcome import TROUBLE, Outcome, summary_of
from orchestrator.report.layout import Column, fact_lines, moment, print_lines, print_table, prose_lines
from orchestrator.report.phrases import (
    ENDINGS,
    abandon_command,
    describe_approval,
    describe_end,
    describe_narrowing,
    meaning_of_run,
)
from orchestrator.report.plan.sections import step_lines, targets_ahead
from orchestrator.runs.answer import describe_answer
from orchestrator.runs.records import steps_from
from orchestrator.text import join_names, plural, safe_text
from orchestrator.times import format_clock, format_duration, parse_timestamp

_MOST_LINES = 20
_WIDTH = 400


def describe_wait(state: RunState) -> str | None:
    """Describe the open question of a run in a line; None for a run without an open question or at its end."""
    if state.question is None or state.finished is not None or state.interrupted is not None:
        return None
    until = format_clock(parse_timestamp(state.question.expires_at))
    return f"waits for an answer until {until}: {safe_text(state.answer_command)}"


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
    if state.started.workspace_name is not None:
        facts.append(("workspace", safe_text(state.started.workspace_name, 64)))
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
_MOST_NAMES = 8

_Facts = Iterator[tuple[str, str | Text]]


def print_run(
    console: Console,
    state: RunState,
    code: int | None,
    audit_log: Path | str,
    *,
    unfinished: bool = False,
    is_void: bool = False,
) -> None:
    """Print the end of a run, or the current stages of its targets.

    Args:
        console: the console to print on.
        state: the replayed state of the run's log.
        code: the exit code; None while a process carries the run out.
        audit_log: the path of the log.
        unfinished: whether to show the run as unfinished and resumable.
        is_void: whether its fleet run ended before the first request, so that the run can't be resumed.
    """
    is_open = code is None or unfinished
    counts = {stage: n for stage, n in state.stages.items() if n} if is_open else state.counts_so_far
    run_id = safe_text(state.run_id)
    if is_void:
        meaning = "nothing was sent: the fleet run ended before its plan"
    elif is_open:
        meaning = (code is None and describe_wait(state)) or meaning_of_run(state, running=code is None)
    else:
        meaning = f"{describe_end(state, code or 0)} (exit {code})"
    if state.drifted_targets:
        undone = "run to undo" if state.started.restores is not None else "runs to wake from"
        source = undone if state.started.undoes_stops else "plan file"
        meaning += f"; skipped {len(state.drifted_targets)} of the {source}: changed since"
    head = Text.assemble(("Run ", "dim"), (run_id, "bold"), f"  {meaning}")
    print_lines(console, prose_lines(console, head))
    tally = Text("  ").join(Text(f"{number} {outcome}", STYLES.get(outcome, "")) for outcome, number in counts.items())
    console.print(tally if counts else Text("nothing to do: no targets"))
    troubled = [
        target
        for target in state.targets.values()
        if target.taken_up_by is None and (target.outcome if is_open else target.outcome_so_far) in TROUBLE
    ]
    if troubled:
        console.print()
        _print_troubles(console, troubled[:_MOST_ROWS])
        if len(troubled) > _MOST_ROWS:
            rest = len(troubled) - _MOST_ROWS
            print_lines(console, [Text(f"and {rest} more: orchestrator show {run_id} --json")])
    if not is_open:
        _not_sent(console, state)
    console.print()
    print_lines(console, fact_lines(console, _list_facts(state, code, audit_log, is_void=is_void)))


def _list_facts(state: RunState, code: int | None, audit_log: Path | str, *, is_void: bool) -> _Facts:
    run_id = safe_text(state.run_id)
    slowest = max((target.seconds for target in state.targets.values() if target.seconds is not None), default=None)
    if slowest is not None:
        yield "slowest", f"{format_duration(slowest)} from first request to end"
    yield from _describe_start(state)
    if state.started.narrowed:
        yield "narrowed", Text(safe_text(describe_narrowing(state.started.narrowed), _WIDTH))
    yield from _follow_ups(state)
    if state.finished is not None:
        yield from _describe_finish(state, state.finished)
    money = state.money
    if money["triggered"] or "starts" in money:
        yield "billing", describe_money(money)
    for line in answer_lines(state, going_on=code is None):
        yield "answer", Text(line)
    if state.drifted_targets:
        changed = ", ".join(safe_text(each["cvm"]["name"], 64) for each in state.drifted_targets[:_MOST_ROWS])
        more = f" and {len(state.drifted_targets) - _MOST_ROWS} more" if len(state.drifted_targets) > _MOST_ROWS else ""
        yield "changed", Text(changed + more)
    yield from _left_alone(state)
    yield "audit log", Text(safe_text(audit_log, 4096), no_wrap=True)
    yield "verify", Text(f"orchestrator audit verify {run_id}", no_wrap=True)
    if is_void:
        yield "abandon", Text(abandon_command(state.resume_id), "bold", no_wrap=True)
    elif state.finished is None and code is not None and not state.cloud_ended:
        yield "resume", Text(f"orchestrator resume {safe_text(state.resume_id)}", "bold", no_wrap=True)


def _left_alone(state: RunState) -> _Facts:
    """Name the selected CVMs skipped because of an unknown fact."""
    left = state.left_alone
    if left:
        listed = join_names(safe_text(each["cvm"]["name"], 64) for each in left)
        yield "skipped", Text.assemble(listed, (f"  {safe_text(summary_of(left[0]), 300)}", "yellow"))


def _not_sent(console: Console, state: RunState) -> None:
    """Print the CVMs without a request, by reason."""
    groups: dict[str, list[str]] = {}
    for target in state.targets.values():
        if target.outcome_so_far is Outcome.NOT_SENT:
            reason = (target.reason or "") if state.finished is not None else ""
            groups.setdefault(reason, []).append(target.ref.name)
    for reason, found in groups.items():
        listed = ", ".join(safe_text(name, 64) for name in found[:_MOST_NAMES])
        rest = len(found) - _MOST_NAMES
        more = f" and {rest} more: see `orchestrator show {safe_text(state.run_id)} --json`" if rest > 0 else ""
        console.print()
        print_lines(console, prose_lines(console, Text.assemble(("not sent: ", STYLES["not_sent"]), listed, more)))
        if reason:
            console.print(Text(safe_text(reason, 300), "dim"))


def _describe_finish(state: RunState, end: RunFinished) -> _Facts:
    """Name the cause of an early end, the deadline, and the person behind an abandonment or a cancellation."""
    if end.cut_short_by is not None:
        yield "cut short", Text(ENDINGS.get(end.cut_short_by, safe_text(end.cut_short_by, 64)), "yellow")
    if end.deadline is not None:
        yield "deadline", _describe_deadline(state, end.deadline)
    if end.abandoned_by is not None:
        yield "abandoned", Text(f"by {safe_text(end.abandoned_by, 100)}: {safe_text(end.reason, 1000)}")
    if end.cancelled_by is not None:
        yield "cancelled", Text(f"by {safe_text(end.cancelled_by, 100)}")


def _describe_deadline(state: RunState, deadline: Json) -> Text:
    """Compare the last request with the deadline on record at the end of the run."""
    limit = format_duration(deadline["seconds"])
    if deadline["met"]:
        return Text.assemble(("met  ", "green"), f"{limit}{_last_request(state)}")
    late = f"{plural(deadline['late'], 'CVM')} without a request within {limit}"
    return Text.assemble(("NOT MET  ", "bold yellow"), late)


def _last_request(state: RunState) -> str:
    """Return the time from the start of the run to the first request of its last CVM."""
    sent = [target.first_sent_at for target in state.targets.values() if target.first_sent_at is not None]
    if not sent:
        return ""
    seconds = (max(map(parse_timestamp, sent)) - parse_timestamp(state.started.ts)).total_seconds()
    return f": last request sent after {format_duration(max(0.0, round(seconds, 1)))}"


def _describe_start(state: RunState) -> _Facts:
    """Name the workspace, the start of the run, its actor, its duration up to its end or interruption, its firing."""
    if state.started.workspace_name is not None:
        yield "workspace", Text(safe_text(state.started.workspace_name))
    if state.started.fleet is not None:
        yield "fleet run", Text(safe_text(state.started.fleet, 64))
    if state.started.actor is not None:
        yield "started", Text(f"{moment(state.started.ts)} by {safe_text(state.started.actor, 100)}")
    if state.ended_at is not None:
        took = parse_timestamp(state.ended_at) - parse_timestamp(state.started.ts)
        yield "took", format_duration(max(0.0, round(took.total_seconds(), 1)))
    trigger = state.started.trigger  # None for a run started by a person
    if trigger is not None:
        planned = f"{parse_timestamp(trigger['planned']):%Y-%m-%d %H:%MZ}"
        yield "trigger", Text(f"schedule {safe_text(trigger['schedule'])}, planned for {planned}")
    if state.started.break_freeze is not None:
        yield "despite freezes", Text(safe_text(state.started.break_freeze, _WIDTH))
    if state.started.ignore_keep is not None:
        yield "despite exemptions", Text(safe_text(state.started.ignore_keep, _WIDTH))
    if state.started.approval is not None:
        yield "approved by", Text(safe_text(describe_approval(state.started.approval), _WIDTH))


def _follow_ups(state: RunState) -> _Facts:
    """Count the CVMs still up after the first request, and describe the follow-up."""
    escalated = sum(target.escalated_at is not None for target in state.targets.values())
    if escalated:
        yield "escalated", f"{plural(escalated, 'CVM')} force-stopped: not shut down in time"
    for (step, by), count in Counter(
        (target.step, target.taken_up_by) for target in state.targets.values() if target.taken_up_by
    ).items():
        yield "follow-up", Text(f"{plural(count, 'CVM')} of step {safe_text(step)!r} in step {safe_text(by)!r}")


def _print_troubles(console: Console, targets: list[TargetState]) -> None:
    columns = [Column("CVM", wraps=True), Column("id", rank=1), Column("teepod", rank=2), Column("outcome")]
    rows: list[list[str | Text]] = []
    for target in targets:
        outcome = target.outcome_so_far.value
        ref = target.ref
        place = [safe_text(ref.name, 64), safe_text(ref.address, 64), safe_text(ref.teepod, 64)]
        rows.append([*place, Text(outcome, STYLES.get(outcome, "")), explain_target(target)])
    print_table(console, [*columns, Column("why", wraps=True)], rows)


def explain_target(target: TargetState) -> Text:
    """Explain the outcome of a target in the API's own words, with the id of the request."""
    unsettled = f"the run ended before the CVM was observed to settle; last status {safe_text(target.status)}"
    why = Text(safe_text(target.reason, 300) if target.reason else unsettled)
    if target.request_id:
        why.append(f"\nrequest {safe_text(target.request_id, 64)}", "dim")
    return why


def describe_money(money: Mapping[str, object]) -> Text:
    """Describe the effect of accepted actions on the bill, by the fields of `run_bill`."""
    text = Text()
    lines: list[tuple[Mapping[str, object], str, str]] = []
    if money["triggered"]:
        text.append(f"{plural(int(str(money['triggered'])), 'stop')} charged for open compute usage\n")
        lines = [(money, "compute_usd_per_hour", "ends"), (money, "storage_usd_per_hour", "still billed")]
    starts = money.get("starts")
    if isinstance(starts, Mapping):
        lines.append((starts, "compute_usd_per_hour", "begins"))
    for part, seen in ((money, "down"), (starts, "running")):
        pending = part.get("pending") if isinstance(part, Mapping) else None
        if isinstance(pending, Mapping):
            label = f"pending: {plural(pending['cvms'], 'CVM')} not seen {seen}"
            lines.append((pending, "compute_usd_per_hour", label))
    for part, key, label in lines:
        amount = part[key]
        if amount is None:
            text.append(f"{label}: unknown for some CVMs (see the audit log)\n")
        else:
            rate = Decimal(str(amount))
            kind = key.split("_")[0]
            text.append(f"{label}  {kind} ${rate:.4f}/h, ${rate * HOURS_PER_MONTH:,.2f} a month\n")
    text.rstrip()
    return text
