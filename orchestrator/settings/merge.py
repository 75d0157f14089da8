"""Merge the values of several sources: every value by its own path, with its origin."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.validation_messages import Place

SettingPath = tuple[str, ...]
"""The names of the sections above a setting, and its own name."""

COMMAND_LINE = "command line"
ENVIRONMENT = "environment"

_DEEPEST = 10
"""Deepest split of nested mappings. No setting is so deep, and a file may nest more deeply than Python can recurse."""


class Origin(NamedTuple):
    """The origin of a value.

    Attributes:
        source: `command line`, `environment`, or the path of the settings file.
        name: the assigned setting, or the variable; empty for a value of the file.
        position: of an entry of a merged list, the entry's position in its own source.
    """

    source: str
    name: str = ""
    position: int | None = None


class Value(NamedTuple):
    """A value of one source, and its origin."""

    value: Any
    origin: Origin


Source = Mapping[SettingPath, Value]


class Merged(NamedTuple):
    """The merged values.

    Attributes:
        values: the values by path.
        origins: the origin of every value by path; of a merged list also the origin of every entry.
    """

    values: dict[SettingPath, Any]
    origins: dict[Place, Origin]

    @property
    def tree(self) -> dict[str, Any]:
        """The values as nested mappings."""
        tree: dict[str, Any] = {}
        for path, value in self.values.items():
            *above, name = path
            holder = tree
            for part in above:
                holder = holder.setdefault(part, {})
            # A copy of an empty mapping, because a lower source may fill the mapping.
            holder[name] = {} if value == {} else value
        return tree

    @property
    def sources(self) -> dict[str, str]:
        """The source of every value by name, such as `rate.burst`."""
        return {".".join(path): self.origins[path].source for path, value in self.values.items() if value != {}}


def flatten(tree: object, whole: Collection[SettingPath], above: SettingPath = ()) -> Iterator[tuple[SettingPath, Any]]:
    """Yield every value of nested mappings with its path.

    Args:
        tree: the mappings; any other value is a value of the path `above`.
        whole: paths of values to keep as they are, even when a value is a mapping.
        above: the path of the tree itself.
    """
    if isinstance(tree, Mapping) and tree and above not in whole and len(above) < _DEEPEST:
        for name, inner in tree.items():
            yield from flatten(inner, whole, (*above, name))
    elif above:
        yield above, tree


def merge_sources(
    sources: Sequence[Source], adding_up: Collection[SettingPath], exclusive: Collection[Collection[SettingPath]]
) -> Merged:
    """Merge sources, the highest first: the highest value of a path holds.

    Args:
        sources: the values of every source.
        adding_up: paths of lists; the entries of all sources add up, those of the highest source first.
        exclusive: groups of paths; only the highest source with any path of a group gives values to the group.
    """
    values: dict[SettingPath, Any] = {}
    origins: dict[Place, Origin] = {}
    parents: set[SettingPath] = set()  # of all merged values
    ends: set[SettingPath] = set()  # of values without mappings, which hide all lower values below
    for source in sources:
        closed = {path for group in exclusive if any(each in values for each in group) for path in group}
        for path, (value, origin) in source.items():
            above = [path[:length] for length in range(1, len(path))]
            is_hidden = path in closed or path in parents or not ends.isdisjoint(above)
            if value != {}:
                ends.add(path)
            if is_hidden:
                continue
            if path in adding_up:
                before = values.get(path, [])
                for position in range(len(value)):
                    origins[*path, len(before) + position] = origin._replace(position=position)
                values[path] = [*before, *value]
            else:
                values.setdefault(path, value)
            origins.setdefault(path, origin)
            parents.update(above)
    return Merged(values, origins)


def find_origin(origins: Mapping[Place, Origin], place: Place) -> tuple[Origin | None, Place]:
    """Return the origin of the value at a path, or nearest to the path; and the path in that source."""
    for length in range(len(place), 0, -1):
        above = place[:length]
        origin = origins.get(above)
        if origin is not None:
            own = above if origin.position is None else (*above[:-1], origin.position)
            return origin, (*own, *place[length:])
        sibling = next((origin for path, origin in origins.items() if path[:length] == above), None)
        if sibling is not None:
            return sibling, place
    return None, place
