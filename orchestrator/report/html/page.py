"""The page around the sections: its policy, its style, and its bytes."""

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from xml.etree.ElementTree import Element, tostring

from orchestrator.report.html.elements import Content, e


def page(title: str, head: Iterable[Content], sections: Iterable[Element], foot: str) -> bytes:
    """Build a whole HTML file in UTF-8.

    Args:
        title: the title of the window, and of the page for screen readers.
        head: the content above the sections, with the heading of the page.
        sections: results of `section`. The page begins with links to the sections.
        foot: a line below all sections.
    """
    parts = list(sections)
    links = [e("li", e("a", _find_title(part), href=f"#{part.get('id')}")) for part in parts]
    tree = e(
        "html",
        e(
            "head",
            e("meta", charset="utf-8"),
            e("meta", http_equiv="Content-Security-Policy", content=policy()),
            e("meta", name="viewport", content="width=device-width, initial-scale=1"),
            e("meta", name="color-scheme", content="light dark"),
            e("meta", name="referrer", content="no-referrer"),
            e("meta", name="robots", content="noindex"),
            e("title", title),
            _make_style(),
        ),
        e(
            "body",
            e("a", "Skip to the report", href="#main", cls="skip"),
            e("header", *head, e("nav", e("ul", *links), aria_label="Sections")),
            e("main", *parts, id="main", tabindex="-1"),
            e("footer", e("p", foot)),
        ),
        lang="en",
    )
    written: bytes = tostring(tree, encoding="utf-8", method="html")
    return b"<!DOCTYPE html>\n" + written + b"\n"


@cache
def policy() -> str:
    """Return the Content-Security-Policy: only the page's own style sheet is allowed, by its hash."""
    digest = base64.b64encode(hashlib.sha256(_read_css().encode("utf-8")).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def _read_css() -> str:
    return files(__package__).joinpath("page.css").read_text(encoding="utf-8")


def _make_style() -> Element:
    style = Element("style")
    style.text = _read_css()
    return style


def _find_title(part: Element) -> str:
    return part[0].text or ""
