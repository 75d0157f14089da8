"""Read the values of the command line, the environment and the settings file, by path.

A list is a JSON list, or a single plain value; the command line may repeat a setting. Text that only looks like a list
is an error: `a-*,b-*` would protect nothing. The highest source replaces the lower sources, but protections add up.
"""

import difflib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from orchestrator.errors import SettingsError, UsageError
from orchestrator.settings.error_source import PREFIX, SECRETS, SHORT_NAMES, error_at
from orchestrator.settings.merge import COMMAND_LINE, ENVIRONMENT, Origin, SettingPath, Source, Value, flatten
from orchestrator.validation_messages import format_path, suggest_nearest

ANY_NAME = "*"


class SettingPaths(frozenset[SettingPath]):
    """Paths of settings; `*` in the second place stands for any name, such as the name of a workspace."""

    def __contains__(self, path: object) -> bool:
        """Check a path, with any name in place of `*`."""
        if super().__contains__(path):
            return True
        return isinstance(path, tuple) and super().__contains__((*path[:1], ANY_NAME, *path[2:]))


_FREEZES = ("not_during", "only_during")
_LISTS_OF_GUARDS = (
    *(("protect", key) for key in ("name", "app_id", "teepod")),
    *((key,) for key in ("keep_running", *_FREEZES)),
)
ADDING_UP = SettingPaths(
    [(*section, "guards", *path) for section in ((), ("workspaces", ANY_NAME)) for path in _LISTS_OF_GUARDS]
)
"""Lists merged over all sources."""


class NotAListError(ValueError):
    """Raised when text is no list. The first argument is the reason, the second the remedy."""


def list_settings(model: type[BaseModel], above: SettingPath = ()) -> Iterator[SettingPath]:
    """Yield the path of every setting with a list, below a model."""
    for name, field in model.model_fields.items():
        if get_origin(field.annotation) is dict:
            yield from list_settings(get_args(field.annotation)[1], (*above, name, ANY_NAME))
            continue
        for part in _list_parts(field.annotation):
            if get_origin(part) in {list, tuple}:
                yield (*above, name)
            elif isinstance(part, type) and issubclass(part, BaseModel):
                yield from list_settings(part, (*above, name))


