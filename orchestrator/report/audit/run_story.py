"""The story of a run as a whole: its start, its plan, its problems, its answers, and its end.

The normal course is a single sentence for every step; `CvmStory` has the details.
"""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from orchestrator.audit.events import (
    BillingReconciled,
    Event,
    LogEvent,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    TargetEvent,
)
from orchestrator.audit.record import Record
from orchestrator.outcome import summary_of
from orchestrator.playbook.plan_warning import warning_document
from orchestrator.report.audit.phrases import describe_event
from orchestrator.report.audit.story import Line, seconds_between
from orchestrator.report.audit.terms import format_usd, verb
from orchestrator.report.audit.tolerance import as_list, as_mapping, cvm_of, read_tolerantly, view_target_event
from orchestrator.text import plural, safe_text
from orchestrator.times import format_duration

_TALLIED = frozenset(
    {Event.ACTION_DEFERRED, Event.TARGET_STATUS, Event.TARGET_SETTLED, Event.ACTION_ACCEPTED, Event.ACTION_INTENT}
)
_MOST_REASONS = 8


_WORDS = (
    (Event.ACTION_ACCEPTED, "accepted"),
    (Event.ACTION_DEFERRED, "deferred"),
    (Event.TARGET_SETTLED, "settled or gone"),
    (Event.TARGET_FAILED, "ended otherwise"),
)


@dataclass(slots=True)
class _Step:
    """The events of a step since the last sentence about the step."""

    first: TargetEvent
    last: TargetEvent
    tally: Counter[str] = field(default_factory=Counter)

    def line(self, name: str) -> Line:
        parts = [plural(self.tally[Event.ACTION_INTENT], "request")]
        parts += [f"{self.tally[event]} {word}" for event, word in _WORDS if self.tally[event]]
        took = seconds_between(self.first.ts, self.last.ts)
        within = f", within {format_duration(took)}" if took is not None and took >= 0 else ""
        text = f"step {safe_text(name, 80)} (to {verb(self.first.action)}): {', '.join(parts)}{within}"
        return Line(self.first.ts, text, "step", (self.first.seq, self.last.seq))


class RunStory:
    """The story of a run.

    Attributes:
        start: the timestamp of the first record.
        left_out: the number of left out sentences about problems of single CVMs.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.start = ""
        self.left_out = 0
        self._limit = limit
        self._kept = 0
        self._lines: list[Line] = []
        self._steps: dict[str, _Step] = {}
        self._charges: dict[tuple[str, str], tuple[str, Decimal | None]] = {}
        self._last_charge: BillingReconciled | None = None

    def apply_record(self, record: Record) -> None:
        """Add the next record of the log."""
        event = read_tolerantly(record)
        self.start = self.start or event.ts
        if isinstance(event, BillingReconciled):
            self._add_charge(event)
        elif (target_event := view_target_event(event)) is not None:
            self._add_target_event(target_event)
        else:
            if isinstance(event, RunInterrupted | RunFinished):
                self._finish_steps()
            self._add_line(event, describe_event(event))
            if isinstance(event, RunPlanned):
                self._add_plan(event)

    def lines(self) -> list[Line]:
        """Return the sentences so far, in the order of time. A step has the time of its begin."""
        steps = [step.line(name) for name, step in self._steps.items()]
        return sorted([*self._lines, *steps, *self._charges_line()], key=lambda line: line.ts)

    def _add_line(self, event: LogEvent, text: str, cvm: str | None = None) -> None:
        self._lines.append(Line(event.ts, text, event.name, (event.seq,), cvm))

    def _add_target_event(self, event: TargetEvent) -> None:
        step = self._steps.setdefault(str(event.step), _Step(event, event))
        step.tally[event.name] += 1
        step.last = event
        if event.name in _TALLIED:
            return
        if self._limit is not None and self._kept >= self._limit:
            self.left_out += 1
            return
        self._kept += 1
        name = safe_text(cvm_of(event).get("name"), 64)
        self._add_line(event, f"{name}: {describe_event(event)}", name)

    def _finish_steps(self) -> None:
        self._lines += [step.line(name) for name, step in self._steps.items()]
        self._steps.clear()

    def _add_plan(self, event: RunPlanned) -> None:
        for guard in map(as_mapping, as_list(event.guards)):
            limit = guard.get("limit")
            most = "" if limit is None else f", at most {safe_text(limit, 40)}"
            held = "" if guard.get("ok") else ": REFUSED"
            name, value = safe_text(guard.get("name"), 80), safe_text(guard.get("value"), 40)
            self._add_line(event, f"guard {name}: {value}{most}{held}")
        deadline = as_mapping(event.deadline)
        if deadline:
            held = "" if deadline.get("ok") else f", too late for {safe_text(deadline.get('late'), 40)} CVMs: REFUSED"
            limit, estimate = safe_text(deadline.get("seconds"), 40), safe_text(deadline.get("estimate_seconds"), 40)
            self._add_line(event, f"deadline: {limit} s, {estimate} s estimated{held}")
        reasons = Counter(summary_of(as_mapping(entry)) for entry in as_list(event.skipped))
        for reason, number in reasons.most_common(_MOST_REASONS):
            self._add_line(event, f"skipped {number}: {safe_text(reason, 200)}")
        if len(reasons) > _MOST_REASONS:
            rest = reasons.total() - sum(number for _, number in reasons.most_common(_MOST_REASONS))
            self._add_line(event, f"skipped {rest}: other reasons")
        for warning in as_list(event.warnings):
            self._add_line(event, f"warning: {safe_text(warning_document(warning)['message'], 400)}")

    def _add_charge(self, event: BillingReconciled) -> None:
        usd = as_mapping(event.charged).get("usd")
        try:
            amount = None if usd is None else Decimal(str(usd))
        except InvalidOperation:
            amount = None
        cvm = cvm_of(event)
        self._charges[str(event.step), str(cvm.get("id") or cvm.get("vm_uuid"))] = str(event.state), amount
        self._last_charge = event

    def _charges_line(self) -> list[Line]:
        last = self._last_charge
        if last is None:
            return []
        states = Counter(state for state, _ in self._charges.values())
        total = sum((amount for _, amount in self._charges.values() if amount is not None), Decimal(0))
        charges = ", ".join(f"{number} {safe_text(state, 40)}" for state, number in states.items())
        return [Line(last.ts, f"billing reconciled: {charges}; {format_usd(total)} in all", last.name, (last.seq,))]
