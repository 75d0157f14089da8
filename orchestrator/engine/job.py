"""State of one target in the engine; built from a plan or from an earlier log."""

from dataclasses import dataclass, field
from enum import Enum, auto

from orchestrator.action import Action
from orchestrator.billing.rates import BillingNote
from orchestrator.cvm import CvmRef
from orchestrator.outcome import Outcome, Reason
from orchestrator.playbook.plan import Target
from orchestrator.playbook.resolved_steps import PlannedStep


class RequestPhase(Enum):
    """Phase of a target's present action."""

    WAITING = auto()
    """No request sent, or the last request had no effect."""
    UNANSWERED = auto()
    """The last request has no answer on record, because the process died first: its effect is unknown."""
    IN_DOUBT = auto()
    """The effect of the last request is unknown."""
    ACCEPTED = auto()
    """The action is known to have taken effect."""


@dataclass(slots=True, eq=False)
class Job:
    """State of a target. Times are seconds of the engine's clock.

    Attributes:
        step: the step's name.
        action: the action requested now: the step's action, or the action after an escalation.
        ref: the CVM.
        before: the CVM's status at planning time.
        note: the action's effect on the bill.
        attempts: the number of requests announced for the target.
        first_sent: time of the first announcement; None before.
        announced_at: time of the first announcement by this process. An earlier part of the run may have announced a
            request and never sent the request.
        times_before: `first_sent` and `announced_at` before the last announcement.
        batch: the number of the last request, if other targets shared the request; None for a request for one target.
        needs_own_request: whether the target needs a request of its own, because a batch would skip the CVM.
        phase: the phase of the action; the only place with the knowledge about its effect.
        trouble: text of the last answer with an unknown effect; None before such an answer.
        accepted_at: time of the change to phase ACCEPTED; None before.
        billed: whether an action of the step was ever accepted, so the billing note counts.
        escalated_at: time when the step stopped waiting for the CVM to go down by itself; None before.
        outcome: the outcome; None while the target is open.
        seconds: seconds from the first request to the outcome; None before, and for targets that ended in an earlier
            part of the run.
        is_superseded: whether a later step took over the target, so this outcome is not the final outcome of the CVM.
        status: the last status seen.
        wave: the number of the target's wave in the step, from 1.
        withheld: why no further request may be sent for the target; None where requests may be sent.
        document: the CVM as written in every record; all records share this one object.
    """

    step: str
    action: Action
    ref: CvmRef
    before: str
    note: BillingNote
    attempts: int = 0
    first_sent: float | None = None
    announced_at: float | None = None
    times_before: tuple[float | None, float | None] = (None, None)
    batch: int | None = None
    needs_own_request: bool = False
    phase: RequestPhase = RequestPhase.WAITING
    trouble: str | None = None
    accepted_at: float | None = None
    billed: bool = False
    escalated_at: float | None = None
    outcome: Outcome | None = None
    seconds: float | None = None
    is_superseded: bool = False
    status: str | None = None
    wave: int = 1
    withheld: Reason | None = None
    document: dict[str, object] = field(init=False)

    def __post_init__(self) -> None:
        # A batch takes hashids, and skips a CVM without a UUID.
        self.document = self.ref.document()
        self.needs_own_request = self.needs_own_request or self.ref.id is None or self.ref.vm_uuid is None

    @property
    def is_accepted(self) -> bool:
        """Whether the action is known to have taken effect."""
        return self.phase is RequestPhase.ACCEPTED

    @property
    def is_in_doubt(self) -> bool:
        """Whether the effect of the last request is unknown."""
        return self.phase in _DOUBT

    def mark_accepted(self, now: float) -> None:
        """Note that the action took effect."""
        self.phase, self.accepted_at, self.billed = RequestPhase.ACCEPTED, now, True

    def clear_doubt(self) -> None:
        """Note that a request of unknown effect had no effect, or needs no decision any more."""
        if self.is_in_doubt:
            self.phase = RequestPhase.WAITING

    @property
    def is_under_way(self) -> bool:
        """Whether a request was sent and its result is still open."""
        return self.outcome is None and (self.is_accepted or self.is_in_doubt)

    @property
    def outcome_if_deleted(self) -> Outcome:
        """Outcome for a CVM deleted meanwhile: a failure if the action leaves CVMs running, otherwise gone."""
        return Outcome.FAILED if self.action.leaves_running else Outcome.GONE

    @property
    def can_escalate(self) -> bool:
        """Whether the action can escalate."""
        return self.action.spec.escalates_to is not None

    def switch_action(self, now: float) -> None:
        """Change the action to a stronger action."""
        self.action, self.escalated_at = self.action.spec.escalates_to or self.action, now
        self.phase, self.accepted_at, self.batch = RequestPhase.WAITING, None, None
        self.before, self.needs_own_request = self.status or self.before, True

    def create_follow_up(self, step: PlannedStep) -> "Job":
        """Create the job of a later step for the same CVM."""
        note = self.note.for_action(step.action)
        before = self.status or self.before
        return Job(step.name, step.action, self.ref, before, note, needs_own_request=True, withheld=self.withheld)

    @classmethod
    def from_target(cls, target: Target) -> "Job":
        """Create the job of a planned target."""
        cvm = target.cvm
        return cls(
            target.step,
            target.action,
            cvm.ref,
            cvm.status,
            target.note,
            needs_own_request=cvm.in_progress or cvm.gpu_rental,
            wave=target.wave,
        )


_DOUBT = frozenset({RequestPhase.UNANSWERED, RequestPhase.IN_DOUBT})
