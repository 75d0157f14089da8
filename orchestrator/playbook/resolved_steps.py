"""The steps of a plan: what the playbook says of each, with the settings' values where it says nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from orchestrator.action import Action
from orchestrator.outcome import Outcome
from orchestrator.playbook.steps import AnyStep, Notify, Pause, Step
from orchestrator.playbook.value_types import Dispatch, OnFailure, Order, Share

MOST_AT_ONCE = 50
"""How many CVMs one `POST /cvms/batch-stop` takes, by the vendor's OpenAPI document."""


@dataclass(frozen=True, slots=True)
class RunLimits:
    """The limits that hold for one run: the playbook's own over the settings'.

    Attributes:
        requests_per_second: all requests of the run; where `adaptive`, what it starts with.
        burst: how many may go at once after a pause.
        max_in_flight: requests sent and not yet answered.
        per_teepod: the same for one teepod, status reads left out.
        max_failures: more failed or refused targets than this end the run; None for no such limit.
        adaptive: whether the rate is found out while the run goes on.
        dispatch: whether each stop is a request of its own; every other action is.
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
    """The limits of one step's own; None where the run's hold.

    Attributes:
        requests_per_second: all requests of the step; where the run finds out its rate, at most so many.
        max_in_flight: requests sent and not yet answered.
        per_teepod: the same for one teepod, status reads left out.
        max_failures: more failed or refused targets of the step than this end the run.
        dispatch: whether each stop is a request of its own.
    """

    requests_per_second: float | None = None
    max_in_flight: int | None = None
    per_teepod: int | None = None
    max_failures: Share | None = None
    dispatch: Dispatch | None = None

    def within(self, limits: RunLimits) -> RunLimits:
        """The limits that hold while the step goes on; `max_failures` stays that of the run."""
        return replace(
            limits,
            requests_per_second=self.requests_per_second or limits.requests_per_second,
            max_in_flight=self.max_in_flight or limits.max_in_flight,
            per_teepod=self.per_teepod or limits.per_teepod,
            dispatch=self.dispatch or limits.dispatch,
        )


@dataclass(frozen=True, slots=True)
class Follows:
    """The CVMs of a step that takes up what an earlier one left.

    Attributes:
        step: the earlier step.
        outcomes: how a CVM has to have ended there.
        among: the keys of the CVMs that the rest of the select covers; None for all.
    """

    step: str
    outcomes: frozenset[Outcome]
    among: frozenset[str] | None = None

    def covers_cvm(self, step: str, outcome: Outcome | None, key: str) -> bool:
        """Whether a CVM that ended so in that step is one of them."""
        return step == self.step and outcome in self.outcomes and (self.among is None or key in self.among)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """What a step does, but for its targets.

    Attributes:
        name: the step's name.
        action: what is done to its targets.
        settle_timeout: seconds within which each of them has to settle.
        on_failure: whether the run goes on when one of them did not end as wanted.
        limits: the step's own.
        escalate_after: seconds that a shutdown has before the power is pulled; None where it never is.
        follows: which CVMs it takes up from an earlier step; None where the plan has its targets.
        waves: how many of its targets are to have been acted on when the next wave begins; None for one wave.
        order_by: in which order it goes through them; None for that of the inventory.
        soak: seconds from one wave's end until the next one may begin.
    """

    name: str
    action: Action
    settle_timeout: float
    on_failure: OnFailure = "continue"
    limits: OwnLimits = OwnLimits()
    escalate_after: float | None = None
    follows: Follows | None = None
    waves: tuple[Share, ...] | None = None
    order_by: Order | None = None
    soak: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A step that asks a person.

    Attributes:
        name: the step's name.
        question: what is asked.
        timeout: seconds until no answer counts as a refusal.
    """

    name: str
    question: str
    timeout: float


@dataclass(frozen=True, slots=True)
class Message:
    """A step that tells people something.

    Attributes:
        name: the step's name.
        text: what they are told.
    """

    name: str
    text: str


AnyPlanned: TypeAlias = PlannedStep | Question | Message
"""A step of any kind."""


def resolve_step(step: AnyStep, settle_timeout: float, among: Mapping[str, frozenset[str] | None]) -> AnyPlanned:
    """What a playbook's step comes to.

    Args:
        step: the step.
        settle_timeout: seconds, where it says nothing of its own.
        among: of the steps that take up a result, the keys of the CVMs that the rest of the select covers.
    """
    if isinstance(step, Pause):
        return Question(step.name, step.question, step.timeout)
    if isinstance(step, Notify):
        return Message(step.name, step.message)
    limits = step.limits
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
        _resolve_source(step, among.get(step.name)),
        tuple(step.waves) if step.waves else None,
        step.order_by,
        step.soak,
    )


def _resolve_source(step: Step, among: frozenset[str] | None) -> Follows | None:
    result = step.select.result
    if result is None:
        return None
    return Follows(result.step, frozenset(Outcome(word) for word in result.outcome), among)
