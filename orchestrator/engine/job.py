"""One target as the engine works on it, and where its facts come from: a plan, or an earlier log."""

from dataclasses import dataclass, field

from orchestrator.action import Action
from orchestrator.billing.note import BillingNote, billing_note
from orchestrator.cvm import CvmRef
from orchestrator.outcome import Outcome
from orchestrator.playbook.plan import Target
from orchestrator.playbook.resolved_steps import PlannedStep
from orchestrator.skip_reason import Reason


@dataclass(slots=True, eq=False)
class Job:
    """One target and how far it has come. Times are seconds of the engine's clock.

    Attributes:
        step: the step's name.
        action: what is asked of the CVM now: the step's action, or what that was escalated to.
        ref: the CVM.
        before: its status when the plan was made.
        note: what the action does to the bill.
        attempts: how many requests were announced for it.
        first_sent: when the first of them was; None before.
        asked_since: when this process first announced one; earlier parts of the run may never have sent theirs.
        batch: the number of the request that its last one shared with others; None where it had one of its own.
        singly: whether it has to be sent in a request of its own, since a batch would leave it alone.
        unanswered: whether the last of those requests has no answer on record: the process died before.
        in_doubt: whether the effect of its last request is unknown.
        trouble: what the last answer that did not tell its effect said; None before one.
        accepted_at: since when the action is known to have taken effect; None before.
        billed: whether an action of the step was ever accepted, so that its billing note counts.
        escalated_at: when the step stopped waiting for the CVM to go down by itself; None before.
        outcome: how it ended; None while it has not.
        seconds: from its first request to its outcome; None before, and where an earlier part of the run saw to it.
        taken_up: whether a later step took up what became of it, so that this is not the last word on the CVM.
        status: the last status that was seen.
        wave: the step's wave that it belongs to, from 1.
        withheld: why no further request may be sent for it; None where requests may go.
        document: the CVM as every record has it, shared by all of them.
    """

    step: str
    action: Action
    ref: CvmRef
    before: str
    note: BillingNote
    attempts: int = 0
    first_sent: float | None = None
    asked_since: float | None = None
    batch: int | None = None
    singly: bool = False
    unanswered: bool = False
    in_doubt: bool = False
    trouble: str | None = None
    accepted_at: float | None = None
    billed: bool = False
    escalated_at: float | None = None
    outcome: Outcome | None = None
    seconds: float | None = None
    taken_up: bool = False
    status: str | None = None
    wave: int = 1
    withheld: Reason | None = None
    document: dict[str, object] = field(init=False)

    def __post_init__(self) -> None:
        # A batch takes hashids, and skips whoever has no UUID yet.
        self.document = self.ref.document()
        self.singly = self.singly or self.ref.id is None or self.ref.vm_uuid is None

    @property
    def accepted(self) -> bool:
        """Whether the action is known to have taken effect."""
        return self.accepted_at is not None

    @property
    def under_way(self) -> bool:
        """Whether a request was sent whose end is still to be seen."""
        return self.outcome is None and (self.accepted or self.in_doubt)

    @property
    def if_deleted(self) -> Outcome:
        """What it comes to when it was deleted meanwhile: down for good, but nothing that could run."""
        return Outcome.FAILED if self.action.leaves_running else Outcome.GONE

    @property
    def may_escalate(self) -> bool:
        """Whether there is anything above what is asked of it: of the shutdowns alone."""
        return self.action is Action.SHUTDOWN

    def escalate(self, now: float) -> None:
        """From now on the power is to be pulled."""
        self.action, self.escalated_at = Action.STOP, now
        self.accepted_at, self.in_doubt, self.batch = None, False, None
        self.before, self.singly = self.status or self.before, True

    def followed_by(self, step: PlannedStep) -> "Job":
        """The work of a later step that takes up what became of this one."""
        note = self.note.for_action(step.action)
        before = self.status or self.before
        return Job(step.name, step.action, self.ref, before, note, singly=True, withheld=self.withheld)

    @classmethod
    def of(cls, target: Target) -> "Job":
        """The work that a planned target makes."""
        cvm = target.cvm
        note = billing_note(cvm, target.rates, target.action)
        singly = cvm.in_progress or cvm.gpu_rental
        return cls(target.step, target.action, cvm.ref, cvm.status, note, singly=singly, wave=target.wave)
