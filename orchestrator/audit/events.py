"""The events of an audit log: the name and the type of each event.

The names and the fields are a contract with the readers of logs. The types are for readers within this program: a type
is a view of a record, so a fold decodes only the fields in use. Fields unknown to this version stay in `record`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from orchestrator.audit.record import Record
from orchestrator.cvm import CvmRef, normal_uuid

Json: TypeAlias = Mapping[str, Any]
T = TypeVar("T")


class Event(StrEnum):
    """Name of an event, in the `event` field of a record."""

    RUN_STARTED = "run.started"
    """A run began: its playbook, actor and limits. The first record of a log."""
    RUN_PLANNED = "run.planned"
    """The exact plan: steps, targets, skipped CVMs, guards."""
    RUN_INTERRUPTED = "run.interrupted"
    """The run ended early; `resume` can continue it."""
    RUN_RESUMED = "run.resumed"
    """Another process continued the run."""
    RUN_FINISHED = "run.finished"
    """The run ended. Only reconciled charges and seals may follow."""
    RUN_SEALED = "run.sealed"
    """A signature over all earlier records."""
    STEP_PLANNED = "step.planned"
    """A follow-up step chose its targets among the targets of an earlier step."""
    WAVE_SOAKING = "wave.soaking"
    """A wave has ended; the next wave waits."""
    NOTICE = "notice"
    """A step of the playbook sent a message."""
    APPROVAL_REQUESTED = "approval.requested"
    """The run asked a question and waits for the answer."""
    APPROVAL_ANSWERED = "approval.answered"
    """A person answered the question, or the time for an answer passed."""
    ACTION_INTENT = "action.intent"
    """A request is about to be sent. Durable before the request."""
    ACTION_ACCEPTED = "action.accepted"
    """The API accepted the request, or a status showed the effect."""
    ACTION_REFUSED = "action.refused"
    """The API refused the request."""
    ACTION_DEFERRED = "action.deferred"
    """The request had no effect for now, and will be sent again."""
    ACTION_UNKNOWN = "action.unknown"
    """The effect of the request is unknown."""
    ACTION_FAILED = "action.failed"
    """The request failed for good."""
    ACTION_ESCALATED = "action.escalated"
    """A shutdown took too long; a stop takes its place."""
    TARGET_STATUS = "target.status"
    """The status of a CVM changed."""
    TARGET_SETTLED = "target.settled"
    """A CVM has the wanted status, or no longer exists."""
    TARGET_FAILED = "target.failed"
    """A target ended with any other outcome."""
    TARGET_OPERATION = "target.operation"
    """The operations of a target's requests, according to the operation history."""
    BILLING_RECONCILED = "billing.reconciled"
    """The charge for a stop, according to the vendor's usage records."""


RUN_PRUNED = "run.pruned"
"""Event in the file of removed logs; never part of a log."""

ANSWERED = frozenset(
    {Event.ACTION_ACCEPTED, Event.ACTION_REFUSED, Event.ACTION_DEFERRED, Event.ACTION_UNKNOWN, Event.ACTION_FAILED}
)
"""The events with the result of a request."""


class Required(Generic[T]):
    """Field of every record of an event; reading a record without the field raises `KeyError`."""

    def __set_name__(self, owner: type, name: str) -> None:
        # A property is read twice as fast as a descriptor in Python, and a fold reads every record of a log.
        setattr(owner, name, property(lambda view: view.record[name]))

    if TYPE_CHECKING:  # at run time, a property has taken the place of this object

        def __get__(self, view: "RecordView", owner: type) -> T: ...


class Optional(Generic[T]):
    """Field of some records of an event; None without the field, such as in a record of an earlier version."""

    def __set_name__(self, owner: type, name: str) -> None:
        setattr(owner, name, property(lambda view: view.record.get(name)))

    if TYPE_CHECKING:

        def __get__(self, view: "RecordView", owner: type) -> T | None: ...


@dataclass(frozen=True)
class RecordView:
    """Typed view of a JSON object of the log. Creating a view copies and decodes nothing.

    Attributes:
        record: the JSON object, with all its fields.
    """

    __slots__ = ("record",)  # `slots=True` would break the errors of frozen subclasses
    record: Record


