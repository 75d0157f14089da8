"""The steps of a playbook: what is done to which CVMs, and what happens in between."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from orchestrator.documented_model import DocumentedModel
from orchestrator.playbook.value_types import (
    AppIds,
    Count,
    Dispatch,
    OnFailure,
    Order,
    PositiveDuration,
    Rate,
    Share,
    StrictBool,
    Text,
    Texts,
    as_list,
)
from orchestrator.playbook.waves import check_wave_sizes


class Strict(DocumentedModel):
    """Unknown keys are errors, and a value never changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_Word = Literal["settled", "skipped", "refused", "failed", "unsettled", "resurrected"]
_OUTCOMES = WithJsonSchema(
    {
        "anyOf": [
            {"enum": ["settled", "skipped", "refused", "failed", "unsettled", "resurrected"]},
            {"type": "array", "minItems": 1, "items": {"type": "string"}},
        ]
    }
)


class Result(Strict):
    """What an earlier step came to."""

    step: Text
    """The name of that step."""
    outcome: Annotated[list[_Word], BeforeValidator(as_list), _OUTCOMES] = [  # noqa: RUF012 - pydantic copies it
        "failed",
        "refused",
        "resurrected",
        "unsettled",
    ]
    """How the CVM ended there; without it whatever was not as wanted: failed, refused, resurrected or unsettled."""


class Select(Strict):
    """Which CVMs. Keys AND together, the values inside one key OR together."""

    teepod: Texts | None = None
    """Teepods by number, or by name with * and ?."""
    app_id: AppIds | None = None
    """App ids, with or without `0x` or `app_`."""
    name: Texts | None = None
    """Names of CVMs, with * and ?."""
    status: Texts | None = None
    """Statuses; without it every CVM on which the action has anything to do."""
    result: Result | None = None
    """What an earlier step of the run came to; known once that step is done."""
    any: Annotated[list["Select"], Field(min_length=1)] | None = None
    """Whole selects, of which one has to match."""
    exclude: "Select | None" = None
    """CVMs to leave out again."""
    all: StrictBool = False
    """Every CVM of the workspace."""

    @model_validator(mode="after")
    def _check_selectors(self) -> Self:
        chosen = [key for key in ("teepod", "app_id", "name", "any") if getattr(self, key) is not None]
        if self.all and chosen:
            raise ValueError(f"`all: true` and `{chosen[0]}` contradict each other; keep one")
        if not self.all and not chosen and self.status is None and self.result is None and self.exclude is not None:
            raise ValueError("`exclude` alone selects nothing; add `all: true` to take every other CVM")
        if not self.all and not chosen and self.status is None and self.result is None:
            raise ValueError("the select is empty; name a teepod, app_id or name, or say `all: true` for every CVM")
        return self


class Settle(Strict):
    """How long to wait until a CVM is down, or running again."""

    timeout: PositiveDuration | None = None
    """From each CVM's own acceptance; without it the settings' `settle.timeout`."""


class Escalation(Strict):
    """What follows for those CVMs that did not go down by themselves."""

    after: PositiveDuration
    """How long the guest has, from the acceptance of its shutdown, or from the first request while none is accepted."""
    to: Literal["stop"] = "stop"
    """`stop` pulls the power."""


class StepLimits(Strict):
    """How fast and how wide one step may go. What stands here wins over the playbook's `limits` while it lasts."""

    requests_per_second: Rate | None = None
    """All requests of the step together, per second; where the run finds out its rate, at most so many."""
    max_in_flight: Count | None = None
    """Requests sent and not yet answered."""
    per_teepod: Count | None = None
    """The same for one teepod, status reads left out."""
    max_failures: Share | None = None
    """End the run when more targets of the step than this failed or were refused (as %: of its targets)."""
    dispatch: Dispatch | None = None
    """`single` or `batch`, see [Limits](#limits)."""


class Step(Strict):
    """One action on one selection of CVMs."""

    name: Text = ""
    """What the step is called in the plan, the log and the report; `step N` when left out."""
    action: Literal["stop", "shutdown", "start", "restart"]
    """`stop` pulls the power, `shutdown` asks the guest to end, `start` powers on, `restart` is both of the latter."""
    select: Select
    """Which CVMs."""
    order_by: Order | None = None
    """Who goes first: `cost` (the dearest), `teepod` (one after another) or `name`; as listed when left out."""
    waves: Annotated[list[Share], Field(min_length=1), AfterValidator(check_wave_sizes)] | None = None
    """How many CVMs have had their turn when the next wave begins, such as `[1, "10%", "100%"]`."""
    soak: PositiveDuration | None = None
    """With `waves`: how long to wait after each wave, before its CVMs are read again and the next one begins."""
    limits: StepLimits = StepLimits()
    """How fast and how wide."""
    settle: Settle = Settle()
    """How long to wait."""
    escalate: Escalation | None = None
    """With `shutdown`: pull the power on those that do not go down by themselves."""
    on_failure: OnFailure = "continue"
    """Whether the next step begins (`continue`) or the run ends (`stop`) when a target did not end as wanted."""

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if self.escalate is not None and self.action != "shutdown":
            raise ValueError(f"`escalate` goes with `action: shutdown`; there is nothing above a {self.action}")
        if self.soak is not None and self.waves is None:
            raise ValueError("`soak` is the time between two waves, and the step has no `waves`")
        return self


class Pause(Strict):
    """A question that a person answers before the run goes on."""

    name: Text = ""
    """What the step is called; `step N` when left out."""
    action: Literal["pause"]
    """`pause`."""
    question: Text
    """What the person is asked."""
    timeout: PositiveDuration = 3600.0
    """How long to wait for the answer; without one the run ends as if it had been refused."""


class Notify(Strict):
    """A message to whoever the settings' `notify` section names."""

    name: Text = ""
    """What the step is called; `step N` when left out."""
    action: Literal["notify"]
    """`notify`."""
    message: Text
    """What they are told."""


def _find_kind(step: Any) -> str:  # noqa: ANN401 - whatever stands in the file
    action = step.get("action") if isinstance(step, dict) else getattr(step, "action", None)
    return action if isinstance(action, str) and action in {"pause", "notify"} else "cvms"


KINDS: dict[str, type[Strict]] = {"cvms": Step, "pause": Pause, "notify": Notify}
"""The kinds of steps, by what pydantic puts into the place of a finding to tell them apart."""

AnyStep = Annotated[
    Annotated[Step, Tag("cvms")] | Annotated[Pause, Tag("pause")] | Annotated[Notify, Tag("notify")],
    Discriminator(_find_kind),
]
"""A step of any kind."""
