"""Load a playbook from a file: parse, substitute variables, validate with the schema, and locate errors.

`${var}` is replaced inside text values, only after parsing: a value can never become YAML.
"""

import copy
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import MissingVariableError, PlaybookError, UsageError
from orchestrator.playbook.schema import SAME_STEP, WRONG_RESULT, Playbook, Variable
from orchestrator.playbook.shipped import SHIPPED, list_playbooks, locate_playbook
from orchestrator.playbook.source import KeyPath, Source, Tree, read_source
from orchestrator.playbook.steps import KINDS
from orchestrator.state_files import is_plan_file
from orchestrator.validation_messages import explain_fault, format_path, suggest_nearest

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
MAX_PUT_IN = 1_000_000
"""Characters: the same as the limit of a playbook without variables."""


def parse_assignments(pairs: tuple[str, ...]) -> dict[str, str]:
    """Parse the variables of `--var k=v`, in order; the last value of a name wins.

    Raises:
        UsageError: when an assignment has no `=` or no name.
    """
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--var {pair!r} has no value", hint="write --var NAME=VALUE")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise UsageError(f"the value of --var {name} is not UTF-8 text")
        values[name] = value
    return values


def substitute_variables(source: Source, values: Mapping[str, str], declared: Mapping[str, object]) -> dict[str, Tree]:
    """Replace every `${name}` outside of `vars` by the variable's value.

    Args:
        source: the document.
        values: the value of every variable.
        declared: the declared variables, for the hint.

    Raises:
        PlaybookError: with the line, when a name is not declared.
    """

    def walk_tree(tree: Tree, path: KeyPath) -> Tree:
        if isinstance(tree, dict):
            return {key: walk_tree(value, (*path, key)) for key, value in tree.items()}
        if isinstance(tree, list):
            return [walk_tree(value, (*path, index)) for index, value in enumerate(tree)]
        if "${" in _REFERENCE.sub("", tree):
            raise PlaybookError(
                f"{format_path(path)} has an incomplete ${{NAME}}",
                file=source.file,
                line=source.line_of(path),
                hint="write ${NAME} with a NAME declared under `vars`",
            )
        return _REFERENCE.sub(lambda match: look_up_value(match.group(1), path), tree)

    put_in = 0

    def look_up_value(name: str, path: KeyPath) -> str:
        nonlocal put_in
        if name in values:
            put_in += len(values[name])
            if put_in > MAX_PUT_IN:
                raise PlaybookError(
                    f"the values of variables add more than {MAX_PUT_IN:,} characters to the playbook",
                    file=source.file,
                    line=source.line_of(path),
                    hint=f"use shorter values, or ${{{name}}} in fewer places",
                )
            return values[name]
        raise PlaybookError(
            f"unknown variable ${{{name}}}",
            file=source.file,
            line=source.line_of(path),
            hint=_suggest_reference(name, list(declared)),
        )

    return {key: value if key == "vars" else walk_tree(value, (key,)) for key, value in source.tree.items()}


def _suggest_reference(name: str, known: list[str]) -> str:
    if not known:
        return f"declare it: `vars: {{{name}: {{required: true}}}}`"
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean ${{{close[0]}}}?" if close else f"declared under `vars`: {', '.join(known)}"


_T = TypeVar("_T")
_SCHEMA_HINT = "`orchestrator schema` prints what each key takes"
_MOST_FINDINGS = 50
"""Most reported findings per file; the hint of every finding takes time."""
_STRUCTURE = frozenset({"model_type", "model_attributes_type", "dict_type", "list_type"})
"""Faults that no value of a variable can correct, because a value is always text."""


IN_MEMORY = "command line"
"""The placeholder for the file of a playbook from a command line."""


@dataclass(frozen=True, slots=True)
class LoadedPlaybook:
    """A playbook with its origin, for the audit log.

    Attributes:
        playbook: the playbook, with all variables substituted.
        file: the playbook's file.
        sha256: hash of the file's content, in hex.
        data: content of the file.
        variables: the value of every declared variable.
        undefined: required variables without a value; always empty without `allow_undefined`.
        in_memory: whether the playbook comes from a command line, so that `file` is a placeholder.
        calendars: content of the calendars of freezes, by their text in the playbook, for a run on another machine.
    """

    playbook: Playbook
    file: Path
    sha256: str
    data: bytes = field(repr=False)
    variables: dict[str, str]
    undefined: tuple[str, ...] = ()
    in_memory: bool = False
    calendars: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def path(self) -> str | None:
        """The path of the file; None for a playbook without a file."""
        return None if self.in_memory else str(self.file)


