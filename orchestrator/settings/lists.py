"""Settings that are lists: how one is written, and what several sources of the same list come to.

A list is a JSON list, or one plain value, which the command line may repeat. A value that only looks like a list is an
error: `a-*,b-*` would protect nobody. The highest source replaces the lower ones, but protection adds up.
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
"""The lists whose entries hold together, whichever source they come from."""


class NotAListError(ValueError):
    """Raised when text is no list. The first argument says why, the second what to write instead."""


def list_settings(model: type[BaseModel], above: Path = ()) -> Iterator[Path]:
    """The place of every setting that is a list, below a model."""
    for name, field in model.model_fields.items():
        for part in _parts(field.annotation):
            if get_origin(part) in {list, tuple}:
                yield (*above, name)
            elif isinstance(part, type) and issubclass(part, BaseModel):
                yield from list_settings(part, (*above, name))


def _parts(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - any annotation
    """An annotation, and what it is made of, down to lists and models."""
    yield annotation
    if get_origin(annotation) not in {list, tuple}:
        for part in get_args(annotation):
            yield from _parts(part)


def as_list(value: object) -> list[object]:
    """The entries of what one source gives for a list.

    Raises:
        NotAListError: when text is neither a JSON list nor one plain value.
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
    if "," in value:
        raise NotAListError("has a comma, and is one entry", write)
    if not value.strip():
        raise NotAListError("must not be empty", "leave the setting out, or name something")
    return [value]


def get(tree: Mapping[str, Any], path: Path) -> object:
    """What stands at a place; None for nothing."""
    found: object = tree
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def put(tree: Mapping[str, Any], path: Path, value: object) -> dict[str, Any]:
    """A tree with another value at a place that it has, or that lacks its last parts."""
    first, *rest = path
    inner = tree.get(first)
    below = put(inner if isinstance(inner, Mapping) else {}, tuple(rest), value) if rest else value
    return {**tree, first: below}


class Origin(NamedTuple):
    """Where an entry of a list that adds up comes from.

    Attributes:
        source: the number of the source, by rank.
        place: its place in that source's list.
    """

    source: int
    place: int


def added_up(sources: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[Path, list[Origin]]]:
    """The lists that add up over some sources, and where each of their entries comes from."""
    tree: dict[str, Any] = {}
    origins: dict[Path, list[Origin]] = {}
    for path in ADDING_UP:
        given = [(rank, found) for rank, source in enumerate(sources) if isinstance(found := get(source, path), list)]
        if given:
            tree = put(tree, path, [entry for _, found in given for entry in found])
            origins[path] = [Origin(rank, index) for rank, found in given for index in range(len(found))]
    return tree, origins
