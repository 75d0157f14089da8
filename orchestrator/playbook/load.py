"""From a file to a playbook: parse, put the variables in, check against the schema, and say where it is wrong."""

import copy
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import MissingVariableError, PlaybookError, UsageError
from orchestrator.playbook.schema import SAME_STEP, WRONG_RESULT, Playbook, Variable
from orchestrator.playbook.shipped import SHIPPED, list_playbooks
from orchestrator.playbook.source import KeyPath, Source, Tree, read_source
from orchestrator.playbook.steps import KINDS
from orchestrator.playbook.variables import substitute_variables
from orchestrator.validation_messages import dotted, explain, nearest

_T = TypeVar("_T")
_SCHEMA_HINT = "`orchestrator schema` prints what each key takes"
_MOST_FINDINGS = 50
"""Findings of one file that are told; a hint for each takes time."""
_STRUCTURE = frozenset({"model_type", "model_attributes_type", "dict_type", "list_type"})
"""What is wrong whatever a variable stands for, since a value never becomes more than text."""


@dataclass(frozen=True, slots=True)
class LoadedPlaybook:
    """A playbook and what the audit log says about where it came from.

    Attributes:
        playbook: what it says, with the variables put in.
        file: where it was read.
        sha256: of the file as it was, in hex.
        data: what stood in the file.
        variables: what each declared variable stood for.
        undefined: required variables that were left open (`validate` alone allows that).
    """

    playbook: Playbook
    file: Path
    sha256: str
    data: bytes = field(repr=False)
    variables: dict[str, str]
    undefined: tuple[str, ...] = ()


def find_playbook(name: str, folder: Path = Path("playbooks"), shipped: Path = SHIPPED) -> Path:
    """The file that `name` means: a path, or the name of a playbook in `./playbooks` or of one that is shipped.

    Raises:
        PlaybookError: when there is none.
    """
    path = Path(name)
    if _file_exists(path) or path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        return path
    for candidate in (place / f"{name}{suffix}" for place in (folder, shipped) for suffix in (".yaml", ".yml")):
        if _file_exists(candidate):
            return candidate
    own, others = list_playbooks(folder), list_playbooks(shipped)
    close = difflib.get_close_matches(name, [*own, *others], n=1)
    known = [f"known in ./{folder}: {', '.join(own)}"] if own else []
    known += [f"shipped: {', '.join(others)}"] if others else []
    hint = f"did you mean {close[0]!r}?" if close else "; ".join(["give the path of a playbook", *known])
    raise PlaybookError(f"there is no playbook {name!r}", file=path, hint=hint)


def _file_exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        # A name that is too long for a file, or has a NUL.
        return False


def load_playbook(file: Path, assignments: Mapping[str, str], *, allow_undefined: bool = False) -> LoadedPlaybook:
    """Read a playbook.

    Args:
        file: the YAML file.
        assignments: the values that the caller gives to variables.
        allow_undefined: whether required variables may be left open; what they would fill is then not checked.

    Raises:
        PlaybookError: with file, line and key, when it can't be used.
        UsageError: when a value is given to a variable that is not declared.
    """
    return load_source(read_source(file), assignments, allow_undefined=allow_undefined)


def load_source(source: Source, assignments: Mapping[str, str], *, allow_undefined: bool = False) -> LoadedPlaybook:
    """The playbook that a parsed document is; arguments and errors as `load_playbook` has them."""
    declared = _read_variables(source)
    values = {name: variable.default for name, variable in declared.items() if variable.default is not None}
    unknown = [name for name in assignments if name not in declared]
    if unknown:
        raise UsageError(f"the playbook has no variable {unknown[0]!r}", hint=_suggest_name(unknown[0], list(declared)))
    for name, value in assignments.items():
        # Around an empty value the rest of a pattern would widen: `${prefix}*` to every name.
        if not value.strip():
            raise UsageError(
                f"the variable {name!r} has an empty value",
                hint=f"give it a value: --var {name}=VALUE; a variable of the shell that is not set is empty",
            )
    values.update(assignments)
    undefined = tuple(name for name in declared if name not in values)
    if undefined and not allow_undefined:
        first, *rest = (_missing_value_error(name, declared[name], source) for name in undefined)
        first.more = tuple(rest)
        raise first
    # An open variable stands for itself, so that it can be told in what the schema finds.
    open_ones = {name: f"${{{name}}}" for name in undefined}
    tree = substitute_variables(source, {**values, **open_ones}, declared)
    playbook = _validate_tree(Playbook, tree, source, (), tuple(open_ones.values()))
    return LoadedPlaybook(playbook, source.file, source.sha256, source.data, values, undefined)


