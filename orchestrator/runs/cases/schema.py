"""The schema of a cases file: pydantic models, also the source of the JSON Schema and of the reference in the docs."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from orchestrator.cvm import HASHID, normal_app_id
from orchestrator.documented_model import DocumentedModel
from orchestrator.errors import PlaybookError
from orchestrator.outcome import Exit, SkipReason
from orchestrator.playbook.facts import Moment
from orchestrator.playbook.load import validate_tree
from orchestrator.playbook.plan_warning import WarningCode
from orchestrator.playbook.shipped import CASES
from orchestrator.playbook.source import Source, read_source
from orchestrator.playbook.value_types import Text
from orchestrator.runs.inventory_file import InventoryCvm, SavedInventory, collect_cvms
from orchestrator.settings.model import BillingSection, GuardsSection, KeepSection, RateSection, SettleSection
from orchestrator.validation_messages import suggest_nearest

VERSION = 1
_HINT = "`orchestrator schema --cases` prints what each key takes"
_NOTHING = frozenset({"null", "~", ""})
_EXITS = (Exit.OK, Exit.USAGE, Exit.GUARD, Exit.NO_MATCH)
_Code = TypeVar("_Code", bound=StrEnum)


def _parse_code(codes: type[_Code]) -> Callable[[object], _Code]:
    def parse(value: object) -> _Code:
        """Parse a code; an unknown code has a hint with the nearest codes."""
        try:
            return codes(str(value))
        except ValueError:
            hint = {"given": repr(str(value))[:60], "hint": suggest_nearest(str(value), [each.value for each in codes])}
            raise PydanticCustomError("code", "there is no code {given}", hint) from None

    return parse


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _check_version(version: int) -> int:
    if version != VERSION:
        raise ValueError(f"version {version} is unknown: this program reads version {VERSION}")
    return version


def _check_exit(code: int) -> int:
    if code not in _EXITS:
        raise ValueError(f"must be an exit code of `plan`: {', '.join(str(int(each)) for each in _EXITS)}")
    return code


_TEXT: dict[str, Any] = {"type": ["string", "number"], "minLength": 1}
Names = Annotated[
    list[Text],
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}),
]
"""Names or identifiers of CVMs; a single text stands for a list, and an empty list for no CVM."""

ONLY_STEP = "*"
"""The key of targets given as a list, for the only step of a playbook."""

Targets = Annotated[
    dict[Text, Names],
    BeforeValidator(lambda value: {ONLY_STEP: value} if isinstance(value, str | list) else value),
    WithJsonSchema(
        {
            "anyOf": [
                _TEXT,
                {"type": "array", "items": _TEXT},
                {"type": "object", "additionalProperties": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}},
            ]
        }
    ),
]
"""Names or identifiers of CVMs by step, or for the only step."""

SkipCode = Annotated[
    SkipReason, PlainValidator(_parse_code(SkipReason)), WithJsonSchema({"enum": [each.value for each in SkipReason]})
]
PlanWarningCode = Annotated[
    WarningCode,
    PlainValidator(_parse_code(WarningCode)),
    WithJsonSchema({"enum": [each.value for each in WarningCode]}),
]
GuardResult = Literal["ok", "refused"] | None


class CaseCvm(InventoryCvm):
    """A CVM of a case, with the keys of an inventory file. An unknown fact is left out or null."""

    model_config = ConfigDict(extra="forbid")

    status: str = "running"
    """The status; `running` if left out."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nothing(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        facts = {key: fact for key, fact in value.items() if not (isinstance(fact, str) and fact in _NOTHING)}
        if not facts.keys() & {"name", "id", "vm_uuid"}:
            raise ValueError("the CVM has no `name`, `id` or `vm_uuid`")
        return facts

    def complete(self, number: int) -> "CaseCvm":
        """Return the CVM with an identifier, as of every real CVM, and with an app_id in normal form."""
        more: dict[str, object] = {}
        if self.id is None and self.vm_uuid is None:
            more["id"] = f"{HASHID}case_{number}"
        if self.app_id is not None:
            more["app_id"] = normal_app_id(self.app_id)
        if self.creator is not None and self.creator_id is None:
            more |= {"creator_username": self.creator_username or self.creator, "creator_id": self.creator}
        return self.model_copy(update=more)