class PlannedTarget(RecordView):
    """Entry of `targets` in `run.planned` and `step.planned`.

    Attributes:
        step: name of the step.
        action: action of the step.
        status: status of the CVM in the plan.
        in_progress: whether an operation held the CVM; None in logs of earlier versions.
    """

    __slots__ = ()
    step, action = Required[str](), Required[str]()
    status = Optional[str]()
    in_progress = Optional[bool]()

    @property
    def ref(self) -> CvmRef:
        """The CVM."""
        return CvmRef.of(self.record["cvm"])

    @property
    def billing(self) -> Json:
        """Effect of the action on the bill; empty without a note."""
        return self.record.get("billing") or {}

    @property
    def wave(self) -> int:
        """Wave of the step, from 1."""
        wave: int = self.record.get("wave", 1)
        return wave


class LogEvent(RecordView):
    """Record of the log.

    Attributes:
        seq: number of the record.
        ts: timestamp, RFC 3339 in UTC.
        run_id: the run.
        hash: hash of the record.
    """

    __slots__ = ()
    seq = Required[int]()
    ts, run_id, hash = Required[str](), Required[str](), Required[str]()

    @property
    def name(self) -> str:
        """Name of the event: a member of `Event`, or an unknown name from a later version."""
        name: str = self.record["event"]
        return name


class UnknownEvent(LogEvent):
    """Record of a later version."""

    __slots__ = ()


class RunStarted(LogEvent):
    """`run.started`. A view of an empty record stands for a log without this record.

    Attributes:
        actor: user@host.
        version: version of this program.
        cloud_url: address of the API.
        simulated: whether the cloud is simulated.
        simulator: `SERVED` for a simulated cloud that continues after the run.
        vars: variables of the playbook.
        trigger: schedule and planned time of a scheduled run.
        restores: the run to undo.
        narrowed: the conditions of `--only` and `--exclude`.
        workspace_name: the workspace by its name in the settings; None for the default key.
        fleet: the fleet run of the run.
        plan_file: `path` and digest of the plan file.
        freeze: the freezes of the playbook, and `calendars`: the content of .ics files by path, over a team store.
        break_freeze: the reason to act during a freeze.
        ignore_keep: the reason to act on exempted CVMs.
        submitted: `by`, `db_user` and `at` of a run submitted to a team store.
        approval: the signed approvals and the starter's signature; `exempt` for an exempt playbook; None without keys.
        wakeable: whether a wake of the playbook starts the CVMs stopped by the run.
        wakes: `playbook` and `runs` of a wake: the playbook and its runs that stopped the CVMs.
    """

    __slots__ = ()
    submitted, approval = Optional[Json](), Optional[Json]()
    actor, version = Optional[str](), Optional[str]()
    cloud_url = Required[str]()
    simulated, simulator = Optional[bool](), Optional[str]()
    vars, plan_file, trigger = Optional[Json](), Optional[Json](), Optional[Json]()
    restores, narrowed = Optional[str](), Optional[Json]()
    freeze, break_freeze, ignore_keep = Optional[Json](), Optional[str](), Optional[str]()
    workspace_name, fleet = Optional[str](), Optional[str]()
    wakeable, wakes = Optional[bool](), Optional[Json]()

    @property
    def undoes_stops(self) -> bool:
        """True for an undo and for a wake: the run starts CVMs stopped by earlier runs."""
        return self.restores is not None or self.wakes is not None

    @property
    def is_signed(self) -> bool:
        """Whether the run began with signed approvals."""
        return isinstance(self.approval, Mapping) and "approvals" in self.approval

    @property
    def playbook(self) -> Json:
        """`name`, `path` and `sha256` of the playbook; empty if unknown."""
        return self.record.get("playbook") or {}

    @property
    def limits(self) -> Json:
        """Rate and concurrency limits; empty if unknown."""
        return self.record.get("limits") or {}

    @property
    def notice_kinds(self) -> list[Any] | None:
        """Kinds of notices according to the playbook; None if the settings decide."""
        kinds: list[Any] | None = self.record.get("notify", {}).get("on")
        return kinds


