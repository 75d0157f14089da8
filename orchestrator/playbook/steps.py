"""The steps of a playbook: actions on CVMs, questions and messages."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from orchestrator.action import Action
from orchestrator.documented_model import DocumentedModel
from orchestrator.playbook.facts import Comparisons, Moment
from orchestrator.playbook.limits import Settle, StepLimits
from orchestrator.playbook.value_types import (
    AppIds,
    CvmIdTexts,
    OnFailure,
    Order,
    PositiveDuration,
    ShareValue,
    StrictBool,
    Text,
    Texts,
    as_list,
)
from orchestrator.playbook.waves import check_wave_sizes

_Word = Literal["settled", "skipped", "refused", "failed", "unsettled", "resurrected"]
_OUTCOMES = WithJsonSchema(
    {
        "anyOf": [
            {"enum": ["settled", "skipped", "refused", "failed", "unsettled", "resurrected"]},
            {"type": "array", "minItems": 1, "items": {"type": "string"}},
        ]
    }
)


class Result(DocumentedModel):
    """The outcome of an earlier step."""

    step: Text
    """The name of the earlier step."""
    outcome: Annotated[list[_Word], BeforeValidator(as_list), _OUTCOMES] = [  # noqa: RUF012 - pydantic copies it
        "failed",
        "refused",
        "resurrected",
        "unsettled",
    ]
    """Outcomes of the CVM in the earlier step; default: failed, refused, resurrected or unsettled."""


class Select(DocumentedModel):
    """Conditions for CVMs. All keys must match (AND); a single matching value per key is enough (OR)."""

    teepod: Texts | None = None
    """Numbers or names of teepods; `*` and `?` are wildcards in names."""
    app_id: AppIds | None = None
    """App ids, with or without `0x` or `app_`."""
    id: CvmIdTexts | None = None
    """Hashids, UUIDs or instance ids of CVMs, without wildcards."""
    name: Texts | None = None
    """Names of CVMs; `*` and `?` are wildcards."""
    status: Texts | None = None
    """Statuses of CVMs; default: every status in which the action has an effect."""
    instance_type: Texts | None = None
    """Instance types, such as `tdx.small`, in upper or lower case; `*` and `?` are wildcards."""
    region: Texts | None = None
    """Regions of teepods, in upper or lower case; `*` and `?` are wildcards."""
    creator: Texts | None = None
    """Usernames or ids of creators; `*` and `?` are wildcards."""
    gpus: Comparisons | None = None
    """Number of GPUs: a number, or a comparison such as `">0"`."""
    usd_per_hour: Comparisons | None = None
    """Compute price in USD per hour while running: a number, or a comparison such as `">1.5"`."""
    older_than: PositiveDuration | None = None
    """Least time since the creation of a CVM."""
    created_before: Moment | None = None
    """End of the creation time, exclusive: a date (00:00 UTC), or a time with an offset."""
    up_longer_than: PositiveDuration | None = None
    """Least time since a CVM began to run. CVMs that are down never match."""
    result: Result | None = None
    """The outcome of an earlier step of this run; known after that step."""
    any: Annotated[list["Select"], Field(min_length=1)] | None = None
    """A list of selects; one matching select is enough."""
    exclude: "Select | None" = None
    """CVMs to exclude again."""
    all: StrictBool = False
    """Every CVM of the workspace."""

    @model_validator(mode="after")
    def _check_selectors(self) -> Self:
        chosen = [key for key in SELECTORS if getattr(self, key) is not None]
        if self.all and chosen:
            raise ValueError(f"`all: true` and `{chosen[0]}` contradict each other; remove one of the two")
        if not self.all and not chosen and self.status is None and self.result is None and self.exclude is not None:
            raise ValueError("`exclude` alone selects nothing; add `all: true` to select every other CVM")
        if not self.all and not chosen and self.status is None and self.result is None:
            raise ValueError("the select is empty; add `teepod`, `app_id` or `name`, or `all: true` for every CVM")
        return self


SELECTORS = (
    *("teepod", "app_id", "id", "name", "instance_type", "region", "creator", "gpus", "usd_per_hour"),
    *("older_than", "created_before", "up_longer_than", "any"),
)
"""The keys of a select that choose CVMs by themselves."""


class Escalation(DocumentedModel):
    """The action on CVMs still up after the time limit."""

    after: PositiveDuration
    """Time for the guest to shut down, from the acceptance of the shutdown (or from the first request, before an
    acceptance).
    """
    to: Literal["stop"] = "stop"
    """`stop` is a forced stop."""


ActionName = Annotated[Action, WithJsonSchema({"enum": [*Action], "title": "Action", "type": "string"})]


class Step(DocumentedModel):
    """An action on a selection of CVMs."""

    name: Text = ""
    """Name of the step in the plan, the audit log and the report; default: `step N`."""
    action: ActionName
    """`stop` is a forced stop, `shutdown` asks the guest to shut down, `start` powers on, `restart` shuts down and
    powers on.
    """
    select: Select
    """CVMs of the step."""
    order_by: Order | None = None
    """Order of the targets: `cost` (most expensive first), `teepod` (one teepod after another) or `name`; default: as
    listed.
    """
    waves: Annotated[list[ShareValue], Field(min_length=1), AfterValidator(check_wave_sizes)] | None = None
    """Number of targets reached by the end of every wave, such as `[1, "10%", "100%"]`."""
    soak: PositiveDuration | None = None
    """With `waves`: waiting time after every wave. The wave's CVMs are then read again, before the next wave begins."""
    limits: StepLimits = StepLimits()
    """Limits of the step's rate and width."""
    settle: Settle = Settle()
    """Time for the targets to settle."""
    escalate: Escalation | None = None
    """With `shutdown`: a forced stop of CVMs that are not down in time."""
    on_failure: OnFailure = "continue"
    """After a failed target: go on with the next step (`continue`), or end the run (`stop`)."""

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if self.escalate is not None and self.action.spec.escalates_to is None:
            raise ValueError(f"`escalate` needs `action: shutdown`; remove `escalate` from the {self.action}")
        if self.soak is not None and self.waves is None:
            raise ValueError("`soak` needs `waves`; add `waves` or remove `soak`")
        return self


class Pause(DocumentedModel):
    """A question to a person. The run waits for the answer."""

    name: Text = ""
    """Name of the step; default: `step N`."""
    action: Literal["pause"]
    """`pause`."""
    question: Text
    """The text of the question."""
    timeout: PositiveDuration = 3600.0
    """Time to wait for the answer. No answer in time counts as no, and the run ends."""


class Notify(DocumentedModel):
    """A message to the receivers in the settings' `notify` section."""

    name: Text = ""
    """Name of the step; default: `step N`."""
    action: Literal["notify"]
    """`notify`."""
    message: Text
    """The text of the message."""


def _find_kind(step: Any) -> str:  # noqa: ANN401 - any value of the file
    action = step.get("action") if isinstance(step, dict) else getattr(step, "action", None)
    return action if isinstance(action, str) and action in {"pause", "notify"} else "cvms"


KINDS: dict[str, type[DocumentedModel]] = {"cvms": Step, "pause": Pause, "notify": Notify}
"""Models of the steps, by pydantic's tag in the location of an error."""

AnyStep = Annotated[
    Annotated[Step, Tag("cvms")] | Annotated[Pause, Tag("pause")] | Annotated[Notify, Tag("notify")],
    Discriminator(_find_kind),
]
"""A step of any kind."""