class _OrPath:
    """The path of an inventory file, or CVMs with the error messages of a list."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        del source

        def read(value: object, as_list: Callable[[object], object]) -> object:
            """Keep a path; unwrap `{cvms: […]}`."""
            if isinstance(value, str) and value.strip():
                return Path(value)
            return as_list(value["cvms"] if isinstance(value, dict) and value.keys() == {"cvms"} else value)

        return core_schema.no_info_wrap_validator_function(read, handler.generate_schema(list[CaseCvm]))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler(schema)
        wrapped = {"type": "object", "properties": {"cvms": found}, "required": ["cvms"], "additionalProperties": False}
        return {"anyOf": [{"type": "string", "minLength": 1}, found, wrapped]}


class CaseSettings(DocumentedModel):
    """The settings of a case; other settings have their defaults. Settings files and the environment do not count.

    Paths are relative to the folder of the cases file.
    """

    guards: GuardsSection = GuardsSection()
    """The section `guards` of the settings."""
    keep: KeepSection = KeepSection()
    """The section `keep` of the settings."""
    rate: RateSection = RateSection()
    """The section `rate` of the settings."""
    settle: SettleSection = SettleSection()
    """The section `settle` of the settings."""
    billing: BillingSection = BillingSection()
    """The section `billing` of the settings."""


class ExpectedGuards(DocumentedModel):
    """The expected result of guards: `ok` or `refused`. A guard without a limit has no result."""

    max_targets: GuardResult = None
    """The result of `max_targets`."""
    max_percent: GuardResult = None
    """The result of `max_percent`."""
    protect: GuardResult = None
    """The result of `protect`."""
    keep_running: GuardResult = None
    """The result of `keep_running`."""
    not_during: GuardResult = None
    """The result of `not_during`."""
    only_during: GuardResult = None
    """The result of `only_during`."""


class ExpectedFirings(DocumentedModel):
    """The expected firings of the playbook's schedule in a time range. Firings in a freeze do not count."""

    from_: Moment = Field(alias="from")
    """The begin of the time range."""
    to: Moment
    """The end of the time range, excluded."""
    at: Annotated[list[Moment], BeforeValidator(_as_list)]
    """All planned times in the range; an empty list for no firing."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.to <= self.from_:
            raise ValueError("`to` must be later than `from`")
        outside = next((each for each in self.at if not self.from_ <= each < self.to), None)
        if outside is not None:
            raise ValueError(f"{outside:%Y-%m-%dT%H:%M:%SZ} is outside of `from` and `to`")
        return self


class Expect(DocumentedModel):
    """The expected plan. Missing keys are not checked."""

    targets: Targets | None = None
    """Targets by step, as names or identifiers. A step that is left out has no target. A list for the only step."""
    skipped: dict[SkipCode, Names] | None = None
    """All skipped CVMs of a code, by code, as names or identifiers. A code that is left out is not checked."""
    guards: ExpectedGuards | None = None
    """Results of guards: `ok` or `refused`. A guard that is left out is not checked."""
    warnings: Annotated[list[PlanWarningCode], BeforeValidator(_as_list)] | None = None
    """Codes of all warnings; an empty list for no warning."""
    exit_code: (
        Annotated[int, AfterValidator(_check_exit), WithJsonSchema({"enum": [int(each) for each in _EXITS]})] | None
    ) = None
    """The exit code of `plan`."""
    firings: ExpectedFirings | None = None
    """The firings of the schedule in a time range."""

    @model_validator(mode="after")
    def _check_not_empty(self) -> Self:
        if all(getattr(self, key) is None for key in type(self).model_fields):
            raise ValueError(
                "expects nothing; add `targets`, `skipped`, `guards`, `warnings`, `exit_code` or `firings`"
            )
        return self


class Case(DocumentedModel):
    """A case: CVMs, a moment, and the expected plan."""

    name: Text
    """The name of the case, in one sentence."""
    inventory: Annotated[Path | list[CaseCvm], _OrPath()]
    """The path of an inventory file (`cvms --save`), relative to the folder of the cases file; or the CVMs."""
    vars: dict[Text, Text] = {}  # noqa: RUF012 - pydantic copies it
    """Values of the playbook's variables."""
    now: Moment | None = None
    """The time of the plan. Default: the time of the inventory file; for written CVMs the present."""
    settings: CaseSettings = CaseSettings()
    """Settings of the case."""
    expect: Expect
    """The expected plan."""


