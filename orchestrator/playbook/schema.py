"""What a playbook may say: the pydantic models, which are also the JSON Schema and the reference in the docs."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.described import Described
from orchestrator.duration import Duration
from orchestrator.playbook.schedule import Schedule
from orchestrator.playbook.terms import (
    AppIds,
    Count,
    Dispatch,
    OnFailure,
    Percent,
    RateOrAuto,
    Share,
    Text,
    Texts,
    Truth,
)


class _Strict(Described):
    """Unknown keys are errors, and a value never changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be above 0")
    return value


class Variable(_Strict):
    """A value that the caller gives with `--var NAME=VALUE`."""

    description: Text | None = None
    """What it stands for; shown when it is missing."""
    required: Truth = False
    """Whether the caller has to give it."""
    default: Annotated[str | None, WithJsonSchema({"type": ["string", "number"]})] = None
    """What it is when the caller does not give it."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return {"default": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_a_value(self) -> Self:
        if self.required and self.default is not None:
            raise ValueError("a required variable has no default; drop one of the two")
        if not self.required and self.default is None:
            raise ValueError("give the variable a default, or say `required: true`")
        return self


class Protect(_Strict):
    """CVMs that are never touched, whatever any select says. One matching key is enough."""

    name: Texts | None = None
    """Names, with * and ?."""
    app_id: AppIds | None = None
    """App ids, with or without `0x` or `app_`."""
    teepod: Texts | None = None
    """Teepods by number, or by name with * and ?."""

    def __bool__(self) -> bool:
        return bool(self.name or self.app_id or self.teepod)


class Guards(_Strict):
    """Conditions under which the plan is refused, and nothing is sent."""

    max_targets: Count | None = None
    """Refuse a plan with more targets than this."""
    max_percent: Percent | None = None
    """Refuse a plan with more targets than this percentage of the CVMs that are up now (for starts: that are down)."""
    protect: Protect = Protect()
    """CVMs that are never touched."""


class Limits(_Strict):
    """How fast and how wide a run may go. What stands here wins over the settings' `rate`."""

    requests_per_second: RateOrAuto | None = None
    """All requests of the run together, per second; `auto` finds out what the API allows."""
    burst: Count | None = None
    """How many requests may go at once after a pause."""
    max_in_flight: Count | None = None
    """Requests sent and not yet answered."""
    per_teepod: Count | None = None
    """The same for one teepod, status reads left out; a CVM that is merely settling does not count."""
    max_failures: Share | None = None
    """End the run when more targets than this failed or were refused (as %: of the planned targets). 0: not one."""
    dispatch: Dispatch | None = None
    """`single`: one request a CVM. `batch`: up to 50 CVMs a request in `stop` steps, whose statuses tell the effect."""


class Select(_Strict):
    """Which CVMs. Keys AND together, the values inside one key OR together."""

    teepod: Texts | None = None
    """Teepods by number, or by name with * and ?."""
    app_id: AppIds | None = None
    """App ids, with or without `0x` or `app_`."""
    name: Texts | None = None
    """Names of CVMs, with * and ?."""
    status: Texts | None = None
    """Statuses; without it every CVM on which the action has anything to do."""
    any: Annotated[list["Select"], Field(min_length=1)] | None = None
    """Whole selects, of which one has to match."""
    exclude: "Select | None" = None
    """CVMs to leave out again."""
    all: Truth = False
    """Every CVM of the workspace."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        chosen = [key for key in ("teepod", "app_id", "name", "any") if getattr(self, key) is not None]
        if self.all and chosen:
            raise ValueError(f"`all: true` and `{chosen[0]}` contradict each other; keep one")
        if not self.all and not chosen and self.status is None:
            raise ValueError("the select is empty; name a teepod, app_id or name, or say `all: true` for every CVM")
        return self


class Settle(_Strict):
    """How long to wait until a CVM is down, or running again."""

    timeout: Annotated[Duration, AfterValidator(_positive)] | None = None
    """From each CVM's own acceptance; without it the settings' `settle.timeout`."""


class Step(_Strict):
    """One action on one selection of CVMs."""

    name: Text = ""
    """What the step is called in the plan, the log and the report; `step N` when left out."""
    action: Literal["stop", "shutdown", "start", "restart"]
    """`stop` pulls the power, `shutdown` asks the guest to end, `start` powers on, `restart` is both of the latter."""
    select: Select
    """Which CVMs."""
    settle: Settle = Settle()
    """How long to wait."""
    on_failure: OnFailure = "continue"
    """Whether the next step begins (`continue`) or the run ends (`stop`) when a target did not end as wanted."""


def _steps_differ(steps: list[Step]) -> list[Step]:
    seen: set[str] = set()
    for index, step in enumerate(steps):
        if step.name in seen:
            message = "two steps are called {name}; the audit log tells steps apart by name"
            raise PydanticCustomError(SAME_STEP, message, {"name": repr(step.name), "index": index})
        seen.add(step.name)
    return steps


SAME_STEP = "same_step"
"""The kind of fault when two steps share a name; its context has the `index` of the second."""


class Playbook(_Strict):
    """Which CVMs, and what to do with them."""

    name: Text
    """What the run is called."""
    description: Text | None = None
    """One sentence for those who read the plan."""
    vars: dict[str, Variable] = {}  # noqa: RUF012 - pydantic copies it
    """Values that the caller gives; `${NAME}` in any text value stands for them."""
    guards: Guards = Guards()
    """When to refuse the plan."""
    limits: Limits = Limits()
    """How fast and how wide."""
    schedule: Schedule | None = None
    """When to run."""
    steps: Annotated[list[Step], Field(min_length=1), AfterValidator(_steps_differ)]
    """What to do, in order."""

    @model_validator(mode="before")
    @classmethod
    def _name_the_steps(cls, value: object) -> object:
        if isinstance(value, dict) and isinstance(value.get("steps"), list):
            steps = [
                {"name": f"step {number}", **step} if isinstance(step, dict) else step
                for number, step in enumerate(value["steps"], start=1)
            ]
            return {**value, "steps": steps}
        return value


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a playbook, for editors."""
    schema = Playbook.model_json_schema()
    variables = schema["properties"]["vars"]
    short_form = {"type": ["string", "number"], "description": "Its default, in short."}
    variables["additionalProperties"] = {"anyOf": [variables["additionalProperties"], short_form]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
