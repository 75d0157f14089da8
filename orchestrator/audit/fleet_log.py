"""The log of a fleet run: its events, and the fold of the events into a state.

A fleet run is one run for each workspace. Every run has its own log with its requests. The fleet log says which runs
belong together, and how each run ended: `fleet.finished` has the hash of the last `run.finished` of every run. The log
has the form and the hash chain of a run's log; `run_id` is the id of the fleet run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.audit.events import Json, LogEvent, Optional, RecordView, Required
from orchestrator.audit.record import Record

RUNS_LEFT = "runs_left"
"""Reason of `fleet.interrupted` if the unfinished runs did not continue."""


class FleetEvent(StrEnum):
    """Events of a fleet log."""

    FLEET_STARTED = "fleet.started"
    """The fleet run began: the actor, the playbook, the workspaces."""
    FLEET_PLANNED = "fleet.planned"
    """Every workspace has a run with a plan; durable before the first request of any run."""
    FLEET_INTERRUPTED = "fleet.interrupted"
    """The fleet run ended, and some of its runs can be resumed."""
    FLEET_RESUMED = "fleet.resumed"
    """The fleet run continues."""
    FLEET_FINISHED = "fleet.finished"
    """Every run is finished; the last record."""


class FleetStarted(LogEvent):
    """`fleet.started`. A view of an empty record stands for a log without this record.

    Attributes:
        actor: user@host.
        version: version of this program.
        vars: variables of the playbook.
        first: name of the canary workspace; None without a canary.
        max_failures: number or percentage of all targets, as in a playbook; None without a limit.
        trigger: schedule and planned time of a scheduled fleet run.
        restores: the fleet run to undo.
    """

    __slots__ = ()
    actor, version, first, restores = Optional[str](), Optional[str](), Optional[str](), Optional[str]()
    max_failures = Optional[str]()
    vars, trigger = Optional[Json](), Optional[Json]()

    @property
    def playbook(self) -> Json:
        """`name`, `path` and `sha256` of the playbook; empty if unknown."""
        return self.record.get("playbook") or {}

    @property
    def workspaces(self) -> list[str]:
        """Names of all workspaces of the order, without the unreachable workspaces left out."""
        return self.record.get("workspaces") or []

    @property
    def left_out(self) -> list[Json]:
        """The unreachable workspaces left out on request, with `workspace` and `reason`."""
        return self.record.get("left_out") or []


class FleetRun(RecordView):
    """Entry of `runs` in `fleet.planned`.

    Attributes:
        workspace: name of the workspace.
        run_id: the run.
        targets: number of targets of the plan.
    """

    __slots__ = ()
    workspace, run_id = Required[str](), Required[str]()
    targets = Required[int]()


class FleetPlanned(LogEvent):
    """`fleet.planned`. A view of an empty record stands for a log without this record."""

    __slots__ = ()

    @property
    def runs(self) -> Iterator[FleetRun]:
        """The run of every workspace."""
        return map(FleetRun, self.record.get("runs") or ())

    @property
    def guards(self) -> list[Record]:
        """Checked guards of the total, with `name`, `limit`, `value` and `ok`."""
        return self.record.get("guards") or []

    @property
    def targets(self) -> int:
        """Number of targets of all runs."""
        return sum(run.targets for run in self.runs)


class FleetInterrupted(LogEvent):
    """`fleet.interrupted`.

    Attributes:
        reason: an `Ending`, the most important one of the unfinished runs; otherwise `RUNS_LEFT`.
        exit_code: exit code of the command.
    """

    __slots__ = ()
    reason = Required[str]()
    exit_code = Optional[int]()

    @property
    def unbegun(self) -> list[Json]:
        """The planned runs without a log: they ended before their first record."""
        return self.record.get("unbegun") or []


class FleetResumed(LogEvent):
    """`fleet.resumed`."""

    __slots__ = ()

    @property
    def left_out(self) -> list[Json]:
        """The unreachable workspaces left out of this resume, with `workspace` and `reason`."""
        return self.record.get("left_out") or []


class FinishedRun(RecordView):
    """Entry of `runs` in `fleet.finished`.

    Attributes:
        workspace: name of the workspace.
        run_id: the run.
        ending: an `Ending`.
        exit_code: exit code of the run.
        hash: hash of the run's `run.finished` record.
    """

    __slots__ = ()
    workspace, run_id, hash = Required[str](), Required[str](), Required[str]()
    ending = Optional[str]()
    exit_code = Required[int]()


class FleetFinished(LogEvent):
    """`fleet.finished`.

    Attributes:
        exit_code: exit code of the command.
        ending: an `Ending`, the most important one of the runs.
    """

    __slots__ = ()
    exit_code = Required[int]()
    ending = Optional[str]()

    @property
    def counts(self) -> Json:
        """Number of targets of all runs by outcome."""
        return self.record.get("counts") or {}

    @property
    def runs(self) -> Iterator[FinishedRun]:
        """The end of every run."""
        return map(FinishedRun, self.record.get("runs") or ())

    @property
    def unbegun(self) -> list[Json]:
        """The planned runs without a log, with `workspace`, `run_id` and `reason`."""
        return self.record.get("unbegun") or []


_TYPES: Mapping[str, type[LogEvent]] = {
    FleetEvent.FLEET_STARTED: FleetStarted,
    FleetEvent.FLEET_PLANNED: FleetPlanned,
    FleetEvent.FLEET_INTERRUPTED: FleetInterrupted,
    FleetEvent.FLEET_RESUMED: FleetResumed,
    FleetEvent.FLEET_FINISHED: FleetFinished,
}


def read_fleet_event(record: Record) -> LogEvent:
    """View a record of a fleet log as its event; a record of a later version has only the fields of every record."""
    return _TYPES.get(record["event"], LogEvent)(record)


@dataclass(slots=True)
class FleetState:
    """State of a fleet run according to its log.

    Attributes:
        fleet_id: the fleet run.
        started: the start; a view of an empty record if the log has no start.
        planned: the runs; a view of an empty record if the log has no plan, so that nothing was sent.
        interrupted: the last interruption, unless the fleet run was resumed since.
        left_out: the workspaces left out of the order and of the last resume, and those of planned runs without a log.
        unbegun: ids of the planned runs that ended without a log.
        was_resumed: whether the fleet run was resumed or abandoned.
        finished: the end of the fleet run.
        last_ts: timestamp of the last record.
    """

    fleet_id: str = ""
    started: FleetStarted = field(default_factory=lambda: FleetStarted({}))
    planned: FleetPlanned = field(default_factory=lambda: FleetPlanned({}))
    interrupted: FleetInterrupted | None = None
    left_out: list[Json] = field(default_factory=list)
    unbegun: set[str] = field(default_factory=set)
    was_resumed: bool = False
    finished: FleetFinished | None = None
    last_ts: str = ""

    @property
    def has_plan(self) -> bool:
        """True if the log names its runs; without this record, nothing was sent."""
        return bool(self.planned.record)

    @property
    def runs(self) -> tuple[FleetRun, ...]:
        """The run of every workspace with a log; without a plan, the runs abandoned since, if any."""
        if self.has_plan or self.finished is None:
            return tuple(run for run in self.planned.runs if run.run_id not in self.unbegun)
        return tuple(FleetRun(run.record) for run in self.finished.runs)

    @property
    def ended_at(self) -> str | None:
        """Timestamp of the end, or of the last interruption; None for any other fleet run."""
        end = self.finished or self.interrupted
        return None if end is None else end.ts

    def apply_record(self, record: Record) -> None:
        """Apply the next record to the state; a record of a later version changes nothing."""
        event = read_fleet_event(record)
        self.last_ts = event.ts
        match event:
            case FleetStarted():
                self.fleet_id, self.started, self.left_out = event.run_id, event, event.left_out
            case FleetPlanned():
                self.planned = event
            case FleetInterrupted():
                self.interrupted = event
                self._leave_out(event.unbegun)
            case FleetResumed():
                self.interrupted, self.was_resumed = None, True
                self.left_out = [*self.started.left_out, *event.left_out]
            case FleetFinished():
                self.finished = event
                self._leave_out(event.unbegun)

    def _leave_out(self, unbegun: list[Json]) -> None:
        new = [each for each in unbegun if each["run_id"] not in self.unbegun]
        self.left_out = [*self.left_out, *({"workspace": each["workspace"], "reason": each["reason"]} for each in new)]
        self.unbegun.update(each["run_id"] for each in new)
