"""The CVMs covered by a select."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cvm import Cvm
from orchestrator.playbook.select import DERIVED, describe_unmatched, find_apps_to_read, has_key, is_covered
from tests.playbook.fleet import INVENTORIES, SELECTS, cvm
from tests.playbook.loading import playbook, select


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("dev-*", "dev-", True),
        ("dev-*", "xdev-1", False),
        ("dev-?", "dev-1", True),
        ("dev-?", "dev-", False),
        ("*", "", True),
        ("?*", "", False),
        ("web[1]", "web[1]", True),
        ("web[1]", "web1", False),
        ("a.c", "abc", False),
        ("a*", "a\nb", True),
        ("Dev-1", "dev-1", False),
        ("*a*b*", "xaxbx", True),
        ("*a*b*", "xbxax", False),
        ("a*a", "a", False),
        ("*aab", "aaab", True),
        ("a**b", "ab", True),
    ],
)
def test_a_name_pattern_matches_the_whole_name(pattern: str, name: str, *, covered: bool) -> None:
    assert is_covered(select(name=pattern), cvm(name=name)) is covered


@given(st.text("ab?*", max_size=8), st.text("ab", max_size=8))
def test_wildcards_match_by_their_definition(pattern: str, text: str) -> None:
    def plain(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(plain(pattern[1:], text[n:]) for n in range(len(text) + 1))
        return bool(text) and pattern[0] in {"?", text[0]} and plain(pattern[1:], text[1:])

    assert not pattern or is_covered(select(name=pattern), cvm(name=text)) is plain(pattern, text)


def test_many_stars_are_as_fast_as_few() -> None:
    assert not is_covered(select(name="*a" * 40 + "b"), cvm(name="a" * 5000))


@pytest.mark.parametrize(
    ("pattern", "covered"), [("7", True), ("prod-7", True), ("prod-*", True), ("07", False), ("70", False)]
)
def test_a_teepod_is_named_by_number_or_by_name(pattern: str, *, covered: bool) -> None:
    assert is_covered(select(teepod=pattern), cvm(pod=7)) is covered
    assert not is_covered(select(teepod=pattern), cvm(pod=None))


@pytest.mark.parametrize("written", ["ab12", "0xAB12", "app_ab12", "AB12"])
def test_an_app_id_is_matched_in_normal_form(written: str) -> None:
    assert is_covered(select(app_id=written), cvm(app="ab12"))
    assert not is_covered(select(app_id=written), cvm(app="ab1"))
    assert not is_covered(select(app_id=written), cvm(app=None))


@given(SELECTS, INVENTORIES)
def test_keys_and_together_and_values_or_together(keys: dict[str, object], inventory: list[Cvm]) -> None:
    whole = select(**keys)
    for each in inventory:
        parts = [is_covered(select(**{key: value}), each) for key, value in keys.items() if key != "exclude"]
        kept = "exclude" not in keys or is_covered(select(all="true", exclude=keys["exclude"]), each)
        assert is_covered(whole, each) is (all(parts) and kept)
        for key, values in keys.items():
            if key in {"teepod", "app_id", "name", "status"} and isinstance(values, list):
                ones = [is_covered(select(**{key: value}), each) for value in values]
                assert is_covered(select(**{key: values}), each) is any(ones)


@given(SELECTS, INVENTORIES)
def test_a_select_that_excludes_itself_covers_nothing(keys: dict[str, object], inventory: list[Cvm]) -> None:
    nothing = select(any=[keys], exclude=keys)
    assert not any(is_covered(nothing, each) for each in inventory)


@given(st.lists(SELECTS, min_size=1, max_size=3), INVENTORIES)
def test_any_covers_the_cvms_of_each_select(branches: list[dict[str, object]], inventory: list[Cvm]) -> None:
    whole = select(any=branches)
    for each in inventory:
        assert is_covered(whole, each) is any(is_covered(select(**branch), each) for branch in branches)


@given(SELECTS, INVENTORIES)
def test_reading_only_the_named_apps_misses_no_covered_cvm(keys: dict[str, object], inventory: list[Cvm]) -> None:
    whole = select(**keys)
    apps = find_apps_to_read([whole], whole_workspace=False)
    if apps is not None:
        assert all(each.ref.app_id in apps for each in inventory if is_covered(whole, each))


@pytest.mark.parametrize(
    ("keys", "apps"),
    [
        ({"app_id": ["0xA1", "app_b2"]}, {"a1", "b2"}),
        ({"app_id": "a1", "name": "x"}, {"a1"}),
        ({"name": "x"}, None),
        ({"all": "true"}, None),
        ({"any": [{"app_id": "a1"}, {"app_id": "b2"}]}, {"a1", "b2"}),
        ({"any": [{"app_id": "a1"}, {"name": "x"}]}, None),
        ({"name": "x", "exclude": {"app_id": "a1"}}, None),
    ],
)
def test_only_the_named_apps_are_read_unless_a_percentage_needs_them_all(
    keys: dict[str, object], apps: set[str] | None
) -> None:
    assert find_apps_to_read([select(**keys)], whole_workspace=False) == apps
    assert find_apps_to_read([select(**keys)], whole_workspace=True) is None
    assert find_apps_to_read([select(**keys), select(name="y")], whole_workspace=False) is None


def test_each_unmatched_value_is_listed_once_with_the_nearest() -> None:
    fleet = [cvm(1, "dev-1", pod=1), cvm(2, "dev-2", "stopped", app="b2", pod=2)]
    steps = playbook(
        {"teepod": ["prod-3", "1"], "any": [{"name": "dev-3"}, {"name": "dev-*"}]},
        {"teepod": "prod-3", "exclude": {"app_id": "0xc3"}, "status": ["runningg", "starting", "stopped"]},
    ).acting_steps
    assert describe_unmatched([step.select for step in steps], fleet) == [
        "no teepod 'prod-3'; known: prod-1, prod-2",
        "no CVM named 'dev-3'; known: dev-1, dev-2",
        "no CVM of status 'runningg'; known: running, stopped",
        "no CVM of app_id '0xc3'; known: a1, b2",
    ]
    assert describe_unmatched([select(name="x")], []) == ["no CVM named 'x'; no known values"]


def test_only_the_nearest_of_many_known_values_are_listed() -> None:
    fleet = [cvm(n, f"web-{n}") for n in range(20)] + [cvm(99, "y" * 1_000_000)]
    (near,) = describe_unmatched([select(name="web-3x")], fleet)
    assert near.startswith("no CVM named 'web-3x'; nearest known: web-3")
    assert describe_unmatched([select(name="qqq")], fleet) == ["no CVM named 'qqq'; 20 known values, no similar value"]


FLEET = [
    cvm(n, f"{kind}-{n}") for n, kind in enumerate(["agent", "stage", "stage", "web", "worker", "db", "proxy", "job"])
]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("staging-*", "nearest known: stage-*"),
        ("zebra-*", "8 known values, no similar value"),
        ("wrker-4", "nearest known: worker-4"),
        ("qqqqqqq", "8 known values, no similar value"),
    ],
)
def test_a_pattern_is_compared_with_the_patterns_of_known_names(value: str, hint: str) -> None:
    assert describe_unmatched([select(name=value)], FLEET) == [f"no CVM named {value!r}; {hint}"]


def test_an_id_matches_a_hashid_as_written_and_a_uuid_in_any_spelling() -> None:
    web = cvm(7)
    twin = replace(web, ref=replace(web.ref, id="cvm_AbC1"))
    assert is_covered(select(id=["cvm_AbC1"]), twin)
    assert not is_covered(select(id=["cvm_aBc1"]), twin)
    assert is_covered(select(id=["00000000-0000-0000-0000-000000000007"]), twin)


@pytest.mark.parametrize(
    ("keys", "needed"),
    [
        ({"all": True}, False),
        ({"name": "a", "created_before": "2026-01-01", "up_longer_than": "1h"}, False),
        ({"older_than": "2d"}, True),
        ({"usd_per_hour": ">1"}, True),
        ({"any": [{"name": "a"}, {"any": [{"older_than": "2d"}]}]}, True),
        ({"name": "a", "exclude": {"usd_per_hour": "0"}}, True),
    ],
)
def test_only_an_age_or_a_price_in_a_select_needs_derived_facts(keys: dict[str, object], *, needed: bool) -> None:
    assert has_key(select(**keys), *DERIVED) is needed
