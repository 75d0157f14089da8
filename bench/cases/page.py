"""The case of the page of `serve`: first paint, delay of a change, and the send rate of a run with 50 viewers."""

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from shutil import which
from threading import Event, Thread
from typing import Any, Self

import anyio

from bench.cases.options import BenchOptions
from bench.process import COMMAND, UnavailableError
from bench.result import CaseResult, Target
from bench.work_folder import WorkFolder, find_free_port
from orchestrator.audit.record import Chain
from orchestrator.service.folder import PlaybookFolder
from orchestrator.service.journal import FileJournalStore

VIEWERS, SLOW = 50, 10
RATE = 50
OVERVIEW, RUN, LARGE = "overview, first paint", "run of 1,000 CVMs, first paint", "run of 5,000 CVMs, first paint"
ONE, MANY = "change of one CVM, from the log to the screen", "change of 1,000 CVMs at once, from the log to the screen"
ALONE, WATCHED = "run without viewers", f"run with {VIEWERS} viewers, {SLOW} of them without reading"
_PATIENCE_S = 120.0
_PLAYBOOK = """\
name: bench
schedule: {{cron: "0 0 * * *", timezone: UTC, on_missed: run_once}}
limits: {{requests_per_second: {rate}, burst: 1, max_in_flight: 20, per_teepod: 50}}
steps:
  - {{name: stop, action: stop, select: {{all: true}}}}
"""


def measure_page(options: BenchOptions) -> CaseResult:
    """Measure the page in a browser, and a run of `serve` with and without viewers."""
    result = CaseResult("page", f"The page of `serve`, and a run at {RATE} requests/s with {VIEWERS} viewers")
    result.targets = [
        *(Target("seconds to the first paint", label, "first_paint_seconds", 1.0) for label in (OVERVIEW, RUN)),
        Target("seconds from a record in the log to the screen", ONE, "seconds", 0.1),
        Target("share of the send rate without viewers", WATCHED, "rate_share", 0.98, at_most=False),
    ]
    for number in range(options.runs):
        options.print_progress(result.name, number, "browser")
        _measure_browser(options.work_folder, result)
        rates = {}
        for label, viewers in ((ALONE, 0), (WATCHED, VIEWERS)):
            options.print_progress(result.name, number, label)
            rates[label], cpu_share = _measure_rate(options, viewers)
            result.row(label).add_values(requests_a_second=rates[label], cpu_share=cpu_share)
        result.row(WATCHED).add_values(rate_share=rates[WATCHED] / rates[ALONE])
    result.add_note("the first page of a service starts the process of the page; the browser loads the page before")
    return result


