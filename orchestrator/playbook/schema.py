"""The schema of a playbook: pydantic models, also the source of the JSON Schema and of the reference in the docs."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from orchestrator.documented_model import DocumentedModel
from orchestrator.playbook.freeze import Times
from orchestrator.playbook.limits import Limits
from orchestrator.playbook.schedule import Schedule, Wake, raise_schedule_error
from orchestrator.playbook.steps import AnyStep, Select, Step
from orchestrator.playbook.value_types import (
    AppIds,
    Count,
    NoticeKind,
    Percent,
    PositiveDuration,
    Share,
    ShareValue,
    StrictBool,
    Text,
    Texts,
    as_list,
)


def _wrap_text(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _check_not_zero(share: Share) -> Share:
    if not share.amount:
        raise ValueError("must be above 0; leave `keep_running` out to keep no CVM up")
    return share


class _OneOrMore:
    """A list of mappings; a single mapping stands for a list with a single item."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        return core_schema.no_info_before_validator_function(_as_list, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        several = handler(schema)
        return {"anyOf": [several["items"], {**several, "minItems": 1}]}


def _as_list(value: object) -> object:
    return [value] if isinstance(value, dict) else as_list(value)


class Variable(DocumentedModel):
    """A value of the caller: `--var NAME=VALUE`."""

    description: Text | None = None
    """The meaning of the variable; the error about a missing value shows this text."""
    required: StrictBool = False
    """Whether the caller must give a value."""
    default: Text | None = None
    """The value without a `--var`; never empty."""

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, value: object) -> object:
        return {"default": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        if self.required and self.default is not None:
            raise ValueError("a required variable can't have a default; remove `required` or `default`")
        if not self.required and self.default is None:
            raise ValueError("the variable has no default; add a default or `required: true`")
        return self


class Protect(DocumentedModel):
    """CVMs excluded from every action, even if a select names the CVM. A single matching key is enough."""

    name: Texts | None = None
    """Names of CVMs; `*` and `?` are wildcards."""
    app_id: AppIds | None = None
    """App ids, with or without `0x` or `app_`."""
    teepod: Texts | None = None
    """Numbers or names of teepods; `*` and `?` are wildcards in names."""

    def __bool__(self) -> bool:
        return bool(self.name or self.app_id or self.teepod)


class KeepRunning(DocumentedModel):
    """The minimum number of CVMs left up in every group."""

    per: Literal["app_id", "teepod"]
    """The group: all CVMs of an app, or of a teepod."""
    min: Annotated[ShareValue, AfterValidator(_check_not_zero)]
    """CVMs left up in every group, as a number or a percentage of the group's CVMs up now. Smaller groups stay up as a
    whole.
    """


class Guards(DocumentedModel):
    """Conditions for a plan. A plan outside these conditions is refused, and nothing is sent."""

    max_targets: Count | None = None
    """Refuse a plan with more targets than this."""
    max_percent: Percent | None = None
    """Refuse a plan with more targets than this percentage of the CVMs that are up now (for starts: of all CVMs)."""
    protect: Protect = Protect()
    """CVMs excluded from every action."""
    keep_running: Annotated[list[KeepRunning], _OneOrMore()] | None = None
    """CVMs left up per app or teepod: one rule, or a list of rules (all rules apply)."""
    not_during: Annotated[list[Times], _OneOrMore()] | None = None
    """Times without stops, shutdowns and restarts. Starts are allowed."""
    only_during: Annotated[list[Times], _OneOrMore()] | None = None
    """The only times for stops, shutdowns and restarts. Of several rules, all must allow the time."""


class PlaybookGuards(Guards):
    """Conditions for a plan. A plan outside these conditions is refused, and nothing is sent."""

    ignore_keep: StrictBool = False
    """Act on exempted CVMs too (`orchestrator keep`, `keep.file`), such as in an emergency."""


def _check_steps(steps: list[AnyStep]) -> list[AnyStep]:
    earlier: dict[str, AnyStep] = {}
    for index, step in enumerate(steps):
        if step.name in earlier:
            message = "two steps have the name {name}; give every step its own name"
            raise PydanticCustomError(SAME_STEP, message, {"name": repr(step.name), "index": index})
        if isinstance(step, Step):
            _check_result(index, step, earlier)
        earlier[step.name] = step
    if not any(isinstance(step, Step) for step in steps):
        raise ValueError("no step acts on CVMs; add a step with `stop`, `shutdown`, `start` or `restart`")
    return steps


def _check_result(index: int, step: Step, earlier: dict[str, AnyStep]) -> None:
    """Check a step's result selector: only in the step's own select, and only for an earlier step with CVMs.

    Raises:
        PydanticCustomError: of type `WRONG_RESULT`, with the step's index.
    """

    def make_error(reason: str) -> PydanticCustomError:
        return PydanticCustomError(WRONG_RESULT, "{reason}", {"reason": reason, "index": index})

    if _has_inner_result(step.select):
        raise make_error("must stand in the step's own select, not in `any` or `exclude`")
    result = step.select.result
    if result is None:
        return
    if step.select.status is not None:
        raise make_error("can't be combined with `status`; use `outcome` instead")
    if not isinstance(earlier.get(result.step), Step):
        known = ", ".join(repr(name) for name, each in earlier.items() if isinstance(each, Step))
        raise make_error(
            f"no step {result.step!r} before this one acts on CVMs" + (f"; there is {known}" if known else "")
        )


def _has_inner_result(select: Select) -> bool:
    inner = [*(select.any or ()), *([select.exclude] if select.exclude else ())]
    return any(each.result is not None or _has_inner_result(each) for each in inner)


WRONG_RESULT = "wrong_result"
"""Error type for an invalid result selector; the error's context has the `index` of the step."""

SAME_STEP = "same_step"
"""Error type for two steps with the same name; the error's context has the `index` of the second step."""


class Notices(DocumentedModel):
    """Kinds of notices to send. The settings' `notify` section names the receivers."""

    on: Annotated[list[NoticeKind], BeforeValidator(_wrap_text)] | None = None
    """Kinds to send; default: the settings' `notify.on`. An empty list sends no notice."""


class Fleet(DocumentedModel):
    """Limits over all workspaces of a fleet run. Without a value here, the playbook's own value is also the total."""

    first: Text | None = None
    """Name of the canary workspace: the other workspaces begin once its run has ended as wanted."""
    max_targets: Count | None = None
    """Refuse a plan with more targets in all workspaces together."""
    max_percent: Percent | None = None
    """Refuse a plan with more targets than this percentage of the CVMs up now in all workspaces together."""
    max_failures: ShareValue | None = None
    """Start nothing new in any workspace after more failed or refused targets than this (as %: of all targets)."""


class Playbook(DocumentedModel):
    """CVMs to select, and the actions on these CVMs."""

    name: Text
    """Name of the playbook and of its runs."""
    description: Text | None = None
    """One sentence for the readers of the plan."""
    vars: dict[str, Variable] = {}  # noqa: RUF012 - pydantic copies it
    """Values given by the caller; `${NAME}` in a text value is replaced by the variable's value."""
    guards: PlaybookGuards = PlaybookGuards()
    """Conditions for the plan; a plan outside these conditions is refused."""
    limits: Limits = Limits()
    """Limits of the run's rate and width."""
    schedule: Schedule | None = None
    """Times of automatic runs."""
    wake: Wake | None = None
    """Times of automatic starts of the CVMs stopped by this playbook. Needs `schedule`."""
    notify: Notices = Notices()
    """Kinds of notices to send."""
    deadline: PositiveDuration | None = None
    """Time from the run's start within which the last request should be sent. The plan warns about a later request."""
    workspaces: Texts | None = None
    """Names of workspaces of the settings; `*` and `?` are wildcards. `--workspace` wins. A run for each workspace."""
    fleet: Fleet = Fleet()
    """Limits over all workspaces, and the canary workspace."""
    steps: Annotated[list[AnyStep], Field(min_length=1), AfterValidator(_check_steps)]
    """Steps of the run, in order."""

    @property
    def acting_steps(self) -> list[Step]:
        """The steps with actions on CVMs."""
        return [step for step in self.steps if isinstance(step, Step)]

    @field_validator("wake")
    @classmethod
    def _check_wake(cls, wake: Wake | None, info: ValidationInfo) -> Wake | None:
        if wake is not None and info.data.get("schedule", wake) is None:
            hint = "add `schedule`, with the times of the stops, or remove `wake`"
            raise_schedule_error("needs a `schedule`: a wake starts what the schedule stopped", hint)
        return wake

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
    """Return the JSON Schema of a playbook, for editors."""
    schema = Playbook.model_json_schema()
    variables = schema["properties"]["vars"]
    short_form = {"type": ["string", "number"], "description": "Short form: the variable's default."}
    variables["additionalProperties"] = {"anyOf": [variables["additionalProperties"], short_form]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
