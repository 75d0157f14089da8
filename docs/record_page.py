"""Takes the pictures of the page of `serve` anew: `python docs/record_page.py`.

A firing stops 240 simulated CVMs, some of which refuse or hang, and asks before its last step. Needs Chromium.
"""  # noqa: INP001 - a script, not a package

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
from playwright.sync_api import sync_playwright

from orchestrator.service.folder import PlaybookFolder
from orchestrator.service.journal import FileJournalStore
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings

IMAGES = Path(__file__).resolve().parent / "images"
COMMAND = str(Path(sys.executable).with_name("orchestrator"))
TOKEN = "picture" * 5
EARLIER = """\
name: idle-dev
steps: [{name: stop, action: stop, select: {teepod: ["prod-1"]}, settle: {timeout: 20s}}]
"""
PLAYBOOK = """\
name: nightly-cost-stop
schedule: {cron: "0 20 * * MON-FRI", timezone: Europe/Berlin, on_missed: run_once}
limits: {requests_per_second: 12, burst: 5, max_in_flight: 20, per_teepod: 20}
guards: {max_percent: 100}
steps:
  - {name: staging, action: stop, select: {teepod: ["prod-2", "prod-3", "prod-4"]}, settle: {timeout: 15s}}
  - {name: ask, action: pause, question: "Is the release over? Then the last two teepods are stopped too.", timeout: 2h}
  - {name: rest, action: stop, select: {teepod: ["prod-5", "prod-6"]}}
"""
BROKEN = """\
name: weekend-restart
schedule: {cron: "0 7 * * MON", timezone: Europe/Berlin}
steps: [{name: start, acton: start, select: {all: true}}]
"""
WORLD = {
    "api": {"simulated_header": False},
    "fleet": {"cvms": 240, "seed": 11, "teepod_names": [f"prod-{n}" for n in range(1, 7)], "stopped_share": 0},
    "timing": {"stop_seconds": [1, 9]},
    "behaviour": [{"kind": "refuses", "count": 4}, {"kind": "stuck", "count": 3}],
}


def main() -> None:
    """Run the service, and take the pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Chromium is not installed")
    with tempfile.TemporaryDirectory() as name, BackgroundSimulator(parse_settings(WORLD)) as cloud:
        folder = Path(name)
        environment = _prepare(folder, cloud.url, cloud.api_key)
        run = [COMMAND, "run", "idle-dev.yaml", "--yes"]
        subprocess.run(run, cwd=folder, env=environment, check=False)  # noqa: S603 - the command above
        subprocess.run(  # noqa: S603 - the same
            [COMMAND, "keep", "dev-api-1", "--until", "2d", "--reason", "load test", "--owner", "kim"],
            cwd=folder,
            env=environment,
            check=True,
        )
        serve = subprocess.Popen(  # noqa: S603 - the same
            [COMMAND, "serve", "--listen", "127.0.0.1:0"],
            cwd=folder,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert serve.stderr is not None  # noqa: S101 - a pipe
            url = json.loads(serve.stderr.readline())["url"]
            _take_pictures(chromium, url)
        finally:
            serve.kill()
            serve.wait()


def _prepare(folder: Path, url: str, api_key: str) -> dict[str, str]:
    playbooks, state = folder / "playbooks", folder / "state"
    playbooks.mkdir()
    (folder / "idle-dev.yaml").write_text(EARLIER)
    (playbooks / "nightly-cost-stop.yaml").write_text(PLAYBOOK)
    tokens = folder / "tokens"
    tokens.touch(0o600)
    tokens.write_text(f"anna operator {TOKEN}\n")
    (watched,) = PlaybookFolder(playbooks, folder / "kept").scan({}).watched.values()
    (playbooks / "weekend-restart.yaml").write_text(BROKEN)
    since = datetime.now(UTC) - timedelta(days=4)

    async def write() -> None:
        """Have the service believe that it missed a firing."""
        with closing(FileJournalStore(state, wall=lambda: since).open_journal()) as journal:
            about = {"playbook": watched.name, "file": watched.file, "timezone": "Europe/Berlin"}
            await journal.write("schedule.enabled", **about, when=watched.when, left_out=watched.left_out)

    anyio.run(write)
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("ORCHESTRATOR_", "PHALA_"))},
        "PHALA_CLOUD_API_KEY": api_key,
        "PHALA_CLOUD_API_PREFIX": url,
        "ORCHESTRATOR_STATE_DIR": str(state),
        "ORCHESTRATOR_SERVICE__TOKEN_FILE": str(tokens),
    }


def _take_pictures(chromium: str, url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.goto(f"{url}/login")
        page.fill("#field-token", TOKEN)
        page.click("main button")
        page.locator("#running a").first.click()
        page.locator("#failures table").wait_for()
        time.sleep(3)
        page.screenshot(path=IMAGES / "page-run.png")
        page.goto(url)
        page.locator("#questions .button").first.wait_for(timeout=120_000)
        height = page.evaluate("document.getElementById('kept').getBoundingClientRect().bottom + scrollY + 16")
        page.screenshot(
            path=IMAGES / "page.png", full_page=True, clip={"x": 0, "y": 0, "width": 1100, "height": height}
        )
        page.get_by_text(re.compile("Approve")).first.click()
        page.screenshot(path=IMAGES / "page-approve.png", clip={"x": 0, "y": 0, "width": 1100, "height": 700})
        browser.close()


if __name__ == "__main__":
    main()
