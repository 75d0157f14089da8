"""Charts: the kept elements of a picture, and its content."""

import re
import sys
from xml.etree.ElementTree import Element

from orchestrator.report.full.charts import Series, Spans, draw_spans, draw_values

PLAIN = {"svg", "g", "path", "rect", "circle", "text"}
HARMLESS = {
    *("xmlns", "class", "viewBox", "role", "aria-label", "transform", "stroke-width"),
    *("d", "x", "y", "width", "height", "cx", "cy", "r"),
}


def two_series() -> list[Element]:
    return draw_values("two.", 1, [Series("a", "good", [1, 2, 3]), Series("b", "bad", [0, 1, 0], filled=False)])


def three_rows(label: str = "web") -> list[Element]:
    spans = [Spans("s", "settling", [(0, 0, 5), (1, 1, 6), (2, 3, 7)]), Spans("x", "bad", [(2, 7, 7)], dots=True)]
    return draw_spans("three.", 10, [label, "b", "c"], spans)


def test_nothing_is_kept_but_shapes_and_text() -> None:
    """A chart has no script, style, link or pop-up title, and no attribute with the same effect."""
    for chart in (*two_series(), *three_rows()):
        assert {element.tag for element in chart.iter()} <= PLAIN
        assert {key for element in chart.iter() for key in element.keys()} <= HARMLESS  # noqa: SIM118 - not a mapping


def test_every_chart_is_drawn_for_a_desktop_and_for_a_phone() -> None:
    wide, narrow = two_series()
    assert (wide.get("class"), narrow.get("class")) == ("chart wide", "chart narrow")
    assert (wide.get("viewBox"), narrow.get("viewBox")) == ("0 0 1000 300", "0 0 360 240")


def test_a_chart_has_a_summary_for_screen_readers() -> None:
    for chart in two_series():
        assert (chart.get("role"), chart.get("aria-label")) == ("img", "two.")


def test_a_hostile_label_stays_text() -> None:
    for chart in three_rows("<b>\u202ex\0</b>"):
        labels = [element.text or "" for element in chart.iter("text")]
        assert any(label.startswith("<b>\\u202ex") for label in labels)
        assert "b" not in {element.tag for element in chart.iter()}


def test_a_value_holds_until_the_next_one() -> None:
    """A line of n values has two points for each: steps, not slopes."""
    (line,) = (path for path in two_series()[0].iter("path") if "nofill" in (path.get("class") or ""))
    points = re.findall(r"(\S+) (\S+)", (line.get("d") or "").replace("M", "").replace("L", ""))
    assert len(points) == 6
    assert [first[1] == second[1] for first, second in zip(points[::2], points[1::2], strict=True)] == [True] * 3


def test_rows_of_one_kind_are_a_single_path() -> None:
    many = [(row, float(row), row + 5.0) for row in range(500)]
    for chart in draw_spans("many.", 600, [None] * 500, [Spans("s", "settling", many)]):
        (path,) = (path for path in chart.iter("path") if "nofill" in (path.get("class") or ""))
        assert (path.get("d") or "").count("M") == 500


def test_what_ended_otherwise_is_a_dot() -> None:
    for chart in three_rows():
        assert len(list(chart.iter("circle"))) == 1


def test_the_first_row_is_on_top() -> None:
    placed = {element.text: float(element.get("y") or 0) for element in three_rows("web")[0].iter("text")}
    assert placed["web"] < placed["b"] < placed["c"]


def test_a_chart_without_values_is_drawn() -> None:
    assert len(draw_values("none.", 1, [Series("a", "good", [])])) == 2
    assert len(draw_spans("none.", 0, [], [Spans("s", "settling", [])])) == 2


def test_drawing_a_chart_leaves_imports_as_they_were() -> None:
    """The library adds an import finder, and Python warns about the finder at every later import."""
    before = list(sys.meta_path)
    two_series()
    assert [type(each).__name__ for each in sys.meta_path if type(each).__name__ == "PluginImportFixer"] == []
    assert [each for each in before if each not in sys.meta_path] == []