def find_playbook(name: str, folder: Path = Path("playbooks"), shipped: Path = SHIPPED) -> Path:
    """Find the file of a playbook: a path, or the name of a playbook in `./playbooks` or of a shipped playbook.

    Raises:
        PlaybookError: when there is no such playbook.
    """
    found = locate_playbook(name, folder, shipped)
    if found is not None:
        return found
    own, others = list_playbooks(folder), list_playbooks(shipped)
    close = difflib.get_close_matches(name, [*own, *others], n=1)
    known = [f"known in ./{folder}: {', '.join(own)}"] if own else []
    known += [f"shipped: {', '.join(others)}"] if others else []
    hint = f"did you mean {close[0]!r}?" if close else "; ".join(["give the path of a playbook", *known])
    raise PlaybookError(f"there is no playbook {name!r}", file=Path(name), hint=hint)


def load_playbook(file: Path, assignments: Mapping[str, str], *, allow_undefined: bool = False) -> LoadedPlaybook:
    """Read a playbook.

    Args:
        file: the YAML file.
        assignments: the caller's values of variables.
        allow_undefined: whether required variables may have no value; keys with such variables are then not checked.

    Raises:
        PlaybookError: with file, line and key, when the playbook is invalid, or the file is a plan file.
        UsageError: when a variable with a value is not declared.
    """
    try:
        return load_source(read_source(file), assignments, allow_undefined=allow_undefined)
    except UsageError as error:
        if not is_plan_file(file):
            raise
        hint = f"carry the plan out with `orchestrator run --plan {file}`"
        raise PlaybookError("this is a plan file, not a playbook", file=file, hint=hint) from error


def load_source(source: Source, assignments: Mapping[str, str], *, allow_undefined: bool = False) -> LoadedPlaybook:
    """Load a playbook from a parsed document; arguments and errors as in `load_playbook`."""
    declared = _read_variables(source)
    values = {name: variable.default for name, variable in declared.items() if variable.default is not None}
    unknown = [name for name in assignments if name not in declared]
    if unknown:
        raise UsageError(f"the playbook has no variable {unknown[0]!r}", hint=_suggest_name(unknown[0], list(declared)))
    for name, value in assignments.items():
        # An empty value would widen a pattern: `${prefix}*` would match every name.
        if not value.strip():
            raise UsageError(
                f"the variable {name!r} has an empty value",
                hint=f"give a value: --var {name}=VALUE; an unset variable of the shell is empty",
            )
    values.update(assignments)
    undefined = tuple(name for name in declared if name not in values)
    if undefined and not allow_undefined:
        first, *rest = (_missing_value_error(name, declared[name], source) for name in undefined)
        first.more = tuple(rest)
        raise first
    # A variable without a value keeps its reference as text, so that faults caused by the reference are found.
    open_ones = {name: f"${{{name}}}" for name in undefined}
    tree = substitute_variables(source, {**values, **open_ones}, declared)
    playbook = validate_tree(Playbook, tree, source, (), tuple(open_ones.values()))
    return LoadedPlaybook(playbook, source.file, source.sha256, source.data, values, undefined)


def _read_variables(source: Source) -> dict[str, Variable]:
    tree = source.tree.get("vars")
    if tree is None:
        return {}
    declared = validate_tree(dict[str, Variable], tree, source, ("vars",))
    for name, variable in declared.items():
        if variable.default is not None and "${" in variable.default:
            raise PlaybookError(
                f"vars.{name}: a default can't refer to another variable",
                file=source.file,
                line=source.line_of(("vars", name, "default")),
                hint="write the value out",
            )
    return declared


def _missing_value_error(name: str, variable: Variable, source: Source) -> MissingVariableError:
    description = f" ({variable.description})" if variable.description else ""
    return MissingVariableError(
        f"the variable {name!r}{description} has no value",
        file=source.file,
        line=source.line_of(("vars", name)),
        hint=f"add --var {name}=VALUE",
    )


