"""The resolved steps of a plan: the playbook's values, completed by the settings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from orchestrator.action import Action
from orchestrator.outcome import Outcome
from orchestrator.playbook.steps import AnyStep, Notify, Pause
from orchestrator.playbook.value_types import Dispatch, OnFailure, Order, Share

MOST_AT_ONCE = 50
"""Most CVMs in one `POST /cvms/batch-stop`, by the vendor's OpenAPI document."""


@dataclass(frozen=True, slots=True)
class RunLimits:
    """The limits of a run: the playbook's own limits, completed by the settings.

    Attributes:
        requests_per_second: all requests of the run; the starting rate if `adaptive`.
        burst: requests sent at once after a pause.
        max_in_flight: requests sent but not answered yet.
        per_teepod: the same for one teepod, without status reads.
        max_failures: more failed or refused targets end the run; None for no such limit.
        adaptive: whether the run finds the API's limit.
        dispatch: how stops are sent; every other action is always a request of its own.
    """

    requests_per_second: float
    burst: int
    max_in_flight: int
    per_teepod: int
    max_failures: Share | None = None
    adaptive: bool = False
    dispatch: Dispatch = "single"


@dataclass(frozen=True, slots=True)
class OwnLimits:
    """The own limits of a step. A missing value means the run's limit.

    Attributes:
        requests_per_second: all requests of the step; the highest rate if the run's rate is adaptive.
        max_in_flight: requests sent but not answered yet.
        per_teepod: the same for one teepod, without status reads.
        max_failures: more failed or refused targets of the step end the run.
        dispatch: how stops are sent.
    """

    requests_per_second: float | None = None
    max_in_flight: int | None = None
    per_teepod: int | None = None
    max_failures: Share | None = None
    dispatch: Dispatch | None = None

    def within(self, limits: RunLimits) -> RunLimits:
        """Return the run's limits with this step's own limits; `max_failures` stays the run's value."""
        return replace(
            limits,
            requests_per_second=self.requests_per_second or limits.requests_per_second,
            max_in_flight=self.max_in_flight or limits.max_in_flight,
            per_teepod=self.per_teepod or limits.per_teepod,
            dispatch=self.dispatch or limits.dispatch,
        )


@dataclass(frozen=True, slots=True)
class FollowUp:
    """The CVMs of a step with a result selector.

    Attributes:
        step: the earlier step.
        outcomes: the required outcomes of a CVM in the earlier step.
        among: keys of the CVMs that match the rest of the select; None for all CVMs.
    """

    step: str
    outcomes: frozenset[Outcome]
    among: frozenset[str] | None = None

    def covers_cvm(self, step: str, outcome: Outcome | None, key: str) -> bool:
        """Return True if this step acts on a CVM with this outcome in the given step."""
        return step == self.step and outcome in self.outcomes and (self.among is None or key in self.among)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A resolved step with an action, without its targets.

    Attributes:
        name: the step's name.
        action: the action on the targets.
        settle_timeout: seconds for every target to settle.
        on_failure: whether the run continues after a failed target.
        limits: the step's own limits.
        escalate_after: seconds for a shutdown before a forced stop; None without escalation.
        follows: the CVMs of an earlier step to act on; None if the plan contains the targets.
        waves: cumulative numbers of targets at the end of every wave; None for one wave.
        order_by: the order of the targets; None for the order of the inventory.
        soak: seconds between the end of a wave and the next wave.
    """

    name: str
    action: Action
    settle_timeout: float
    on_failure: OnFailure = "continue"
    limits: OwnLimits = OwnLimits()
    escalate_after: float | None = None
    follows: FollowUp | None = None
    waves: tuple[Share, ...] | None = None
    order_by: Order | None = None
    soak: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A resolved step with a question to a person.

    Attributes:
        name: the step's name.
        question: the question.
        timeout: seconds to wait; no answer in time counts as a refusal.
    """

    name: str
    question: str
    timeout: float


@dataclass(frozen=True, slots=True)
class Message:
    """A resolved step with a message to people.

    Attributes:
        name: the step's name.
        text: the message.
    """

    name: str
    text: str


AnyPlanned: TypeAlias = PlannedStep | Question | Message
"""A resolved step of any kind."""


def resolve_step(step: AnyStep, settle_timeout: float, among: Mapping[str, frozenset[str] | None]) -> AnyPlanned:
    """Resolve a step of a playbook.

    Args:
        step: the step.
        settle_timeout: seconds, for a step without an own value.
        among: by step with a result selector, keys of the CVMs that match the rest of the select; None for all CVMs.
    """
    if isinstance(step, Pause):
        return Question(step.name, step.question, step.timeout)
    if isinstance(step, Notify):
        return Message(step.name, step.message)
    limits, result = step.limits, step.select.result
    follows = None
    if result is not None:
        follows = FollowUp(result.step, frozenset(Outcome(word) for word in result.outcome), among.get(step.name))
    return PlannedStep(
        step.name,
        Action(step.action),
        step.settle.timeout or settle_timeout,
        step.on_failure,
        OwnLimits(
            limits.requests_per_second,
            limits.max_in_flight,
            limits.per_teepod,
            limits.max_failures,
            limits.dispatch,
        ),
        step.escalate.after if step.escalate else None,
        follows,
        tuple(step.waves) if step.waves else None,
        step.order_by,
        step.soak,
    )
