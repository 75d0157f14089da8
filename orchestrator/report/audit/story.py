"""An audit log as a story: of a run as a whole, or of a single CVM from its plan to its outcome.

Both are built record by record while the log is read, and keep little: a log may be larger than memory.
"""

from dataclasses import dataclass, field
from typing import Any

from orchestrator.audit.events import ANSWERED, ENDED, Event
from orchestrator.audit.record import Record
from orchestrator.cvm import normal_uuid
from orchestrator.moment import parse_timestamp
from orchestrator.report.audit.phrases import asked, sentence
from orchestrator.report.audit.terms import bill, verb
from orchestrator.safe_text import safe_text

_GOOD = frozenset({Event.ACTION_ACCEPTED, Event.TARGET_SETTLED, Event.RUN_FINISHED, Event.RUN_SEALED})
_BAD = frozenset({Event.ACTION_REFUSED, Event.ACTION_FAILED, Event.TARGET_FAILED})
_DOUBTFUL = frozenset({Event.ACTION_UNKNOWN, Event.ACTION_DEFERRED, Event.ACTION_ESCALATED, Event.RUN_INTERRUPTED})
_OF_THE_RUN = frozenset({Event.RUN_INTERRUPTED, Event.RUN_RESUMED, Event.RUN_FINISHED})


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


def of_cvm(record: Record) -> dict[str, Any]:
    """Return the CVM of a record; empty for a record without a CVM."""
    cvm = record.get("cvm")
    return cvm if isinstance(cvm, dict) else {}


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
    cvm: dict[str, Any]
    lines: list[Line] = field(default_factory=list)
    outcome: str | None = None
    _asked: Record | None = None

    def hear(self, record: Record) -> None:
        """Add the next record about the CVM. An announcement waits for its answer and shares its sentence."""
        event, pending = record["event"], self._asked
        if event == Event.ACTION_INTENT:
            self.conclude()
            self._asked = record
            return
        if pending is not None and event in ANSWERED and not record.get("observed"):
            self._asked = None
            text = f"{asked(pending)}, {sentence(record)}"
            self.lines.append(Line(pending["ts"], text, event, (pending["seq"], record["seq"])))
            return
        self.conclude()
        self.lines.append(Line(record["ts"], sentence(record), event, (record["seq"],)))
        if event in ENDED:
            self.outcome = str(record.get("outcome"))

    def conclude(self) -> None:
        """Add a sentence for an announcement without an answer."""
        if self._asked is not None:
            text = f"{asked(self._asked)}; no answer in the log"
            self.lines.append(Line(self._asked["ts"], text, Event.ACTION_INTENT, (self._asked["seq"],)))
            self._asked = None


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
        self._in_waves: set[object] = set()
        self._by_key: dict[tuple[object, object], Chapter] = {}

    def hear(self, record: Record) -> None:
        """Add the next record of the log."""
        event = record["event"]
        self.start = self.start or record["ts"]
        if event in {Event.RUN_PLANNED, Event.STEP_PLANNED}:
            self._add_plan(record)
        elif event in _OF_THE_RUN:
            for chapter in self._by_key.values():
                if chapter.outcome is None or event == Event.RUN_FINISHED:
                    chapter.conclude()
                    chapter.lines.append(Line(record["ts"], f"the run: {sentence(record)}", event, (record["seq"],)))
        elif self._is_meant(cvm := of_cvm(record)):
            self._find_chapter(record, cvm).hear(record)

    def _is_meant(self, cvm: dict[str, Any]) -> bool:
        if not cvm:
            return False
        uuid = cvm.get("vm_uuid")
        return self._wanted in (cvm.get("name"), cvm.get("id")) or (
            bool(self._uuid) and isinstance(uuid, str) and normal_uuid(uuid) == self._uuid
        )

    def _add_plan(self, record: Record) -> None:
        self._in_waves |= {step.get("name") for step in record.get("steps", ()) if step.get("waves")}
        for target in record.get("targets", ()):
            cvm = of_cvm(target)
            self.names.add(str(cvm.get("name")))
            if self._is_meant(cvm):
                waves = target.get("step") in self._in_waves and isinstance(target.get("wave"), int)
                wave = f", in wave {target['wave']}" if waves else ""
                money = bill(target.get("billing") or {})
                text = f"planned to {verb(target.get('action'))} in step {safe_text(target.get('step'), 80)}{wave}"
                text += f"; it was {safe_text(target.get('status'), 40)}{f'; {money}' if money else ''}"
                chapter = self._find_chapter(target, cvm)
                chapter.lines.append(Line(record["ts"], text, record["event"], (record["seq"],)))
        for entry in record.get("skipped", ()):
            cvm = of_cvm(entry)
            self.names.add(str(cvm.get("name")))
            if self._is_meant(cvm):
                text = f"skipped: {safe_text(entry.get('reason'), 400)}; it was {safe_text(entry.get('status'), 40)}"
                line = Line(record["ts"], text, record["event"], (record["seq"],))
                self.chapters.append(Chapter(None, None, cvm, [line]))

    def _find_chapter(self, about: Record, cvm: dict[str, Any]) -> Chapter:
        key = (about.get("step"), cvm.get("id") or normal_uuid(str(cvm.get("vm_uuid") or "")))
        if key not in self._by_key:
            chapter = Chapter(about.get("step"), about.get("action"), cvm)
            self._by_key[key] = chapter
            self.chapters.append(chapter)
        return self._by_key[key]

    def conclude(self) -> None:
        """Add the remaining sentences at the end of the log."""
        for chapter in self.chapters:
            chapter.conclude()
