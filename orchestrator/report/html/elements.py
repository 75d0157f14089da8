"""Elements of a page, and the common forms of its sections. All text is made safe to show on entry."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias
from xml.etree.ElementTree import Element

from orchestrator.text import safe_text

Content: TypeAlias = Element | str | None
"""What an element can hold; None holds nothing."""

Cell: TypeAlias = Content | Sequence[Content]
"""What a table's cell can hold."""

_LONGEST = 2000
"""The most characters shown of a text."""


def e(tag: str, *contents: Content, cls: str | None = None, **attributes: str | None) -> Element:
    """Make an element.

    Args:
        tag: the name of the element.
        contents: elements and text, in order. Control and bidirectional characters of a text are shown as escapes.
        cls: the CSS classes.
        attributes: the attributes, with `_` for `-` and without a last `_`. None leaves an attribute out.
    """
    given = {
        key.rstrip("_").replace("_", "-"): safe_text(value, _LONGEST)
        for key, value in attributes.items()
        if value is not None
    }
    element = Element(tag, given | ({"class": cls} if cls else {}))
    for content in contents:
        if content is None:
            continue
        if isinstance(content, Element):
            element.append(content)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + safe_text(content, _LONGEST)
        else:
            element.text = (element.text or "") + safe_text(content, _LONGEST)
    return element


def section(name: str, title: str, *contents: Content) -> Element:
    """Make a section with a heading. The table of contents at the top links to the section."""
    heading = e("h2", title, id=f"{name}-title")
    return e("section", heading, *contents, id=name, aria_labelledby=f"{name}-title")


def facts(pairs: Iterable[tuple[str, Cell]], cls: str = "facts") -> Element:
    """Make a list of names and values."""
    return e("dl", *(e("div", e("dt", name), _fill_element("dd", value)) for name, value in pairs), cls=cls)


def table(
    caption: str, head: Sequence[tuple[str, str]], rows: Iterable[Sequence[Cell]], foot: Sequence[Cell] | None = None
) -> Element:
    """Make a table with its own scroll bar on a narrow screen.

    Args:
        caption: the subject of the table.
        head: the title and class of every column.
        rows: the rows; the first cell of a row is its heading.
        foot: a last row of sums.
    """
    classes = [cls for _, cls in head]

    def row(cells: Sequence[Cell]) -> Element:
        first, *others = zip(cells, classes, strict=True)
        named = _fill_element("th", first[0], cls=first[1] or None, scope="row")
        return e("tr", named, *(_fill_element("td", cell, cls=cls or None) for cell, cls in others))

    inner = e(
        "table",
        e("caption", caption),
        e("thead", e("tr", *(e("th", title, cls=cls or None, scope="col") for title, cls in head))),
        e("tbody", *map(row, rows)),
        None if foot is None else e("tfoot", row(foot)),
    )
    return e("div", inner, cls="scroll", role="region", aria_label=caption, tabindex="0")


def figure(caption: str, keys: Iterable[tuple[str, str]], charts: Iterable[Element]) -> Element:
    """Make a chart with its title and the meaning of its colours.

    Args:
        caption: the subject of the chart.
        keys: pairs of a class and its meaning, in the order of the picture.
        charts: the picture, once for every width.
    """
    legend = e("ul", *(e("li", e("span", cls=f"key {kind}"), says) for kind, says in keys), cls="legend")
    return e("figure", e("figcaption", caption), legend, *charts)


def _fill_element(tag: str, cell: Cell, cls: str | None = None, scope: str | None = None) -> Element:
    contents = (cell,) if cell is None or isinstance(cell, str | Element) else cell
    return e(tag, *contents, cls=cls, scope=scope)
