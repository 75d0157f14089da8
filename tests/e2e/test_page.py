"""The page in a real browser: live, correct after a lost connection, safe against names and forms, accessible."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.service.overview import Overview
from orchestrator.service.snoozes import FileSnoozeStore
from tests.e2e.conftest import OpenSite
from tests.e2e.site import NAMES
from tests.e2e.test_serve import cron_of, serving, some_hours, was_watched_since
from tests.logs import LogBuilder, about, cvm, target
from tests.report.runs import EVIL
from tests.service.page.served import GrowingLog, ServedPage, served_page
from tests.service.page.viewer import ANNA, make_settings
from tests.service.test_web import CALM, ROW

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if BROWSER is None and not os.environ.get("CI"):
    pytest.skip("there is no Chromium", allow_module_level=True)
if not os.environ.get("CI"):
    pytest.importorskip("playwright")
    pytest.importorskip("axe_playwright_python")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page  # type: ignore[import-not-found, import-untyped, unused-ignore]

BEGIN = datetime(2026, 11, 23, 8, tzinfo=UTC)
SCRIPT = '<img src=x onerror="document.title=`pwned`"><script>document.title="pwned"</script>'
STEPS = [{"action": "stop", "name": "stop", "on_failure": "continue", "settle_timeout_s": 600.0}]


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """One browser for all tests."""
    driver = import_module("playwright.sync_api")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Window:
    """A window of the browser, which notes the errors of pages."""

    def __init__(self, browser: "Browser", **context: Any) -> None:  # noqa: ANN401 - options of a context
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        self.context.set_default_timeout(60_000)
        self.page: Page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda each: self.faults.append(each.text) if "Policy" in each.text else None)
        self.page.on("dialog", lambda dialog: self.faults.append(dialog.message))

    def log_in(self, url: str, token: str = ANNA) -> None:
        self.page.goto(f"{url}/login")
        self.page.fill("#field-token", token)
        self.page.click("main button")

    def close(self) -> None:
        self.context.close()
        assert self.faults == []


def open_log(stack: ExitStack, folder: Path, count: int = 3, **fields: Any) -> GrowingLog:  # noqa: ANN401 - fields of the plan
    """Open the log of a run in progress, with targets not sent yet."""
    log = LogBuilder.start(BEGIN, limits={"requests_per_second": 10}).plan(
        *((number, "stop", "running") for number in range(count)), steps=STEPS, **fields
    )
    return GrowingLog(log, folder / "state", stack)


def serve(stack: ExitStack, folder: Path, *, tokens: bool = False) -> ServedPage:
    return stack.enter_context(served_page(make_settings(folder, tokens=tokens)))


def open_window(stack: ExitStack, browser: "Browser", **context: Any) -> Window:  # noqa: ANN401 - as Window takes
    window = Window(browser, **context)
    stack.callback(window.close)
    return window


def test_a_run_is_watched_to_its_end_through_a_lost_connection(
    stack: ExitStack, browser: "Browser", tmp_path: Path
) -> None:
    log, served, window = open_log(stack, tmp_path), serve(stack, tmp_path), open_window(stack, browser)
    page = window.page
    page.goto(served.url)
    page.click("#running a")
    page.get_by_text("Live.").wait_for()
    assert page.locator("#cvm-0 b").text_content() == "waiting"
    log.builder.end(0).accept(1)
    log.write()
    page.locator("#cvm-0 b", has_text="settled").wait_for(state="attached")
    page.locator("#cvm-1 b", has_text="settling").wait_for(state="attached")
    assert page.locator(".whole .progress").inner_text().strip() == "1 of 3"
    served.stop()
    page.get_by_text("The connection is lost").wait_for()
    reason = "Not Allowed: rented to others"
    log.builder.record_target("target.failed", 1, outcome="failed", status="running", seconds=1.0, reason=reason)
    log.write()
    served.start()
    page.locator("#failures", has_text="Not Allowed: rented to others").wait_for()
    page.get_by_text("Live.").wait_for()
    assert page.locator("#cvm-1 b").text_content() == "failed"
    log.builder.end(2).finish(6)
    log.end()
    page.locator("#headline", has_text="Completed with problems").wait_for()
    assert page.locator("#timeline").count() == 1
    assert page.locator("#live").count() == 0


def test_five_thousand_cvms_with_hostile_names_change_at_once(
    stack: ExitStack, browser: "Browser", tmp_path: Path
) -> None:
    names = {0: SCRIPT, 1: EVIL, 2: "\u202e</td></table>"}
    cvms = [cvm(number, names.get(number), teepod=number % 20) for number in range(5000)]
    cvms[3]["teepod"] = SCRIPT
    log = LogBuilder.start(BEGIN, playbook=SCRIPT, limits={"requests_per_second": 10})
    log.record("run.planned", targets=[target(each) for each in cvms], skipped=[], steps=STEPS)
    growing = GrowingLog(log, tmp_path / "state", stack)
    served, window = serve(stack, tmp_path), open_window(stack, browser)
    served.facts = replace(served.facts, overview=_hostile_overview())
    page = window.page
    page.goto(f"{served.url}/runs/{growing.path.stem}")
    assert page.locator("#cvms tbody tr").count() == 5000
    assert SCRIPT in str(page.locator("#cvm-0 th").text_content())
    for number in range(1000):
        log.record("action.intent", **about(cvms[number], attempt=1))
    growing.write()
    begin = time.monotonic()
    page.locator("#cvm-999 b", has_text="sending").wait_for(state="attached")
    assert time.monotonic() - begin < 30
    page.goto(served.url)
    page.locator("#live", has_text="Live.").wait_for()
    assert page.title() == "Overview - orchestrator"
    assert page.locator("main img, main script").count() == 0


def _hostile_overview() -> Overview:
    last = {
        "planned": None,
        "run_id": SCRIPT,
        "exit_code": 6,
        "result": SCRIPT,
        "reason": SCRIPT,
        "at": BEGIN.isoformat(),
    }
    row = replace(ROW, name=SCRIPT, file=SCRIPT, running=SCRIPT, last={**last, "exit_code": 6, "at": BEGIN.isoformat()})
    return replace(CALM, rows=(row,), troubles=(SCRIPT, EVIL))


def test_an_operator_acts_from_the_keyboard_and_a_wrong_token_does_not(
    stack: ExitStack, browser: "Browser", tmp_path: Path
) -> None:
    log, served = open_log(stack, tmp_path), serve(stack, tmp_path, tokens=True)
    window = open_window(stack, browser)
    page = window.page
    window.log_in(served.url, "wrong")
    assert "not a token" in page.locator("[role=alert]").inner_text()
    window.log_in(served.url)
    page.goto(f"{served.url}/snooze?playbook=nightly")
    page.focus("body")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#field-until")
    page.keyboard.type("8h")
    page.keyboard.press("Enter")
    page.get_by_text("Snoozed: it shows here within seconds.").wait_for()
    assert FileSnoozeStore(tmp_path / "state").read_snoozes()["nightly"].by == "anna (page)"
    served.facts = replace(served.facts, can_cancel=frozenset({log.path.stem}))
    page.goto(f"{served.url}/runs/{log.path.stem}")
    page.get_by_role("link", name="Cancel the run").click()
    page.get_by_role("button", name="Cancel the run").click()
    page.get_by_text("Cancelled: the run sends nothing more").wait_for()
    assert served.cancelled == [(log.path.stem, "anna (page)")]
    # A page of another site, in the browser of the operator.
    form = f'<form method="post" action="{served.url}/runs/{log.path.stem}/cancel"><button>x</button></form>'
    other = window.context.new_page()
    other.set_content(form)
    other.click("button")
    other.get_by_text("Only an operator").wait_for()
    assert len(served.cancelled) == 1
    page.goto(served.url)
    page.get_by_role("button", name="Log out").click()
    page.goto(f"{served.url}/keep")
    assert page.get_by_text("Only an operator can do this").count() == 1


EVERY_PAGE = ("overview", "live", "report", "runs", "keep", "login")


@pytest.mark.parametrize(
    ("screen", "names"),
    [
        ((360, "dark"), EVERY_PAGE[:2]),
        pytest.param((1280, "light"), EVERY_PAGE, marks=pytest.mark.soak),
        pytest.param((360, "dark"), EVERY_PAGE[2:], marks=pytest.mark.soak),
    ],
    ids=["phone", "desk", "rest"],
)
def test_no_page_has_a_barrier_or_is_wider_than_the_screen(
    stack: ExitStack, browser: "Browser", tmp_path: Path, screen: tuple[int, str], names: tuple[str, ...]
) -> None:
    axe = import_module("axe_playwright_python.sync_playwright").Axe()
    (width, scheme), served = screen, serve(stack, tmp_path, tokens=True)
    log = open_log(stack, tmp_path)
    served.facts = replace(served.facts, overview=replace(CALM, rows=(ROW,), troubles=("no disk",)))
    log.builder.end(0).record_target(
        "target.failed", 1, outcome="failed", status="running", seconds=1.0, reason="rented"
    ).record("approval.requested", step="stop", question="Go on?", expires_at="2026-11-23T09:00:00.000000Z")
    log.write()
    LogBuilder.start(BEGIN - timedelta(days=1)).plan((1, "stop", "running")).end(1).finish().write(tmp_path / "state")
    window = open_window(stack, browser, viewport={"width": width, "height": 800}, color_scheme=scheme)
    window.log_in(served.url)
    page, found = window.page, {}
    live, report = f"/runs/{log.path.stem}", "/runs/20261122T080000Z-0000"
    paths = dict(zip(EVERY_PAGE, ("/", live, report, "/runs", "/keep", "/login"), strict=True))
    for path in map(paths.__getitem__, names):
        page.goto(served.url + path)
        results = axe.run(page).response["violations"]
        found[path] = [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in results]
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    assert {path: each for path, each in found.items() if each} == {}


def test_without_script_the_page_tells_the_same(stack: ExitStack, browser: "Browser", tmp_path: Path) -> None:
    log, served = open_log(stack, tmp_path), serve(stack, tmp_path)
    window = open_window(stack, browser, java_script_enabled=False)
    window.page.goto(served.url)
    window.page.click("#running a")
    assert window.page.locator("#cvms tbody tr").count() == 3
    log.builder.end(0)
    log.write()
    window.page.reload()
    assert window.page.locator("#cvm-0 b").text_content() == "settled"
    assert "Load the page again" in window.page.locator("#live").inner_text()


def test_a_question_of_a_real_run_is_answered_in_the_browser(
    stack: ExitStack, browser: "Browser", open_site: OpenSite
) -> None:
    site = open_site()
    due = some_hours(-1)
    playbooks = site.folder / "playbooks"
    playbooks.mkdir()
    (playbooks / "daily.yaml").write_text(f"""\
