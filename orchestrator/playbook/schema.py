"""What a playbook may say: the pydantic models, which are also the JSON Schema and the reference in the docs."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from orchestrator.playbook.schedule import Schedule
from orchestrator.playbook.steps import AnyStep, Select, Step, Strict
from orchestrator.playbook.value_types import (
    AppIds,
    Count,
    Dispatch,
    NoticeKind,
    Percent,
    PositiveDuration,
    RateOrAuto,
    Share,
    StrictBool,
    Text,
    Texts,
    as_list,
)


def _wrap_text(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _check_not_zero(share: Share) -> Share:
    if not share.amount:
        raise ValueError("must be above 0; leave `keep_running` out to keep none")
    return share


class _OneOrMore:
    """A list of mappings, which may be written as one mapping."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        return core_schema.no_info_before_validator_function(_as_list, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        several = handler(schema)
        return {"anyOf": [several["items"], {**several, "minItems": 1}]}


def _as_list(value: object) -> object:
    return [value] if isinstance(value, dict) else as_list(value)


class Variable(Strict):
    """A value that the caller gives with `--var NAME=VALUE`."""

    description: Text | None = None
    """What it stands for; shown when it is missing."""
    required: StrictBool = False
    """Whether the caller has to give it."""
    default: Text | None = None
    """What it is when the caller does not give it; never empty."""

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, value: object) -> object:
        return {"default": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        if self.required and self.default is not None:
            raise ValueError("a required variable has no default; drop one of the two")
        if not self.required and self.default is None:
            raise ValueError("give the variable a default, or say `required: true`")
        return self


class Protect(Strict):
    """CVMs that are never touched, whatever any select says. One matching key is enough."""

    name: Texts | None = None
    """Names, with * and ?."""
    app_id: AppIds | None = None
    """App ids, with or without `0x` or `app_`."""
    teepod: Texts | None = None
    """Teepods by number, or by name with * and ?."""

    def __bool__(self) -> bool:
        return bool(self.name or self.app_id or self.teepod)


class KeepRunning(Strict):
    """How many CVMs of each group stay up, whatever is selected."""

    per: Literal["app_id", "teepod"]
    """What makes a group."""
    min: Annotated[Share, AfterValidator(_check_not_zero)]
    """So many stay up of each group, or this part of those that are up now; all of them where there are fewer."""


class Guards(Strict):
    """Conditions under which the plan is refused, and nothing is sent."""

    max_targets: Count | None = None
    """Refuse a plan with more targets than this."""
    max_percent: Percent | None = None
    """Refuse a plan with more targets than this percentage of the CVMs that are up now (for starts: of all CVMs)."""
    protect: Protect = Protect()
    """CVMs that are never touched."""
    keep_running: Annotated[list[KeepRunning], _OneOrMore()] | None = None
    """How many CVMs of each app or teepod stay up: one rule, or a list of rules that all hold."""


class Limits(Strict):
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


def _check_steps(steps: list[AnyStep]) -> list[AnyStep]:
    earlier: dict[str, AnyStep] = {}
    for index, step in enumerate(steps):
        if step.name in earlier:
            message = "two steps are called {name}; the audit log tells steps apart by name"
            raise PydanticCustomError(SAME_STEP, message, {"name": repr(step.name), "index": index})
        if isinstance(step, Step):
            _check_result(index, step, earlier)
        earlier[step.name] = step
    if not any(isinstance(step, Step) for step in steps):
        raise ValueError("no step acts on any CVM; add one that stops, shuts down, starts or restarts")
    return steps


def _check_result(index: int, step: Step, earlier: dict[str, AnyStep]) -> None:
    """A result is that of a step before this one which acts on CVMs, and is asked for by the step's own select."""

    def make_error(reason: str) -> PydanticCustomError:
        return PydanticCustomError(WRONG_RESULT, "{reason}", {"reason": reason, "index": index})

    if _has_inner_result(step.select):
        raise make_error("belongs to the step's own select, not into `any` or `exclude`")
    result = step.select.result
    if result is None:
        return
    if step.select.status is not None:
        raise make_error("does not go with `status`; the outcome says how the CVM ended")
    if not isinstance(earlier.get(result.step), Step):
        known = ", ".join(repr(name) for name, each in earlier.items() if isinstance(each, Step))
        raise make_error(
            f"no step {result.step!r} before this one acts on CVMs" + (f"; there is {known}" if known else "")
        )


def _has_inner_result(select: Select) -> bool:
    inner = [*(select.any or ()), *([select.exclude] if select.exclude else ())]
    return any(each.result is not None or _has_inner_result(each) for each in inner)


WRONG_RESULT = "wrong_result"
"""The kind of fault when a step asks for a result that there is not; its context has the `index` of the step."""

SAME_STEP = "same_step"
"""The kind of fault when two steps share a name; its context has the `index` of the second."""


class Notices(Strict):
    """Of what notices are sent, to where the settings' `notify` says."""

    on: Annotated[list[NoticeKind], BeforeValidator(_wrap_text)] | None = None
    """What is told; without it what the settings' `notify.on` says. An empty list: nothing."""


class Playbook(Strict):
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
    notify: Notices = Notices()
    """Of what notices are sent."""
    deadline: PositiveDuration | None = None
    """Within what time from its start the run should be done; the plan says whether it can be."""
    steps: Annotated[list[AnyStep], Field(min_length=1), AfterValidator(_check_steps)]
    """What to do, in order."""

    @property
    def acting_steps(self) -> list[Step]:
        """The steps that act on CVMs."""
        return [step for step in self.steps if isinstance(step, Step)]

    @model_validator(mode="before")
    @classmethod
    def _add_step_names(cls, value: object) -> object:
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
