"""An audit log as a story: of a run as a whole, or of a single CVM from its plan to its outcome.

Both are built record by record while the log is read, and keep little: a log may be larger than memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.audit.events import (
    ANSWERED,
    ActionAccepted,
    ActionIntent,
    Event,
    LogEvent,
    PlannedTarget,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunResumed,
    StepPlanned,
    TargetEnded,
    TargetEvent,
)
from orchestrator.audit.record import Record
from orchestrator.cvm import normal_uuid
from orchestrator.report.audit.phrases import describe_event, describe_intent
from orchestrator.report.audit.terms import describe_bill, verb
from orchestrator.report.audit.tolerance import (
    as_list,
    as_mapping,
    cvm_of,
    list_targets,
    read_tolerantly,
    view_target_event,
)
from orchestrator.text import safe_text
from orchestrator.times import parse_timestamp

_GOOD = frozenset({Event.ACTION_ACCEPTED, Event.TARGET_SETTLED, Event.RUN_FINISHED, Event.RUN_SEALED})
_BAD = frozenset({Event.ACTION_REFUSED, Event.ACTION_FAILED, Event.TARGET_FAILED})
_DOUBTFUL = frozenset({Event.ACTION_UNKNOWN, Event.ACTION_DEFERRED, Event.ACTION_ESCALATED, Event.RUN_INTERRUPTED})


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence of a story.

    Attributes:
        ts: the timestamp in the log.
        text: the sentence, safe to show.
        event: the event name of the record.
        seq: the numbers of the records behind the sentence.
        cvm: the name of the CVM, for a sentence about a CVM; safe to show.
    """

    ts: str
    text: str
    event: str
    seq: tuple[int, ...]
    cvm: str | None = None

    @property
    def tone(self) -> str:
        """Return `good`, `bad`, `doubtful` or `plain`."""
        for tone, events in (("good", _GOOD), ("bad", _BAD), ("doubtful", _DOUBTFUL)):
            if self.event in events:
                return tone
        return "plain"

    def document(self, start: str) -> dict[str, object]:
        """Build the entry of `audit show --json`.

        Args:
            start: the timestamp of the run's first record.
        """
        return {
            "ts": self.ts,
            "seconds": seconds_between(start, self.ts),
            "event": self.event,
            "cvm": self.cvm,
            "text": self.text,
            "seq": list(self.seq),
        }


def seconds_between(start: str, ts: str) -> float | None:
    """Return the seconds from the start to a timestamp; None for an invalid timestamp."""
    try:
        return round((parse_timestamp(ts) - parse_timestamp(start)).total_seconds(), 6)
    except ValueError:
        return None


@dataclass(slots=True)
class Chapter:
    """The events of a CVM in a step.

    Attributes:
        step: the step's name; None for a skipped CVM.
        action: the planned action.
        cvm: the CVM, as recorded in the log.
        lines: the story.
        outcome: the outcome; None before the end.
    """

    step: str | None
    action: str | None
    cvm: Mapping[str, Any]
    lines: list[Line] = field(default_factory=list)
    outcome: str | None = None
    _intent: ActionIntent | None = None

    def add_event(self, event: TargetEvent) -> None:
        """Add the next event of the CVM. An announcement waits for its answer and shares its sentence."""
        intent = self._intent
        if isinstance(event, ActionIntent):
            self.finish_request()
            self._intent = event
            return
        is_observed = isinstance(event, ActionAccepted) and event.observed
        if intent is not None and event.name in ANSWERED and not is_observed:
            self._intent = None
            text = f"{describe_intent(intent)}, {describe_event(event)}"
            self.lines.append(Line(intent.ts, text, event.name, (intent.seq, event.seq)))
            return
        self.finish_request()
        self.lines.append(_line_of(event, describe_event(event)))
        if isinstance(event, TargetEnded):
            self.outcome = str(event.outcome)

    def add_run_event(self, event: LogEvent) -> None:
        """Add an event of the run."""
        self.finish_request()
        self.lines.append(_line_of(event, f"the run: {describe_event(event)}"))

    def finish_request(self) -> None:
        """Add a sentence for an announcement without an answer."""
        if self._intent is not None:
            self.lines.append(_line_of(self._intent, f"{describe_intent(self._intent)}; no answer in the log"))
            self._intent = None


