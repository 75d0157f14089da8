"""The frame of a page: head, navigation, notice, main part and foot. Pure."""

from collections.abc import Iterable, Mapping
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, tostring

from orchestrator.report.html.elements import Content, e
from orchestrator.service.page.values import Frame

TITLE = "orchestrator"


def build_page(
    title: str, main: Iterable[Content], frame: Frame, *, events: str | None = None, path: str = "/"
) -> bytes:
    """Build a page in UTF-8.

    Args:
        title: the title of the window.
        main: the content, with the heading of the page.
        frame: the viewer and the service.
        events: the address of the page's events; None for a page without changes.
        path: the address of the page, to return to after a login.
    """
    tree = e(
        "html",
        e(
            "head",
            e("meta", charset="utf-8"),
            e("meta", name="viewport", content="width=device-width, initial-scale=1"),
            e("meta", name="color-scheme", content="light dark"),
            e("title", f"{title} - {TITLE}" if title != TITLE else TITLE),
            e("link", rel="stylesheet", href="/page.css"),
            e("link", rel="icon", href="/icon.svg", type="image/svg+xml"),
            None if events is None else e("script", src="/page.js", defer=""),
        ),
        e(
            "body",
            e("a", "Skip to the content", href="#main", cls="skip"),
            e("header", _build_navigation(frame, path), cls="bar"),
            e(
                "main",
                None if frame.notice is None else e("p", frame.notice, cls="banner", role="status"),
                *main,
                id="main",
                tabindex="-1",
                data_events=events,
            ),
            e("footer", _build_foot(frame, is_live=events is not None)),
        ),
        lang="en",
    )
    written: bytes = tostring(tree, encoding="utf-8", method="html")
    return b"<!DOCTYPE html>\n" + written + b"\n"


def _build_navigation(frame: Frame, path: str) -> Element:
    parts: list[Content] = [e("li", e("a", "Overview", href="/")), e("li", e("a", "Runs", href="/runs"))]
    if frame.visitor is not None:
        logout = build_form("/logout", frame.form_key, e("button", "Log out")) if frame.form_key else None
        parts.append(e("li", f"{frame.visitor} ({frame.role})", cls="who"))
        parts.append(None if logout is None else e("li", logout))
    elif frame.has_tokens:
        parts.append(e("li", e("a", "Log in", href=f"/login?{urlencode({'next': path})}"), cls="who"))
    return e("nav", e("ul", *parts), aria_label="Pages")


def _build_foot(frame: Frame, *, is_live: bool) -> Element:
    live = e("span", "Load the page again for newer facts.", id="live", role="status") if is_live else None
    return e("p", f"orchestrator {frame.version}. Times are UTC unless an offset is given. ", live)


def build_form(action: str, form_key: str | None, *fields: Content, cls: str | None = None) -> Element:
    """Make a form for a change."""
    hidden = None if form_key is None else e("input", type="hidden", name="form_key", value=form_key)
    return e("form", hidden, *fields, method="post", action=action, cls=cls)


def build_field(label: str, name: str, hint: str | None = None, **attributes: str | None) -> Element:
    """Make a labelled input field, with a hint below."""
    hint_id = f"{name}-hint"
    field = e(
        "input",
        id=f"field-{name}",
        name=name,
        aria_describedby=hint_id if hint else None,
        **{"type": "text"} | attributes,
    )
    below = None if hint is None else e("span", hint, id=hint_id, cls="soft")
    return e("p", e("label", label, for_=f"field-{name}"), field, below, cls="field")


def build_part(name: str, title: str, *contents: Content) -> Element:
    """Make a self-updating part of a page; a part without content is hidden."""
    if not contents:
        return e("section", id=name, hidden="")
    return e("section", e("h2", title, id=f"{name}-title"), *contents, id=name, aria_labelledby=f"{name}-title")


def run_link(run_id: str | None) -> Element | str:
    """Link a run by its id."""
    return "-" if run_id is None else e("a", run_id, href=run_path(run_id), cls="mono")


def run_path(run_id: str) -> str:
    """Return the address of a run's page."""
    return f"/runs/{run_id}"


def action_path(path: str, facts: Mapping[str, str]) -> str:
    """Return the address of the confirmation page of an action."""
    return f"{path}?{urlencode(facts)}"


def write_part(part: Element) -> str:
    """Write a part of a page as text."""
    written: bytes = tostring(part, encoding="utf-8", method="html")
    return written.decode("utf-8")
