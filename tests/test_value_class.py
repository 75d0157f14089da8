"""Values are compared and hashed by their fields, as values of frozen dataclasses."""

from dataclasses import dataclass, replace

from orchestrator.value_class import value_class


@value_class(frozen=True, slots=True)
class Quick:
    """A value."""

    number: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Frozen:
    """The same value as a frozen dataclass."""

    number: int
    text: str = ""


def test_equal_values_have_the_same_hash_as_frozen_ones() -> None:
    assert Quick(1, "a") == Quick(1, "a") != Quick(2, "a")
    assert hash(Quick(1, "a")) == hash(Frozen(1, "a"))
    assert {Quick(1): "found"}[Quick(1)] == "found"


def test_a_value_has_no_other_attributes_and_can_be_replaced() -> None:
    assert not hasattr(Quick(1), "__dict__")
    assert replace(Quick(1, "a"), number=2) == Quick(2, "a")