def _measure_browser(work_folder: WorkFolder, result: CaseResult) -> None:
    browser_path = which("chromium") or which("google-chrome")
    try:
        driver = import_module("playwright.sync_api")
    except ImportError:
        driver = None
    if browser_path is None or driver is None:
        raise UnavailableError("the page needs Chromium and playwright")
    work_folder.clear_state()
    with (
        _HeldLog(work_folder.path, 1000) as run,
        _HeldLog(work_folder.path, 5000) as large,
        _serve(work_folder, "http://127.0.0.1:9", "phak_bench") as (url, _),
        driver.sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(url)
        for label, path in ((OVERVIEW, "/"), (LARGE, f"/runs/{large.run_id}"), (RUN, f"/runs/{run.run_id}")):
            page.goto(url + path)
            name = "performance.getEntriesByName('first-contentful-paint')[0]"
            page.wait_for_function(name)
            paint = page.evaluate(f"{name}.startTime")
            result.row(label).add_values(first_paint_seconds=paint / 1000)
        page.get_by_text("Live.").wait_for(timeout=_PATIENCE_S * 1000)
        time.sleep(1)
        result.row(ONE).add_values(seconds=_measure_change(page, run, range(1)))
        time.sleep(1)
        result.row(MANY).add_values(seconds=_measure_change(page, run, range(1, 1000)))
        browser.close()


def _measure_change(page: Any, run: "_HeldLog", numbers: range) -> float:  # noqa: ANN401 - of an optional package
    """Return the seconds from the write of records to the next frame with the last row."""
    page.evaluate(
        """id => { window.seen = new Promise(resolve => {
            const seen = () => document.querySelector(`#${id} b`).textContent === "sending";
            const look = () => seen() ? setTimeout(() => resolve(Date.now())) : requestAnimationFrame(look);
            look();
        }); }""",
        f"cvm-{numbers[-1]}",
    )
    written_at = run.announce(numbers)
    seen_ms: float = page.evaluate("window.seen")
    return seen_ms / 1000 - written_at


class _HeldLog:
    """The log of a run of another process, held while the benchmark writes."""

    def __init__(self, folder: Path, cvms: int) -> None:
        self.run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{cvms:04x}"
        self._path = folder / "state" / "runs" / f"{self.run_id}.jsonl"
        self._chain = Chain(self.run_id)
        self._cvms = [
            {"id": f"cvm_{each}", "vm_uuid": f"{each:032x}", "name": f"web-{each}", "teepod": f"node-{each % 20}"}
            for each in range(cvms)
        ]

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        step = {"action": "stop", "name": "stop", "on_failure": "continue", "settle_timeout_s": 600.0}
        targets = [self._about(number, status="running", billing={}, wave=1) for number in range(len(self._cvms))]
        self._write(("run.started", {"playbook": {"name": "bench"}, "actor": "bench", "limits": {}}))
        self._write(("run.planned", {"targets": targets, "skipped": [], "steps": [step]}))
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def announce(self, numbers: range) -> float:
        """Write a request for each of these CVMs; returns the time of day of the write."""
        return self._write(*(("action.intent", self._about(number, attempt=1)) for number in numbers))

    def _about(self, number: int, **fields: object) -> dict[str, Any]:
        return {"step": "stop", "action": "stop", "cvm": self._cvms[number], **fields}

    def _write(self, *events: tuple[str, dict[str, Any]]) -> float:
        lines = [self._chain.append(event, fields, datetime.now(UTC))[1] for event, fields in events]
        self._file.write(b"".join(lines))
        self._file.flush()
        return time.time()


def _measure_rate(options: BenchOptions, viewers: int) -> tuple[float, float]:
    """Return the requests a second of a firing, and the share of a core of the process that carries the firing out."""
    work_folder, cvms = options.work_folder, options.choose_size(1000, 150)
    work_folder.clear_state()
    with work_folder.serve_simulator(cvms=cvms, settle=(1.0, 3.0), requests_per_second=None) as cloud:
        _prepare_firing(work_folder)
        with _serve(work_folder, cloud.url, cloud.api_key) as (url, pid), _watch(url, viewers):
            began, used = time.monotonic(), _read_cpu_seconds(pid)
            log = _wait_for_end(work_folder.path / "state" / "runs")
            cpu_share = (_read_cpu_seconds(pid) - used) / (time.monotonic() - began)
    times = [datetime.fromisoformat(each["ts"]) for each in log if each["event"] == "action.intent"]
    return (len(times) - 1) / (max(times) - min(times)).total_seconds(), cpu_share


def _read_cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process without its children."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _prepare_firing(work_folder: WorkFolder) -> None:
    """Write a playbook whose last firing was missed: the service carries the firing out at its start."""
    playbooks = work_folder.path / "playbooks"
    playbooks.mkdir(exist_ok=True)
    (playbooks / "bench.yaml").write_text(_PLAYBOOK.format(rate=RATE))
    (watched,) = PlaybookFolder(playbooks, work_folder.path / "kept").scan({}).watched.values()
    since = datetime.now(UTC) - timedelta(days=2)

    async def write() -> None:
        with closing(FileJournalStore(work_folder.path / "state", wall=lambda: since).open_journal()) as journal:
            about = {"playbook": watched.name, "file": watched.file, "timezone": "UTC"}
            await journal.write("schedule.enabled", **about, when=watched.when, left_out=watched.left_out)

    anyio.run(write)


def _wait_for_end(runs: Path) -> list[dict[str, Any]]:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for path in runs.glob("*.jsonl"):
            lines = path.read_bytes().splitlines()
            if lines and b'"event":"run.finished"' in lines[-1]:
                return [json.loads(line) for line in lines]
        time.sleep(0.2)
    raise UnavailableError(f"no run ended within {_PATIENCE_S:g} s")


@contextmanager
def _serve(work_folder: WorkFolder, url: str, api_key: str) -> Iterator[tuple[str, int]]:
    """Serve in a process, for the length of the block; gives the address of the page, and the process."""
    port = find_free_port()
    playbooks = work_folder.path / "playbooks"
    playbooks.mkdir(exist_ok=True)
    arguments = [COMMAND, "serve", "--playbooks", str(playbooks), "--listen", f"127.0.0.1:{port}"]
    env, errors = work_folder.make_environment(url, api_key), work_folder.path / "serve.err"
    with errors.open("w") as err:
        child = subprocess.Popen(arguments, cwd=work_folder.path, env=env, stdin=subprocess.DEVNULL, stderr=err)
        try:
            _wait_for_answer(f"http://127.0.0.1:{port}/healthz", errors)
            yield f"http://127.0.0.1:{port}", child.pid
        finally:
            child.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                child.wait(20)
            child.kill()
            child.wait()


def _wait_for_answer(url: str, errors: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310 - an address of this machine
            return
        time.sleep(0.05)
    raise UnavailableError(f"serve did not start: {errors.read_text()[-300:]}")


@contextmanager
def _watch(url: str, viewers: int) -> Iterator[None]:
    """Watch the running firing with this number of viewers, for the length of the block."""
    ended = Event()
    thread = Thread(target=lambda: asyncio.run(_view(url, viewers, ended)), daemon=True)
    if viewers:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if viewers:
            thread.join(20)


async def _view(url: str, viewers: int, ended: Event) -> None:
    run_id = None
    while run_id is None and not ended.is_set():
        overview = await asyncio.to_thread(_read_json, f"{url}/api/overview")
        run_id = next((each["run_id"] for each in overview["running"]), None)
    paths = [f"/api/runs/{run_id}/events?after=0", "/api/events"]
    tasks = [asyncio.create_task(_follow(url, paths[number % 2], is_slow=number < SLOW)) for number in range(viewers)]
    await asyncio.to_thread(ended.wait)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _read_json(url: str) -> Any:  # noqa: ANN401 - any JSON value
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - an address of this machine
        return json.load(answer)


async def _follow(url: str, path: str, *, is_slow: bool) -> None:
    """Read the events of a page; a slow viewer sends its request, and reads nothing."""
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as connection:
        connection.setblocking(False)  # noqa: FBT003 - as the standard library has it
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (host, int(port)))
        await loop.sock_sendall(connection, f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        if is_slow:
            await asyncio.Event().wait()
        while await loop.sock_recv(connection, 65_536):
            pass