class CasesFile(DocumentedModel):
    """Cases of the playbook with the same name in the same folder."""

    version: Annotated[int, AfterValidator(_check_version), WithJsonSchema({"const": VERSION})]
    """The version of the format."""
    cases: Annotated[list[Case], Field(min_length=1)]
    """The cases, in order."""


def cases_schema() -> dict[str, Any]:
    """Return the JSON Schema of a cases file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **CasesFile.model_json_schema()}


@dataclass(frozen=True, slots=True)
class LoadedCases:
    """The cases of a playbook.

    Attributes:
        source: the document, for the lines of errors.
        playbook: the file of the playbook.
        cases: the cases, in order.
    """

    source: Source
    playbook: Path
    cases: tuple[Case, ...]

    @property
    def file(self) -> Path:
        """The cases file."""
        return self.source.file

    def line_of(self, number: int, *path: str) -> int:
        """Return the line of a key in a case, counted from 0."""
        return self.source.line_of(("cases", number, *path))

    def read_settings(self, number: int) -> dict[str, Any]:
        """Return the settings of a case, as in the file."""
        tree: Any = self.source.tree["cases"]
        found: dict[str, Any] = tree[number].get("settings", {})
        return found

    def error(self, number: int, message: str, *path: str, hint: str | None = None) -> PlaybookError:
        """Return an error about a key in a case."""
        name = self.cases[number].name
        return PlaybookError(f"case {name!r}: {message}", file=self.file, line=self.line_of(number, *path), hint=hint)


def load_cases(file: Path) -> LoadedCases:
    """Read a cases file, and find its playbook.

    Raises:
        PlaybookError: with file, line and key, when the file is invalid, or has no playbook beside it.
    """
    source = read_source(file, "cases file")
    found = validate_tree(CasesFile, source.tree, source, (), schema_hint=_HINT)
    first: dict[str, int] = {}
    for number, case in enumerate(found.cases):
        line = source.line_of(("cases", number, "name"))
        if case.name in first:
            message = f"cases[{number}].name: the name {case.name!r} is also used in line {first[case.name]}"
            raise PlaybookError(message, file=file, line=line, hint="give every case its own name")
        first[case.name] = line
    return LoadedCases(source, find_tested_playbook(file), tuple(found.cases))


def find_tested_playbook(cases: Path) -> Path:
    """Find the playbook of a cases file.

    Raises:
        PlaybookError: when there is none in the same folder.
    """
    name = next((cases.name.removesuffix(end) for end in CASES if cases.name.endswith(end)), cases.stem)
    candidates = [cases.with_name(f"{name}{suffix}") for suffix in (".yaml", ".yml")]
    found = next((each for each in candidates if each.exists()), None)
    if found is None:
        hint = f"the cases of {candidates[0].name} are in {name}{CASES[0]}, in the same folder"
        raise PlaybookError(f"the cases file has no playbook {candidates[0].name} beside it", file=cases, hint=hint)
    return found


def find_cases(playbook: Path) -> Path | None:
    """Find the cases file beside a playbook; None without such a file."""
    return next((each for end in CASES if (each := playbook.with_name(f"{playbook.stem}{end}")).exists()), None)


def collect_case(cvms: list[CaseCvm], moment: datetime) -> SavedInventory:
    """Collect the written CVMs of a case; errors as in `collect_cvms`."""
    return collect_cvms((cvm.complete(number) for number, cvm in enumerate(cvms, start=1)), moment)