def validate_tree(
    kind: type[_T],
    tree: Tree,
    source: Source,
    prefix: KeyPath,
    open_ones: tuple[str, ...] = (),
    *,
    schema_hint: str = _SCHEMA_HINT,
) -> _T:
    """Validate a part of a document.

    Args:
        kind: the model, or another annotation, of the part.
        tree: the part.
        source: the document, for the lines of errors.
        prefix: the path of the part in the document.
        open_ones: references to variables without a value; keys with such a text are not checked.
        schema_hint: the hint of errors without a better hint.

    Raises:
        PlaybookError: with file, line and key of the first finding; `more` has the others.
    """
    try:
        return TypeAdapter(kind).validate_python(tree)
    except ValidationError as error:
        faults = error.errors()
    open_places = [_fault_place(fault) for fault in faults if _is_open(fault, open_ones)]
    if len(open_places) == len(faults):
        # All faults are keys with variables without a value: check the rest without those keys.
        return validate_tree(kind, _remove_places(tree, open_places), source, prefix, schema_hint=schema_hint)
    # A missing key is often a misspelt key, and the fault of the misspelt key has the better hint.
    is_open = frozenset(open_places)
    faults = [fault for fault in faults if _fault_place(fault) not in is_open]
    faults.sort(key=lambda fault: (_is_missing(fault), source.line_of((*prefix, *_fault_place(fault)))))
    first, *rest = (_locate_fault(fault, kind, source, prefix, schema_hint) for fault in faults[:_MOST_FINDINGS])
    if len(faults) > _MOST_FINDINGS:
        rest.append(PlaybookError(f"{len(faults) - _MOST_FINDINGS:,} more findings are not listed", file=source.file))
    first.more = tuple(rest)
    raise first


def _find_step_kind(fault: ErrorDetails) -> str | None:
    """Return the kind of the step, if an error's location names a kind after `steps` and an index."""
    place = fault["loc"]
    return str(place[2]) if len(place) > 2 and place[0] == "steps" and place[2] in KINDS else None  # noqa: PLR2004


def _fault_place(fault: ErrorDetails) -> KeyPath:
    place = fault["loc"]
    return (*place[:2], *place[3:]) if _find_step_kind(fault) else place


def _is_missing(fault: ErrorDetails) -> bool:
    return fault["type"] == "missing"


def _is_open(fault: ErrorDetails, open_ones: tuple[str, ...]) -> bool:
    given = fault["input"]
    return isinstance(given, str) and fault["type"] not in _STRUCTURE and any(each in given for each in open_ones)


def _locate_fault(
    fault: ErrorDetails, kind: object, source: Source, prefix: KeyPath, schema_hint: str
) -> PlaybookError:
    tag = _find_step_kind(fault)
    if tag is not None:
        kind, prefix, fault["loc"] = KINDS[tag], fault["loc"][:2], fault["loc"][3:]
    place, message, hint = explain_fault(fault, kind, prefix)
    if fault["type"] == SAME_STEP:
        place = (*place, fault["ctx"]["index"], "name")
    if fault["type"] == WRONG_RESULT:
        place = (*place, fault["ctx"]["index"], "select", "result")
        message = f"{format_path(place)}: {fault['ctx']['reason']}"
    if place[-1:] == ("action",) and fault["type"] == "enum":
        hint = (
            "`stop` is a forced stop, `shutdown` asks the guest to shut down; "
            "`pause` asks a person, `notify` sends a message"
        )
    return PlaybookError(message, hint=hint or schema_hint, file=source.file, line=source.line_of(place))


def _remove_places(tree: Tree, places: list[KeyPath]) -> Tree:
    result = copy.deepcopy(tree)
    for place in places:
        holder: Any = result
        if place[0] in {"schedule", "wake"}:
            # The keys of a schedule depend on each other: without one key, the rest can't be checked.
            for key in ("schedule", "wake") if place[0] == "schedule" else ("wake",):
                holder.pop(key, None)
            continue
        for part in place[:-1]:
            holder = holder[part]
        if place[-1] == "action":
            holder["action"] = "stop"
        else:
            del holder[place[-1]]
    return result


def _suggest_name(name: str, known: list[str]) -> str:
    return suggest_nearest(name, known) if known else "the playbook declares no variables"
