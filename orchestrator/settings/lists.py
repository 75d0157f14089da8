"""Settings with lists: parse a list, and merge the same list from several sources.

A list is a JSON list, or a single plain value; the command line may repeat a setting. Text that only looks like a list
is an error: `a-*,b-*` would protect nothing. The highest source replaces the lower sources, but protections add up.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel

Path = tuple[str, ...]

ADDING_UP: tuple[Path, ...] = (
    ("guards", "protect", "name"),
    ("guards", "protect", "app_id"),
    ("guards", "protect", "teepod"),
    ("guards", "keep_running"),
)
"""Lists merged over all sources."""


class NotAListError(ValueError):
    """Raised when text is no list. The first argument is the reason, the second the remedy."""


def list_settings(model: type[BaseModel], above: Path = ()) -> Iterator[Path]:
    """Yield the path of every setting with a list, below a model."""
    for name, field in model.model_fields.items():
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


def get_value(tree: Mapping[str, Any], path: Path) -> object:
    """Return the value at a path; None without a value."""
    found: object = tree
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def with_value(tree: Mapping[str, Any], path: Path, value: object) -> dict[str, Any]:
    """Return a tree with another value at a path; missing parts of the path are created."""
    first, *rest = path
    inner = tree.get(first)
    below = with_value(inner if isinstance(inner, Mapping) else {}, tuple(rest), value) if rest else value
    return {**tree, first: below}


class Origin(NamedTuple):
    """The source of an entry in a merged list.

    Attributes:
        source: the rank of the source.
        place: the entry's index in the list of that source.
    """

    source: int
    place: int


def merge_lists(sources: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[Path, list[Origin]]]:
    """Merge the lists that add up over some sources; also return the source of every entry."""
    tree: dict[str, Any] = {}
    origins: dict[Path, list[Origin]] = {}
    for path in ADDING_UP:
        given = [
            (rank, found) for rank, source in enumerate(sources) if isinstance(found := get_value(source, path), list)
        ]
        if given:
            tree = with_value(tree, path, [entry for _, found in given for entry in found])
            origins[path] = [Origin(rank, index) for rank, found in given for index in range(len(found))]
    return tree, origins
