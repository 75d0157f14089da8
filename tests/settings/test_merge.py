"""The merge of sources: every value by its own path, with its origin."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.settings.merge import Merged, Origin, SettingPath, Value, find_origin, flatten, merge_sources

LIST: SettingPath = ("guards", "names")
NAMES = st.sampled_from("abc")
VALUES = st.recursive(st.integers(), lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=4)
TREES = st.dictionaries(NAMES, VALUES, max_size=3)


def source(name: str, tree: object) -> dict[SettingPath, Value]:
    return {path: Value(value, Origin(name)) for path, value in flatten(tree, {LIST})}


def merge(*trees: object, exclusive: tuple[tuple[SettingPath, ...], ...] = ()) -> Merged:
    return merge_sources([source(str(rank), tree) for rank, tree in enumerate(trees)], {LIST}, exclusive)


def overlay(low: object, high: object) -> object:
    if not isinstance(low, dict) or not isinstance(high, dict):
        return high
    return low | {name: overlay(low[name], value) if name in low else value for name, value in high.items()}


@given(TREES, TREES, TREES)
def test_a_higher_value_replaces_a_lower_value_and_mappings_merge(
    first: dict[str, object], second: dict[str, object], third: dict[str, object]
) -> None:
    assert merge(first, second, third).tree == overlay(overlay(third, second), first)


@given(TREES, TREES)
def test_every_value_has_the_origin_of_its_source(first: dict[str, object], second: dict[str, object]) -> None:
    merged = merge(first, second)
    for path, value in merged.values.items():
        tree = (first, second)[int(merged.origins[path].source)]
        assert dict(flatten(tree, ()))[path] == value


def test_lists_add_up_and_every_entry_keeps_its_position_in_its_source() -> None:
    merged = merge({"guards": {"names": ["a"]}}, {"guards": {"names": ["b", "c"]}})
    assert merged.tree == {"guards": {"names": ["a", "b", "c"]}}
    assert find_origin(merged.origins, (*LIST, 2, "x")) == (Origin("1", position=1), (*LIST, 1, "x"))


def test_the_highest_source_with_one_form_of_a_secret_closes_the_other_forms() -> None:
    forms = (("cloud", "key"), ("cloud", "key_file"))
    low = {"cloud": {"key": "low", "address": "x"}}
    merged = merge({}, {"cloud": {"key_file": "high"}}, low, exclusive=(forms,))
    assert merged.tree == {"cloud": {"key_file": "high", "address": "x"}}
    assert merged.sources == {"cloud.key_file": "1", "cloud.address": "2"}


def test_a_mapping_nested_ten_thousand_deep_is_split_no_deeper_than_settings() -> None:
    tree: object = 1
    for _ in range(10_000):
        tree = {"a": tree}
    assert list(merge(tree).values) == [("a",) * 10]