def _list_parts(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - any annotation
    """Yield an annotation and its inner annotations, down to lists and models."""
    yield annotation
    if get_origin(annotation) not in {list, tuple}:
        for part in get_args(annotation):
            yield from _list_parts(part)


def as_list(value: object) -> list[object]:
    """Return the entries of a list from one source.

    Raises:
        NotAListError: when text is neither a JSON list nor a single plain value.
    """
    if not isinstance(value, str):
        return value if isinstance(value, list) else [value]
    write = """write a JSON list, such as '["a-*", "b-*"]', or repeat --set"""
    if value.lstrip().startswith(("[", "{")):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            raise NotAListError("is not valid JSON", write) from None
        return found if isinstance(found, list) else [found]
    if value.strip()[:1] in {'"', "'"}:
        raise NotAListError("has quotes around it", write)
    if "," in value:
        raise NotAListError("has a comma, and is one entry", write)
    if not value.strip():
        raise NotAListError("must not be empty", "leave the setting out, or name something")
    return [value]


def read_assignments(assignments: tuple[str, ...], model: type[BaseModel], lists: Collection[SettingPath]) -> Source:
    """Read the assignments of the command line. The last assignment of a path holds; entries of a list add up.

    Args:
        assignments: `section.field=value` each.
        model: the model of all settings.
        lists: paths of the settings with lists.

    Raises:
        UsageError: when an assignment is invalid.
    """
    found: dict[SettingPath, Value] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        path = tuple(name.split("."))
        if not equals or not all(path) or len(path) == 1:
            raise UsageError(f"--set {name!r} is not an assignment", hint="write --set SECTION.FIELD=VALUE")
        section = path[0]
        if section not in model.model_fields:
            hint = suggest_nearest(section, model.model_fields)
            raise UsageError(f"--set {name}: unknown section {section!r}", hint=hint)
        if path in SECRETS:
            raise _make_secret_error(name)
        entries: object = value
        if path in lists:
            try:
                entries = [*(found[path].value if path in found else ()), *as_list(value)]
            except NotAListError as error:
                why, hint = error.args
                raise UsageError(f"--set {name}: {value[:60]!r} {why}", hint=hint) from None
        found[path] = Value(entries, Origin(COMMAND_LINE, name))
    for path in found:
        above = next((path[:length] for length in range(1, len(path)) if path[:length] in found), None)
        if above:
            hint = f"write {format_path(path[:-1])}.FIELD=VALUE for each field"
            message = f"--set {format_path(above)} and --set {format_path(path)} exclude each other"
            raise UsageError(message, hint=hint)
    return found


def _make_secret_error(name: str) -> UsageError:
    is_key = name == "cloud.api_key"
    variable = "PHALA_CLOUD_API_KEY" if is_key else _variable_name(name.split("."))
    return UsageError(
        f"all users of this machine can read {'a key' if is_key else 'a secret'} on the command line",
        hint=f"set {variable}, or {name}_file in the settings",
    )


def read_variables(environment: Mapping[str, str], model: type[BaseModel], lists: Collection[SettingPath]) -> Source:
    """Read the variables with long names, such as ORCHESTRATOR_RATE__BURST. Empty variables count as unset.

    Of a section in JSON and a variable of one field, the field's variable holds.

    Raises:
        SettingsError: when a variable is unknown or no JSON, or when two variables set the same protection.
    """
    _refuse_unknown_variables(environment, model)
    found: dict[SettingPath, Value] = {}
    for variable, text in _list_variables(environment).items():
        path = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        if path[0] in model.model_fields:
            origin = Origin(ENVIRONMENT, variable)
            for inner, value in read_tree(_parse_variable(origin, path, text, lists), origin, lists, path):
                if inner in found and inner in ADDING_UP:
                    names = f"{variable} and {found[inner].origin.name}"
                    message = f"environment variables {names} both set {format_path(inner)}"
                    raise SettingsError(message, hint="put all entries into one of them")
                found.setdefault(inner, value)
    return found


def _list_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """List the variables with the prefix of the settings in capitals: fields first, then sections."""
    found: dict[str, str] = {}
    for name, value in environment.items():
        variable = name.upper()
        if value and variable.startswith(PREFIX) and variable not in SHORT_NAMES:
            if variable in found:
                message = f"environment variable {variable} is set twice, in capitals and in small letters"
                raise SettingsError(message, hint="unset one of them")
            found[variable] = value
    return dict(sorted(found.items(), key=lambda item: -item[0].count("__")))


def _parse_variable(origin: Origin, path: SettingPath, text: str, lists: Collection[SettingPath]) -> object:
    """Parse JSON if the text looks like a mapping.

    Otherwise an app_id of digits would become a number, and the name `null` would vanish. A list stays text.
    """
    if path in lists or not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        # The message never repeats the value: the value may hold a key.
        hint = "write sections and lists as JSON in the environment"
        raise error_at(origin, path, "not valid JSON", hint) from None


def locate_files(tree: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the values of a file; the paths of calendars, exemptions and public keys go by the folder of the file.

    Args:
        tree: the values, perhaps invalid.
        folder: the folder of the file.
    """
    changed = dict(tree)
    if isinstance(changed.get("guards"), Mapping):
        changed["guards"] = _locate_in_guards(changed["guards"], folder)
    keep = changed.get("keep")
    if isinstance(keep, Mapping) and isinstance(keep.get("file"), str) and keep["file"]:
        changed["keep"] = {**keep, "file": str(folder / Path(keep["file"]).expanduser())}
    approval = changed.get("approval")
    if isinstance(approval, Mapping) and isinstance(approval.get("keys"), list):
        changed["approval"] = {**approval, "keys": [_locate_key(key, folder) for key in approval["keys"]]}
    if isinstance(changed.get("workspaces"), Mapping):
        changed["workspaces"] = {
            name: locate_files(section, folder) if isinstance(section, Mapping) and "guards" in section else section
            for name, section in changed["workspaces"].items()
        }
    return changed


def _locate_key(key: object, folder: Path) -> object:
    if isinstance(key, Mapping) and isinstance(key.get("public_key_file"), str) and key["public_key_file"]:
        return {**key, "public_key_file": str(folder / Path(key["public_key_file"]).expanduser())}
    return key


def _locate_in_guards(guards: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    def locate(entry: object) -> object:
        is_calendar = isinstance(entry, str) and entry.strip().lower().endswith(".ics")
        return str(folder / str(entry).strip()) if is_calendar else entry

    changed = dict(guards)
    for name in _FREEZES:
        value = guards.get(name)
        rules = value if isinstance(value, list) else [value]
        located: list[object] = []
        for rule in rules:
            if isinstance(rule, Mapping) and "on" in rule:
                entries = rule["on"]
                on = [locate(each) for each in entries] if isinstance(entries, list) else locate(entries)
                located.append({**rule, "on": on})
            else:
                located.append(rule)
        if value is not None:
            changed[name] = located if isinstance(value, list) else located[0]
    return changed


def read_short_names(environment: Mapping[str, str]) -> Source:
    """Read the variables with short names, and with the vendor's names."""
    return {
        path: Value(environment[variable], Origin(ENVIRONMENT, variable))
        for variable, path in SHORT_NAMES.items()
        if environment.get(variable)
    }


def read_tree(
    tree: object, origin: Origin, lists: Collection[SettingPath], above: SettingPath = (), text: str = ""
) -> Iterator[tuple[SettingPath, Value]]:
    """Yield the values of nested mappings from one file or one variable.

    Args:
        tree: the mappings, or a single value.
        origin: the origin of the whole tree.
        lists: paths of the settings with lists.
        above: the path of the tree itself.
        text: the text of the file, for line numbers.

    Raises:
        SettingsError: when the value of a list is no list.
    """
    for path, value in flatten(tree, lists, above):
        try:
            yield path, Value(as_list(value) if path in lists else value, origin)
        except NotAListError as error:
            why, hint = error.args
            raise error_at(origin, path, f"{format_path(path)} {why}", hint, text) from None


def list_key_groups(sources: Iterable[Mapping[SettingPath, object]]) -> Iterator[tuple[SettingPath, ...]]:
    """Yield the settings with a workspace's key, in groups; the highest source with a setting of a group wins."""
    names = {path[1] for source in sources for path in source if path[0] == "workspaces" and len(path) > 1}
    for name in sorted(names):
        yield tuple(("workspaces", name, key) for key in ("api_key_file", "api_key_env"))


_OF_KUBERNETES = re.compile(r"service_(?:service_)?(?:host|port(?:_\w+)?)")
"""Variables in every pod beside a Kubernetes service with the name of this program; no setting has such a name."""


def _refuse_unknown_variables(environment: Mapping[str, str], model: type[BaseModel]) -> None:
    """Refuse unknown variables with the prefix of the settings, because a misspelt limit would have no effect.

    Other names with the same prefix are ignored: an orchestrator of containers may set its own variables.
    """
    sections = list(model.model_fields)
    for variable, value in environment.items():
        name = variable.upper()
        if not name.startswith(PREFIX) or name in SHORT_NAMES:
            continue
        rest = name.removeprefix(PREFIX).lower()
        section, delimiter, field = rest.partition("__")
        if "guards" in rest.split("__") and not value.strip():
            raise SettingsError(
                f"environment variable {variable} is empty",
                hint="unset the variable, or give it a value; an empty guard would protect nothing",
            )
        if section in sections or _OF_KUBERNETES.fullmatch(rest):
            continue
        known = [*_list_known_variables(model), *SHORT_NAMES]
        looks_ours = any(rest.startswith(f"{each}_") for each in sections)
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if looks_ours or close or (delimiter and field):
            raise SettingsError(f"unknown environment variable {variable}", hint=suggest_nearest(name, known))


def _list_known_variables(model: type[BaseModel]) -> Iterator[str]:
    for section, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for name in field.annotation.model_fields:
                yield _variable_name((section, name))


def _variable_name(path: Sequence[str]) -> str:
    return PREFIX + "__".join(path).upper()
