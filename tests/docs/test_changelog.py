"""The changelog speaks of the version that this is."""

import re

from orchestrator import __version__
from tests.docs.pages import ROOT

TEXT = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_it_has_a_section_for_what_is_not_released_and_for_this_version() -> None:
    """There is an Unreleased section, and below it one for the current version."""
    headings = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert any(heading.startswith(__version__) for heading in headings)


def test_every_entry_is_one_sentence_on_one_line() -> None:
    """An entry begins with a dash, ends with a full stop, and is not continued below."""
    for line in TEXT.split("## ", 1)[1].splitlines()[1:]:
        assert not line or line.startswith("#") or re.fullmatch(r"- .*\.", line), line