def _read_variables(source: Source) -> dict[str, Variable]:
    tree = source.tree.get("vars")
    if tree is None:
        return {}
    declared = _validate_tree(dict[str, Variable], tree, source, ("vars",))
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


def _validate_tree(kind: type[_T], tree: Tree, source: Source, prefix: KeyPath, open_ones: tuple[str, ...] = ()) -> _T:
    try:
        return TypeAdapter(kind).validate_python(tree)
    except ValidationError as error:
        faults = error.errors()
    open_places = [_fault_place(fault) for fault in faults if _is_open(fault, open_ones)]
    if len(open_places) == len(faults):
        # Nothing is wrong but what open variables would fill: check the rest as if those keys were left out.
        return _validate_tree(kind, _remove_places(tree, open_places), source, prefix)
    # A key that is missing is often one that stands there misspelt, and that one has the better hint.
    is_open = frozenset(open_places)
    faults = [fault for fault in faults if _fault_place(fault) not in is_open]
    faults.sort(key=lambda fault: (_is_missing(fault), source.line_of((*prefix, *_fault_place(fault)))))
    first, *rest = (_locate_fault(fault, kind, source, prefix) for fault in faults[:_MOST_FINDINGS])
    if len(faults) > _MOST_FINDINGS:
        rest.append(PlaybookError(f"{len(faults) - _MOST_FINDINGS:,} more findings are not listed", file=source.file))
    first.more = tuple(rest)
    raise first


def _find_step_kind(fault: ErrorDetails) -> str | None:
    """The kind of step that a finding is about, where pydantic says so in its place, after `steps` and a number."""
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


def _locate_fault(fault: ErrorDetails, kind: object, source: Source, prefix: KeyPath) -> PlaybookError:
    tag = _find_step_kind(fault)
    if tag is not None:
        kind, prefix, fault["loc"] = KINDS[tag], fault["loc"][:2], fault["loc"][3:]
    place, message, hint = explain(fault, kind, prefix)
    if fault["type"] == SAME_STEP:
        place = (*place, fault["ctx"]["index"], "name")
    if fault["type"] == WRONG_RESULT:
        place = (*place, fault["ctx"]["index"], "select", "result")
        message = f"{dotted(place)}: {fault['ctx']['reason']}"
    if place[-1:] == ("action",) and fault["type"] == "literal_error":
        hint = (
            "`stop` pulls the power, `shutdown` asks the guest to shut down; they are different actions; "
            "`pause` asks a person, `notify` sends a message"
        )
    return PlaybookError(message, hint=hint or _SCHEMA_HINT, file=source.file, line=source.line_of(place))


def _remove_places(tree: Tree, places: list[KeyPath]) -> Tree:
    result = copy.deepcopy(tree)
    for place in places:
        holder: Any = result
        if place[0] == "schedule":
            # Its keys depend on each other; what is open in one leaves nothing to check in the rest.
            holder.pop("schedule", None)
            continue
        for part in place[:-1]:
            holder = holder[part]
        if place[-1] == "action":
            holder["action"] = "stop"
        else:
            del holder[place[-1]]
    return result


def _suggest_name(name: str, known: list[str]) -> str:
    return nearest(name, known) if known else "it declares none"
