"""Small types: shares, percentages, counts, texts."""

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from orchestrator.playbook.limits import Limits
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.value_types import Count, Duration, Percent, Rate, Share, StrictBool, Texts


@pytest.mark.parametrize(
    ("written", "whole", "allowed"),
    [
        ("0", 9, 0),
        ("0%", 9, 0),
        ("3", 9, 3),
        (3, 9, 3),
        ("10%", 9, 0),
        ("10%", 10, 1),
        ("10 %", 25, 2),
        ("33.3%", 1000, 333),
        ("100%", 7, 7),
    ],
)
def test_a_share_is_a_number_or_a_percentage_rounded_down(written: object, whole: int, allowed: int) -> None:
    assert Share.parse(written).of(whole) == allowed


@pytest.mark.parametrize(
    "written",
    ["", "%", "-1", "-1%", "101%", "1.5", "ten", "nan", "inf%", "1e3", "1e999999999", "1_0", "٣%", "50%%", True, None],
)
def test_other_values_are_no_share(written: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        Share.parse(written)


@given(st.integers(0, 10**9) | st.decimals(0, 100, places=2).map(lambda percent: f"{percent}%"))
def test_a_share_survives_a_round_trip_as_text(written: object) -> None:
    share = Share.parse(written)
    assert Share.parse(str(share)) == share


@pytest.mark.parametrize(
    ("written", "percent"), [("50", "50"), ("50%", "50"), (33.3, "33.3"), (50, "50"), ("0.1 %", "0.1")]
)
def test_a_percentage_is_exact(written: object, percent: str) -> None:
    assert TypeAdapter(Percent).validate_python(written) == Decimal(percent)


@pytest.mark.parametrize("written", ["0", "0%", 0, "0.0%", "-1", "100.1", "1e-999999", "nan", "", True, []])
def test_a_percentage_of_0_or_beyond_100_is_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Percent).validate_python(written)


@pytest.mark.parametrize("written", ["0", 0, "-1", "1.5", "", True, None, "0%", 10**10])
def test_a_count_is_a_whole_number_from_1(written: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Count).validate_python(written)


@pytest.mark.parametrize("written", ["0", 0, "-1", "inf", "nan", "1e-320", "", True, None, "5/s"])
def test_a_rate_has_a_lower_bound(written: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Rate).validate_python(written)


def test_zero_is_allowed_for_max_failures_alone() -> None:
    for zero in ("0", "0%"):
        assert Limits.model_validate({"max_failures": zero}).max_failures == Share(Decimal(0), zero.endswith("%"))
        for key in set(Limits.model_fields) - {"max_failures"}:
            with pytest.raises(ValidationError):
                Limits.model_validate({key: zero})
        for key in ("max_targets", "max_percent"):
            with pytest.raises(ValidationError):
                Guards.model_validate({key: zero})


def test_one_text_is_a_list_of_one() -> None:
    adapter = TypeAdapter(Texts)
    assert adapter.validate_python("a") == adapter.validate_python(["a"]) == ["a"]


@pytest.mark.parametrize("value", [[], "", [""], [" "], None, {"a": "b"}, [["a"]], 0x12, [12e4], [True]])
def test_numbers_and_other_values_are_no_text(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Texts).validate_python(value)


@pytest.mark.parametrize("value", ["yes", "True", "1", 1, "", None])
def test_a_boolean_has_two_spellings_only(value: object) -> None:
    adapter = TypeAdapter(StrictBool)
    assert adapter.validate_python("true") is adapter.validate_python(True) is True
    with pytest.raises(ValidationError):
        adapter.validate_python(value)


@pytest.mark.parametrize("written", ["40", "1h30m", "2d", "0.5s", "${wait}"])
def test_an_editor_accepts_what_the_program_accepts(written: str) -> None:
    pattern = TypeAdapter(Duration).json_schema()["anyOf"][1]["pattern"]
    assert re.search(pattern, written)


def test_an_editor_is_not_held_up_by_a_long_wrong_duration() -> None:
    pattern = TypeAdapter(Duration).json_schema()["anyOf"][1]["pattern"]
    assert not re.search(pattern, "1" * 5000 + "x")