class RunPlanned(LogEvent):
    """`run.planned`. A view of an empty record stands for a log without this record.

    Attributes:
        deadline: forecast for the deadline of the playbook.
        cvms_up: number of CVMs up in the workspace.
        read_at: time of the inventory read.
    """

    __slots__ = ()
    deadline = Optional[Json]()
    cvms_up = Optional[int]()
    read_at = Optional[str]()

    @property
    def workspace_size(self) -> int:
        """Number of CVMs in the workspace; 0 if unknown."""
        return self.record.get("workspace_size") or 0

    @property
    def steps(self) -> list[Record]:
        """Steps of the plan, in the form of `step_fields`."""
        return self.record.get("steps") or []

    @property
    def guards(self) -> list[Record]:
        """Checked guards with `name`, `limit`, `value` and `ok`."""
        return self.record.get("guards") or []

    @property
    def warnings(self) -> list[Any]:
        """Warnings of the plan: sentences in logs of earlier versions, documents in later logs."""
        return self.record.get("warnings") or []

    @property
    def targets(self) -> Iterator[PlannedTarget]:
        """Targets of the first steps."""
        return map(PlannedTarget, self.record.get("targets") or ())

    @property
    def skipped(self) -> list[Json]:
        """CVMs without an action, with `cvm`, `status`, `reason` and, in later logs, `code`."""
        return self.record.get("skipped") or []


class RunTotals(LogEvent):
    """`run.interrupted` or `run.finished`.

    Attributes:
        requests: number of announced requests.
    """

    __slots__ = ()
    requests = Optional[int]()

    @property
    def counts(self) -> Json:
        """Number of targets by outcome."""
        return self.record.get("counts") or {}

    @property
    def money(self) -> Json:
        """Effect on the bill, as summed up by `run_bill`."""
        return self.record.get("money") or {}


class RunInterrupted(RunTotals):
    """`run.interrupted`.

    Attributes:
        reason: an `Ending`.
        open: number of targets without an outcome.
        at_once: whether the run ended without waiting for answers.
        exit_code: exit code of the command; None for a run that ended at once.
    """

    __slots__ = ()
    reason = Required[str]()
    exit_code = Optional[int]()
    open, at_once = Optional[int](), Optional[bool]()


class RunResumed(LogEvent):
    """`run.resumed`.

    Attributes:
        open: number of targets without an outcome.
        to_abandon: whether `abandon` resumed the run.
        torn: `line`, `bytes` and `sha256` of a torn line before this record.
        break_freeze: the reason to act during a freeze.
        epoch: number of the take in a team store.
        holder: the process in a team store.
    """

    __slots__ = ()
    epoch, holder = Optional[int](), Optional[str]()
    open, to_abandon, torn = Optional[int](), Optional[bool](), Optional[Json]()
    break_freeze = Optional[str]()


class RunFinished(RunTotals):
    """`run.finished`.

    Attributes:
        ending: an `Ending`; None in logs of an early version.
        exit_code: exit code of the command.
        deadline: result for the deadline of the playbook.
        cut_short_by: the `Ending` that cut the run short.
        abandoned_by: user@host of the person that abandoned the run.
        cancelled_by: user@host of the person that cancelled the run.
        reason: reason for the abandonment, in words.
    """

    __slots__ = ()
    ending = Optional[str]()
    exit_code = Required[int]()
    deadline = Optional[Json]()
    cut_short_by, abandoned_by, reason = Optional[str](), Optional[str](), Optional[str]()
    cancelled_by = Optional[str]()


class RunSealed(LogEvent):
    """`run.sealed`; `Seal.from_document` parses and checks the whole record.

    Attributes:
        by: user@host on the sealing machine.
        key_id: id of the signing key.
        covers: extent of the seal.
    """

    __slots__ = ()
    by, key_id, covers = Optional[str](), Optional[str](), Optional[Json]()


