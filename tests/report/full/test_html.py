"""The report as a page: safe with any content, and accessible."""

import base64
import hashlib
import re
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.report.full import timeline_section
from tests.logs import asked, cvm, ended, finished, stopped, target
from tests.report.documents import HOSTILE, document, hostile, report_html

VOID = {"meta", "br"}
LINKS = re.compile(r"https?://(?!www\.w3\.org/2000/svg|127\.0\.0\.1:1/api/v1)\S*")


class Page(HTMLParser):
    """The elements, attributes and texts of a page, as a browser parses them.

    Attributes:
        found: every element with its attributes, in order.
        texts: the text of each element that has some, by its tag.
    """

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html.decode("utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.append((self._open[-1], data))

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@cache
def pages() -> dict[str, Page]:
    ones = [cvm(number, teepod=number % 3) for number in range(9)]
    events = [event for number, each in enumerate(ones[:7]) for event in stopped(each, number)]
    refused = [asked(ones[7], 3), ended(ones[7], 4, "refused", reason="HTTP 403: no")]
    tame = document([target(each) for each in ones], *events, *refused, finished(12, 6), variables={"teepod": "prod-1"})
    return {
        "tame": Page(report_html(tame)),
        "hostile": Page(report_html(hostile())),
        "empty": Page(report_html(document([]))),
        "many": Page(report_html(document([target(cvm(number, teepod=1)) for number in range(600)]))),
    }


@pytest.fixture(params=["tame", "hostile", "empty", "many"])
def page(request: pytest.FixtureRequest) -> Page:
    return pages()[request.param]


def test_no_foreign_text_becomes_an_element() -> None:
    """A page of hostile text has exactly the elements of the same page with harmless text."""
    made = hostile()
    tamed = report_html(
        _with_every_text(made, lambda text: "x" if any(map(str.isalpha, text)) and len(text) > 9 else text)
    )
    tags = {tag for tag, _ in Page(tamed).found}
    assert {tag for tag, _ in pages()["hostile"].found} <= tags
    assert not {"script", "img", "iframe", "object", "embed", "link", "base", "form", "input", "template"} & tags


def _with_every_text(value: Any, change: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {
            key: _with_every_text(each, change) if key in OTHERS else _deeper(each, change)
            for key, each in value.items()
        }
    return [_with_every_text(each, change) for each in value] if isinstance(value, list) else _tame(value, change)


def _deeper(value: Any, change: Any) -> Any:  # noqa: ANN401 - any JSON
    return _with_every_text(value, change) if isinstance(value, dict | list) else value


def _tame(value: Any, change: Any) -> Any:  # noqa: ANN401 - any JSON
    return change(value) if isinstance(value, str) else value


OTHERS = {"name", "teepod", "app_id", "reason", "request_id", "status", "actor", "vars", "warnings", "names", "message"}


def test_no_attribute_runs_or_loads_anything(page: Page) -> None:
    for tag, attributes in page.found:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in {"style", "src", "srcset", "action", "formaction", "xlink:href", "data", "ping"}, (
                tag,
                name,
            )
            if name == "href":
                assert (value or "").startswith("#"), (tag, value)


def test_the_policy_allows_nothing_but_the_pages_own_style_sheet(page: Page) -> None:
    (policy,) = (each["content"] for each in page.attributes("meta") if each.get("http-equiv"))
    (css,) = (text for tag, text in page.texts if tag == "style")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in css
    assert "@import" not in css


def test_the_policy_precedes_all_content(page: Page) -> None:
    names = [attributes.get("http-equiv") or attributes.get("charset") or tag for tag, attributes in page.found]
    assert names[:4] == ["html", "head", "utf-8", "Content-Security-Policy"]


def test_nothing_is_loaded_from_elsewhere() -> None:
    """The only address in a page with harmless names is the cloud's, as text."""
    assert LINKS.findall(report_html(document([target(cvm(1))], *stopped(cvm(1), 1))).decode()) == []


def test_a_page_has_no_hidden_or_reversing_characters(page: Page) -> None:
    hidden = {"\0", "\x1b", "\u202e", "\u2066", "\u200b", "\x07", "\r", "\ud800"}
    assert not hidden & set("".join(text for _, text in page.texts))


def test_hostile_names_are_shown_as_they_are_written() -> None:
    text = "".join(text for _, text in pages()["hostile"].texts)
    assert HOSTILE[0] in text
    assert "\\u202egnp.exe" in text


def test_a_very_long_name_is_cut() -> None:
    assert max(len(text) for tag, text in pages()["hostile"].texts if tag not in {"style", "pre"}) <= 2000


def test_every_id_is_unique_and_every_link_has_a_target(page: Page) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.found if "id" in attributes)
    assert set(ids.values()) == {1}
    links = {attributes["href"] for attributes in page.attributes("a")}
    labels = {attributes["aria-labelledby"] for attributes in page.attributes("section")}
    assert {f"#{name}" for name in ids} >= links
    assert set(ids) >= labels


def test_headings_come_in_order(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.found if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_a_page_has_landmarks_a_language_and_a_skip_link(page: Page) -> None:
    assert page.attributes("html") == [{"lang": "en"}]
    assert [len(page.attributes(tag)) for tag in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]
    assert page.attributes("a")[0] == {"href": "#main", "class": "skip"}


def test_every_table_has_a_caption_and_scoped_headings(page: Page) -> None:
    tables = len(page.attributes("table"))
    assert len(page.attributes("caption")) == tables
    regions = [each for each in page.attributes("div") if each.get("role") == "region"]
    assert len(regions) == tables
    assert all(each.get("tabindex") == "0" and each.get("aria-label") for each in regions)
    assert {each.get("scope") for each in page.attributes("th")} <= {"col", "row"}


def test_every_picture_has_a_label_or_is_hidden_from_screen_readers(page: Page) -> None:
    for each in page.attributes("svg"):
        assert each.get("aria-hidden") == "true" or (each.get("role") == "img" and each.get("aria-label"))


def test_no_outcome_is_told_by_colour_alone() -> None:
    """Every cell with an outcome has a mark and the word."""
    cells = [text for tag, text in pages()["tame"].texts if tag == "td" and "settled" in text]
    assert cells
    assert all(text.startswith(("✓ ", "✗ ")) for text in cells)


def test_only_the_tables_of_a_small_run_are_open() -> None:
    small, large = (pages()[name].attributes("details") for name in ("tame", "many"))
    assert all("open" in each for each in small)
    assert not any("open" in each for each in large)
    assert len(large) == 3  # 600 CVMs of one teepod, 250 in a table


def test_a_cvm_takes_less_than_a_thousand_bytes() -> None:
    """5,000 CVMs then take less than 5 MB."""
    few, many = (
        len(
            report_html(
                document([target(cvm(n)) for n in range(count)], *(e for n in range(count) for e in stopped(cvm(n), n)))
            )
        )
        for count in (100, 600)
    )
    assert (many - few) / 500 < 1000


def test_a_run_that_did_not_finish_says_so() -> None:
    assert any("Not finished" in text for _, text in Page(report_html(document([target(cvm(1))]))).texts)


def test_the_tables_of_a_very_large_run_have_only_failed_cvms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_section, "_LISTED", 3)
    ones = [cvm(number) for number in range(5)]
    events = [event for each in ones[:4] for event in stopped(each, 1)]
    report = document([target(each) for each in ones], *events, asked(ones[4], 1), ended(ones[4], 2, "failed"))
    page = Page(report_html(report))
    assert [text for tag, text in page.texts if tag == "th" and text.startswith("web-")] == ["web-4", "web-4"]
    assert any("The 4 others are in the CSV and JSON formats" in text for _, text in page.texts)
