"""The story of a run as a whole: its start, its plan, its problems, its answers, and its end.

The normal course is a single sentence for every step; `CvmStory` has the details.
"""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from orchestrator.audit.events import Event
from orchestrator.audit.record import Record
from orchestrator.duration import format_duration
from orchestrator.playbook.plan_warning import warning_document
from orchestrator.plural import plural
from orchestrator.report.audit.phrases import sentence
from orchestrator.report.audit.story import Line, of_cvm, seconds_between
from orchestrator.report.audit.terms import usd, verb
from orchestrator.safe_text import safe_text
from orchestrator.skip_reason import summary_of

_TELLS_STEPS = frozenset({Event.RUN_INTERRUPTED, Event.RUN_FINISHED})
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

    action: str
    first: Record
    last: Record
    tally: Counter[str] = field(default_factory=Counter)

    def line(self, name: str) -> Line:
        parts = [plural(self.tally[Event.ACTION_INTENT], "request")]
        parts += [f"{self.tally[event]} {word}" for event, word in _WORDS if self.tally[event]]
        took = seconds_between(self.first["ts"], self.last["ts"])
        within = f", within {format_duration(took)}" if took is not None and took >= 0 else ""
        text = f"step {safe_text(name, 80)} (to {verb(self.action)}): {', '.join(parts)}{within}"
        return Line(self.first["ts"], text, "step", (self.first["seq"], self.last["seq"]))


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
        self._asked_about_charges: Record | None = None

    def hear(self, record: Record) -> None:
        """Add the next record of the log."""
        event = record["event"]
        self.start = self.start or record["ts"]
        cvm = of_cvm(record)
        if event == Event.BILLING_RECONCILED:
            self._add_charge(record)
        elif cvm:
            self._add_target_event(event, record)
        else:
            if event in _TELLS_STEPS:
                self._tell_steps()
            self._add_line(record, sentence(record))
            if event == Event.RUN_PLANNED:
                self._tell_plan(record)

    def lines(self) -> list[Line]:
        """Return the story so far, in the order of time. A step stands at its begin."""
        steps = [step.line(name) for name, step in self._steps.items()]
        return sorted([*self._lines, *steps, *self._charges_line()], key=lambda line: line.ts)

    def _add_line(self, record: Record, text: str, cvm: str | None = None) -> None:
        self._lines.append(Line(record["ts"], text, record["event"], (record["seq"],), cvm))

    def _add_target_event(self, event: str, record: Record) -> None:
        step = self._steps.setdefault(str(record.get("step")), _Step(str(record.get("action")), record, record))
        step.tally[event] += 1
        step.last = record
        if event in _TALLIED:
            return
        if self._limit is not None and self._kept >= self._limit:
            self.left_out += 1
            return
        self._kept += 1
        name = safe_text(of_cvm(record).get("name"), 64)
        self._add_line(record, f"{name}: {sentence(record)}", name)

    def _tell_steps(self) -> None:
        self._lines += [step.line(name) for name, step in self._steps.items()]
        self._steps.clear()

    def _tell_plan(self, record: Record) -> None:
        for guard in record.get("guards") or ():
            limit = guard.get("limit")
            most = "" if limit is None else f", at most {safe_text(limit, 40)}"
            held = "" if guard.get("ok") else ": REFUSED"
            self._add_line(
                record, f"guard {safe_text(guard.get('name'), 80)}: {safe_text(guard.get('value'), 40)}{most}{held}"
            )
        deadline = record.get("deadline")
        if isinstance(deadline, dict):
            held = "" if deadline.get("ok") else f", too late for {safe_text(deadline.get('late'), 40)} CVMs: REFUSED"
            limit, estimate = safe_text(deadline.get("seconds"), 40), safe_text(deadline.get("estimate_seconds"), 40)
            self._add_line(record, f"deadline: {limit} s, {estimate} s estimated{held}")
        reasons = Counter(summary_of(entry) for entry in record.get("skipped") or ())
        for reason, number in reasons.most_common(_MOST_REASONS):
            self._add_line(record, f"skipped {number}: {safe_text(reason, 200)}")
        if len(reasons) > _MOST_REASONS:
            rest = reasons.total() - sum(number for _, number in reasons.most_common(_MOST_REASONS))
            self._add_line(record, f"skipped {rest}: other reasons")
        for warning in record.get("warnings") or ():
            self._add_line(record, f"warning: {safe_text(warning_document(warning)['message'], 400)}")

    def _add_charge(self, record: Record) -> None:
        charged = record.get("charged")
        try:
            amount = Decimal(charged["usd"]) if isinstance(charged, dict) and charged.get("usd") is not None else None
        except InvalidOperation:
            amount = None
        cvm = of_cvm(record)
        self._charges[str(record.get("step")), str(cvm.get("id") or cvm.get("vm_uuid"))] = (
            str(record.get("state")),
            amount,
        )
        self._asked_about_charges = record

    def _charges_line(self) -> list[Line]:
        last = self._asked_about_charges
        if last is None:
            return []
        states = Counter(state for state, _ in self._charges.values())
        total = sum((amount for _, amount in self._charges.values() if amount is not None), Decimal(0))
        told = ", ".join(f"{number} {safe_text(state, 40)}" for state, number in states.items())
        return [Line(last["ts"], f"billing reconciled: {told}; {usd(total)} in all", last["event"], (last["seq"],))]