class StepEvent(LogEvent):
    """Event of a step.

    Attributes:
        step: name of the step.
    """

    __slots__ = ()
    step = Required[str]()


class StepPlanned(StepEvent):
    """`step.planned`.

    Attributes:
        action: action of the step.
    """

    __slots__ = ()
    action = Optional[str]()

    @property
    def targets(self) -> Iterator[PlannedTarget]:
        """Targets of the step."""
        return map(PlannedTarget, self.record.get("targets") or ())


class WaveSoaking(StepEvent):
    """`wave.soaking`.

    Attributes:
        wave: number of the ended wave.
        until: start of the next wave.
    """

    __slots__ = ()
    wave, until = Required[int](), Required[str]()


class MessageSent(StepEvent):
    """`notice`.

    Attributes:
        message: text of the message.
    """

    __slots__ = ()
    message = Required[str]()


class ApprovalRequested(StepEvent):
    """`approval.requested`.

    Attributes:
        question: text of the question.
        expires_at: end of the wait.
    """

    __slots__ = ()
    question, expires_at = Required[str](), Required[str]()


class ApprovalAnswered(StepEvent):
    """`approval.answered`.

    Attributes:
        answer: `approved`, `refused` or `timed_out`.
        by: user@host of the author; None after a timeout.
        via: path of the answer, such as the terminal.
        comment: the author's comment.
        db_user: the author as attested by the database of the team store.
        signatures: the signatures of a signed answer.
    """

    __slots__ = ()
    answer = Required[str]()
    signatures = Optional[list[Json]]()
    by, via, comment, db_user = Optional[str](), Optional[str](), Optional[str](), Optional[str]()

    @property
    def is_approved(self) -> bool:
        """True if the run may continue."""
        return self.answer == "approved"


class TargetEvent(LogEvent):
    """Event of a target.

    Attributes:
        step: name of the step.
        action: present action of the target: the planned action, or the action after an escalation.
    """

    __slots__ = ()
    step, action = Required[str](), Required[str]()

    @property
    def ref(self) -> CvmRef:
        """The CVM."""
        return CvmRef.of(self.record["cvm"])

    @property
    def key(self) -> tuple[str, str]:
        """Step and CVM: the key of the target."""
        cvm = self.record["cvm"]
        return self.record["step"], cvm.get("id") or normal_uuid(cvm.get("vm_uuid") or "")


class ActionIntent(TargetEvent):
    """`action.intent`.

    Attributes:
        attempt: number of the request, from 1 for each target.
        batch: number of a request shared by several targets.
    """

    __slots__ = ()
    attempt = Required[int]()
    batch = Optional[int]()


class RepliedEvent(TargetEvent):
    """Event with the facts of a reply of the API.

    Attributes:
        http_status: status code of the reply.
        request_id: the API's id of the request.
        latency_ms: milliseconds from the request to the reply.
        reason: the fault, in words.
    """

    __slots__ = ()
    http_status = Optional[int]()
    request_id, reason = Optional[str](), Optional[str]()
    latency_ms = Optional[float]()


class ActionAccepted(RepliedEvent):
    """`action.accepted`.

    Attributes:
        observed: whether a status read showed the effect, not a reply.
        status: status of the CVM.
        billing: effect on the bill, with the time `at`.
    """

    __slots__ = ()
    observed = Optional[bool]()
    status = Optional[str]()
    billing = Required[Json]()


class ActionRefused(RepliedEvent):
    """`action.refused`."""

    __slots__ = ()


class ActionDeferred(RepliedEvent):
    """`action.deferred`.

    Attributes:
        retry_after_s: seconds to wait, according to the API.
        sent: False for a request announced but not sent.
        verify: whether a status read must first show that the request had no effect.
    """

    __slots__ = ()
    retry_after_s = Optional[float]()
    sent, verify = Optional[bool](), Optional[bool]()


class ActionUnknown(RepliedEvent):
    """`action.unknown`."""

    __slots__ = ()


class ActionFailed(RepliedEvent):
    """`action.failed`."""

    __slots__ = ()


