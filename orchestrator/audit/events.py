"""The events of an audit log. The names are a contract with the readers of logs."""

from enum import StrEnum


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
    BILLING_RECONCILED = "billing.reconciled"
    """The charge for a stop, according to the vendor's usage records."""


RUN_PRUNED = "run.pruned"
"""Event in the file of removed logs; never part of a log."""

ANSWERED = frozenset(
    {Event.ACTION_ACCEPTED, Event.ACTION_REFUSED, Event.ACTION_DEFERRED, Event.ACTION_UNKNOWN, Event.ACTION_FAILED}
)
"""The events with the result of a request."""

ENDED = frozenset({Event.TARGET_SETTLED, Event.TARGET_FAILED})
"""The events with the outcome of a target."""