name: daily
schedule: {{cron: "{cron_of(due)}", timezone: UTC, on_missed: run_once}}
limits: {{requests_per_second: 50, burst: 10}}
steps:
  - {{name: first, action: stop, select: {{name: ["web-1"]}}}}
  - {{name: look, action: pause, question: "Are all dashboards green?", timeout: 1h}}
  - {{name: rest, action: stop, select: {{name: ["web-*"]}}}}
""")
    since = threading.Thread(target=was_watched_since, args=(site, due - timedelta(hours=1)))
    since.start()  # playwright has the event loop of this thread
    since.join()
    tokens = site.folder / "tokens"
    tokens.write_text(f"anna operator {ANNA}\n")
    tokens.chmod(0o600)
    with serving(site, env={"ORCHESTRATOR_SERVICE__TOKEN_FILE": str(tokens)}) as served:
        window = open_window(stack, browser)
        window.log_in(served.url)
        page = window.page
        page.locator("#questions", has_text="Are all dashboards green?").wait_for()
        page.click("text=Approve …")
        assert page.locator("main li").inner_text().startswith("rest: stop 7 CVMs")
        page.fill("#field-typed", "7")
        page.click("main button")
        page.get_by_text("Approved: the run continues.").wait_for()
        page.locator("#headline", has_text="Succeeded: 8 of 8 CVMs stopped").wait_for()
        assert served.end(signal.SIGTERM) == 0
        assert {"page.login", "page.action"} <= {each["event"] for each in served.said}
    answered = next(each for each in site.records if each["event"] == "approval.answered")
    assert (answered["answer"], answered["by"]) == ("approved", "anna (page)")
    assert site.effective == dict.fromkeys(NAMES, 1)
