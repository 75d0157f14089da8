"""The case without a rate limit: the speed of stops limited by the program alone."""

import json
from dataclasses import dataclass

from bench import figures
from bench.cases.options import BenchOptions
from bench.machine import find_file_system
from bench.process import PYTHON, ProcessResult, ServerProcess, UnavailableError, run_process
from bench.result import CaseResult, Row, Target
from bench.work_folder import ROOT, WorkFolder, fetch_json

_WIDTHS = {"orchestrator": (8, 16, 32, 64), "httpx": (2, 4, 8, 16), "aiohttp": (8, 16, 32, 64)}
_LOOPS = {"httpx": "a bare httpx loop", "aiohttp": "a bare aiohttp loop"}
ORCHESTRATOR = "orchestrator, durable audit log"
HEADROOM = "the server by itself"
_LOAD_WIDTH = 64
_LIMITS = {"requests_per_second": 100_000, "burst": 1000, "per_teepod": 10_000}


def measure_unlimited(options: BenchOptions) -> CaseResult:
    """Measure stops per second at the best width of each client, and their CPU cost."""
    stops = options.choose_size(10_000, 1000)
    result = CaseResult("unlimited", f"{stops:,} stops, no rate limit, durable audit log on")
    result.targets = [
        Target("times the stops/s of the bare httpx loop", ORCHESTRATOR, "times_httpx", 1.25, at_most=False),
        Target("CPU of the bare httpx loop, beyond planning", ORCHESTRATOR, "cpu_times_httpx", 1.0),
        Target("times the stops/s of the bare aiohttp loop", ORCHESTRATOR, "times_aiohttp", 0.3, at_most=False),
        Target(
            "requests that a CPU second of the server can take",
            HEADROOM,
            "requests_per_cpu_second",
            10_000,
            at_most=False,
        ),
    ]
    rows = {name: {width: Row(f"{name}, {width} wide") for width in _WIDTHS[name]} for name in _WIDTHS}
    with ServerProcess([PYTHON, "-m", "bench.server", str(stops)], folder=ROOT) as server:
        server_load = _UnlimitedServer(options.work_folder, json.loads(server.first_line)["url"], stops)
        for number in range(options.runs):
            options.print_progress(result.name, number, HEADROOM)
            server_load.load(result.row(HEADROOM))
            plan_cpu = server_load.plan_cpu_seconds()
            for width, row in rows["orchestrator"].items():
                options.print_progress(result.name, number, f"orchestrator, {width} in flight")
                server_load.orchestrator(row, width, plan_cpu)
            for name, label in _LOOPS.items():
                for width, row in rows[name].items():
                    options.print_progress(result.name, number, f"{label}, {width} wide")
                    server_load.loop(row, name, width)
    _conclude(result, rows)
    result.add_note(f"audit logs on {find_file_system(options.work_folder.path)}")
    result.add_note(
        "CPU beyond planning, and a CPU second: all that the command used but what `plan` uses for the same list"
    )
    return result


def _conclude(result: CaseResult, rows: dict[str, dict[int, Row]]) -> None:
    """Compare the clients at their best width, run by run, and keep the other widths below."""
    chosen = {}
    for name, by_width in rows.items():
        width = figures.best({width: row.figures["stops_per_second"] for width, row in by_width.items()})
        chosen[name] = by_width[width]
        result.add_note(f"{name}: best at {width} wide")
    ours = Row(ORCHESTRATOR, dict(chosen["orchestrator"].figures))
    result.rows.append(ours)
    for name, label in _LOOPS.items():
        theirs = chosen[name].figures
        result.rows.append(Row(label, dict(theirs)))
        for mine, its in zip(ours.figures["stops_per_second"], theirs["stops_per_second"], strict=True):
            ours.add_values(**{f"times_{name}": mine / its})
        for mine, its in zip(ours.figures["cpu_beyond_plan_seconds"], theirs["cpu_seconds"], strict=True):
            ours.add_values(**{f"cpu_times_{name}": mine / its})
    result.rows += [row for by_width in rows.values() for row in by_width.values()]


@dataclass(frozen=True, slots=True)
class _UnlimitedServer:
    """The server under load, and its number of CVMs."""

    work_folder: WorkFolder
    url: str
    stops: int

    def plan_cpu_seconds(self) -> float:
        """CPU seconds of the command for its start and the list, without a target."""
        playbook = self.work_folder.write_playbook(_LIMITS, select="{name: [nobody]}")
        return self._command("plan", playbook).require_exit(4).cpu_seconds

    def orchestrator(self, row: Row, width: int, plan_cpu: float) -> None:
        """Measure the installed command once."""
        playbook = self.work_folder.write_playbook({**_LIMITS, "max_in_flight": width})
        self.work_folder.clear_state()
        ended = self._command("run", playbook, "--yes", "--json").require_exit(0)
        row.add_values(
            stops_per_second=self.stops / self._seconds(),
            stops_per_cpu_second=self.stops / (ended.cpu_seconds - plan_cpu),
            cpu_beyond_plan_seconds=ended.cpu_seconds - plan_cpu,
            cpu_seconds=ended.cpu_seconds,
            peak_rss_mib=ended.peak_rss_mib,
            whole_process_seconds=ended.seconds,
        )

    def loop(self, row: Row, client: str, width: int) -> None:
        """Measure a bare loop once."""
        told = self._bare(client, width)
        row.add_values(
            stops_per_second=self.stops / self._seconds(),
            stops_per_cpu_second=self.stops / told["cpu_seconds"],
            cpu_seconds=told["cpu_seconds"],
        )

    def load(self, row: Row) -> None:
        """Measure the capacity of the server once."""
        self._bare("raw", _LOAD_WIDTH)
        server_cpu = fetch_json(self.url, "/__bench__/marks")["cpu_seconds"]
        row.add_values(
            requests_per_second=self.stops / self._seconds(), requests_per_cpu_second=self.stops / server_cpu
        )

    def _command(self, *arguments: str) -> ProcessResult:
        fetch_json(self.url, "/__bench__/reset", method="POST")
        return self.work_folder.run_command(*arguments, url=self.url, api_key="phak_bench", seconds=240)

    def _bare(self, client: str, width: int) -> dict[str, float]:
        fetch_json(self.url, "/__bench__/reset", method="POST")
        arguments = [PYTHON, "-m", "bench.bare_loops", client, self.url, str(self.stops), str(width)]
        ended = run_process(
            arguments, folder=self.work_folder.path, env={"PYTHONPATH": str(ROOT)}, seconds=240
        ).require_exit(0)
        told: dict[str, float] = json.loads(ended.out)
        return told

    def _seconds(self) -> float:
        """Seconds from the first stop to the answer of the last, by the server's clock."""
        marks = fetch_json(self.url, "/__bench__/marks")
        if marks["effects"] != self.stops:
            raise UnavailableError(f"{marks['effects']} of {self.stops} CVMs were stopped")
        took: float = marks["last_stop_answered_at_seconds"] - marks["first_stop_at_seconds"]
        return took