class ActionEscalated(TargetEvent):
    """`action.escalated`.

    Attributes:
        to: the new action.
        reason: the cause, in words.
    """

    __slots__ = ()
    to, reason = Required[str](), Required[str]()


class TargetStatus(TargetEvent):
    """`target.status`.

    Attributes:
        status: the new status.
        in_progress: whether an operation holds the CVM.
    """

    __slots__ = ()
    status = Required[str]()
    in_progress = Optional[bool]()


class TargetEnded(RepliedEvent):
    """`target.settled` or `target.failed`.

    Attributes:
        outcome: an `Outcome`.
        status: last status seen.
        seconds: seconds from the first request to the outcome.
        code: a `SkipReason`, for a target without a request.
    """

    __slots__ = ()
    outcome = Required[str]()
    status, code = Optional[str](), Optional[str]()
    seconds = Optional[float]()


class TargetSettled(TargetEnded):
    """`target.settled`."""

    __slots__ = ()


class TargetFailed(TargetEnded):
    """`target.failed`."""

    __slots__ = ()


class TargetOperation(TargetEvent):
    """`target.operation`.

    Attributes:
        correlation_ids: the API's ids of the operations; empty if the history does not show whose operations these are.
    """

    __slots__ = ()
    correlation_ids = Required[list[str]]()


class BillingReconciled(TargetEvent):
    """`billing.reconciled`; `Reconciled.from_document` of billing decodes the whole record.

    Attributes:
        state: a `ChargeState`.
        charged: observed charge, with `usd` and `minutes`.
        expected: estimated charge.
        difference_usd: observed charge less estimated charge.
        reason: reason for a missing or unusual charge.
    """

    __slots__ = ()
    state = Required[str]()
    charged, expected = Optional[Json](), Optional[Json]()
    difference_usd, reason = Optional[str](), Optional[str]()


AnyEvent: TypeAlias = (
    RunStarted
    | RunPlanned
    | RunInterrupted
    | RunResumed
    | RunFinished
    | RunSealed
    | StepPlanned
    | WaveSoaking
    | MessageSent
    | ApprovalRequested
    | ApprovalAnswered
    | ActionIntent
    | ActionAccepted
    | ActionRefused
    | ActionDeferred
    | ActionUnknown
    | ActionFailed
    | ActionEscalated
    | TargetStatus
    | TargetSettled
    | TargetFailed
    | TargetOperation
    | BillingReconciled
    | UnknownEvent
)

TYPES: Mapping[str, Callable[[Record], AnyEvent]] = {
    Event.RUN_STARTED: RunStarted,
    Event.RUN_PLANNED: RunPlanned,
    Event.RUN_INTERRUPTED: RunInterrupted,
    Event.RUN_RESUMED: RunResumed,
    Event.RUN_FINISHED: RunFinished,
    Event.RUN_SEALED: RunSealed,
    Event.STEP_PLANNED: StepPlanned,
    Event.WAVE_SOAKING: WaveSoaking,
    Event.NOTICE: MessageSent,
    Event.APPROVAL_REQUESTED: ApprovalRequested,
    Event.APPROVAL_ANSWERED: ApprovalAnswered,
    Event.ACTION_INTENT: ActionIntent,
    Event.ACTION_ACCEPTED: ActionAccepted,
    Event.ACTION_REFUSED: ActionRefused,
    Event.ACTION_DEFERRED: ActionDeferred,
    Event.ACTION_UNKNOWN: ActionUnknown,
    Event.ACTION_FAILED: ActionFailed,
    Event.ACTION_ESCALATED: ActionEscalated,
    Event.TARGET_STATUS: TargetStatus,
    Event.TARGET_SETTLED: TargetSettled,
    Event.TARGET_FAILED: TargetFailed,
    Event.TARGET_OPERATION: TargetOperation,
    Event.BILLING_RECONCILED: BillingReconciled,
}
"""The type of each event."""


def read_event(record: Record) -> AnyEvent:
    """View a record as its event; an event of a later version is an `UnknownEvent`."""
    return TYPES.get(record["event"], UnknownEvent)(record)