def _line_of(event: LogEvent, text: str) -> Line:
    return Line(event.ts, text, event.name, (event.seq,))


class CvmStory:
    """The story of all CVMs with a given name, id or UUID.

    Attributes:
        chapters: a chapter for every CVM and step, in the order of the plan.
        start: the timestamp of the first record.
        names: the names of all CVMs of the plan, as a hint after a mistyped name.
    """

    def __init__(self, wanted: str) -> None:
        self.chapters: list[Chapter] = []
        self.start = ""
        self.names: set[str] = set()
        self._wanted = wanted
        self._uuid = normal_uuid(wanted)
        self._in_waves: set[str] = set()
        self._by_key: dict[tuple[str, str], Chapter] = {}

    def apply_record(self, record: Record) -> None:
        """Add the next record of the log."""
        event = read_tolerantly(record)
        self.start = self.start or event.ts
        match event:
            case RunPlanned() | StepPlanned():
                self._add_plan(event)
            case RunInterrupted() | RunResumed() | RunFinished():
                for chapter in self._by_key.values():
                    if chapter.outcome is None or isinstance(event, RunFinished):
                        chapter.add_run_event(event)
            case _:
                target_event = view_target_event(event)
                if target_event is not None and self._is_meant(cvm_of(target_event)):
                    self._find_chapter(target_event).add_event(target_event)

    def _is_meant(self, cvm: Mapping[str, Any]) -> bool:
        uuid = cvm.get("vm_uuid")
        return self._wanted in (cvm.get("name"), cvm.get("id")) or (
            bool(self._uuid) and isinstance(uuid, str) and normal_uuid(uuid) == self._uuid
        )

    def _add_plan(self, event: RunPlanned | StepPlanned) -> None:
        if isinstance(event, RunPlanned):
            steps = map(as_mapping, as_list(event.steps))
            self._in_waves |= {str(step.get("name")) for step in steps if step.get("waves")}
        for target in list_targets(event):
            if self._notice_cvm(cvm_of(target)):
                self._find_chapter(target).lines.append(_line_of(event, self._describe_target(target)))
        if isinstance(event, RunPlanned):
            for entry in map(as_mapping, as_list(event.skipped)):
                cvm = as_mapping(entry.get("cvm"))
                if self._notice_cvm(cvm):
                    reason, status = safe_text(entry.get("reason"), 400), safe_text(entry.get("status"), 40)
                    line = _line_of(event, f"skipped: {reason}; it was {status}")
                    self.chapters.append(Chapter(None, None, cvm, [line]))

    def _notice_cvm(self, cvm: Mapping[str, Any]) -> bool:
        """Keep the name of a CVM of the plan; True for a CVM of this story."""
        self.names.add(str(cvm.get("name")))
        return self._is_meant(cvm)

    def _describe_target(self, target: PlannedTarget) -> str:
        has_waves = str(target.step) in self._in_waves and isinstance(target.wave, int)
        wave = f", in wave {target.wave}" if has_waves else ""
        money = describe_bill(as_mapping(target.billing))
        text = f"planned to {verb(target.action)} in step {safe_text(target.step, 80)}{wave}"
        return f"{text}; it was {safe_text(target.status, 40)}{f'; {money}' if money else ''}"

    def _find_chapter(self, target: PlannedTarget | TargetEvent) -> Chapter:
        cvm = cvm_of(target)
        key = (str(target.step), str(cvm.get("id") or normal_uuid(str(cvm.get("vm_uuid") or ""))))
        if key not in self._by_key:
            self._by_key[key] = Chapter(target.step, target.action, cvm)
            self.chapters.append(self._by_key[key])
        return self._by_key[key]

    def finish(self) -> None:
        """Add the remaining sentences at the end of the log."""
        for chapter in self.chapters:
            chapter.finish_request()
