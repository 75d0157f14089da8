"""Follow the log of a run while another process writes: only new lines are read."""

import json
from datetime import datetime
from itertools import islice

from orchestrator.audit.events import RunInterrupted, RunPlanned, RunResumed, StepPlanned, TargetEvent, read_event
from orchestrator.audit.store import StoredRun
from orchestrator.report.full.timeline import Key, RunTimeline


class RunFollower:
    """The contents of a log so far.

    The hash chain is not checked: the report of an ended run checks the whole log.

    Attributes:
        run: the run.
        timeline: the records so far.
        seq: the number of the last record.
        changed: the number of the last record about each target.
        new_rows: the number of the last record with new targets, or with another end; 0 without.
        held_at: the last time with a process of the run; None without.
        shown_at: the last time of a change of the page; None before.
    """

    def __init__(self, run: StoredRun) -> None:
        self.run = run
        self.held_at: datetime | None = None
        self.shown_at: datetime | None = None
        self._forget()

    def _forget(self) -> None:
        self.timeline = RunTimeline()
        self.seq = self.new_rows = 0
        self.changed: dict[Key, int] = {}
        self._lines = 0
        self._stamp: str | None = None

    def read_new(self) -> bool:
        """Read the new lines; returns False for an unchanged log.

        Raises:
            OSError: when the log can't be read.
        """
        stamp = self.run.read_version().stamp
        if stamp == self._stamp:
            return False
        lines = islice(self.run.read_lines(), self._lines, None)
        for line in lines:
            if not line.endswith(b"\n"):  # still being written
                break
            self._lines += 1
            self._apply(line)
        self._stamp = stamp
        return True

    def _apply(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            event = read_event(record)
            self.timeline.apply_record(record)
            self.seq = record["seq"]
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            return  # a torn line, or a record of a later version
        if isinstance(event, TargetEvent):
            self.changed[event.key] = self.seq
        elif isinstance(event, RunPlanned | StepPlanned | RunInterrupted | RunResumed):
            self.new_rows = self.seq
