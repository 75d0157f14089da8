"""Text of others on a terminal: seen, never obeyed."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.text import safe_text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("dev-1", "dev-1"),
        ("wéb 日本 😀", "wéb 日本 😀"),
        (None, "-"),
        (5, "5"),
        ("", ""),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("a\0b", "a\\x00b"),
        ("\u202egnp", "\\u202egnp"),
        ("a\u200bb\u2066\ufeff", "a\\u200bb\\u2066\\ufeff"),
        ("a\u2028b\u2029", "a\\u2028b\\u2029"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("[red]x[/]", "[red]x[/]"),
    ],
)
def test_what_could_steer_a_terminal_is_escaped_and_the_rest_left_alone(text: object, safe: str) -> None:
    assert safe_text(text) == safe


@given(st.text(st.characters(exclude_categories=[]), max_size=60), st.integers(1, 50))
def test_whatever_is_shown_is_visible_and_no_longer_than_asked(text: str, width: int) -> None:
    safe = safe_text(text, width)
    assert len(safe) <= width
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for char in safe)


def test_a_cut_is_marked() -> None:
    assert safe_text("abcdef", 4) == "abc…"
    assert safe_text("abcd", 4) == "abcd"
    assert safe_text("x" * 10_000_000, 4) == "xxx…"
