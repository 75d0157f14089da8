"""The case of many workspaces in one fleet run: rate, memory, CPU and descriptors of a single process."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import figures
from bench.cases.options import BenchOptions
from bench.machine import find_file_system
from bench.process import COMMAND, PYTHON, ServerProcess, run_process
from bench.result import CaseResult, Row, Target
from bench.work_folder import ROOT, fetch_json

SETTLE_SECONDS = 3.0
BURST = 10
WIDE = {"max_in_flight": 20, "per_teepod": 50}
_DESCRIPTORS = 1024
_WITHIN_DESCRIPTORS = ("/bin/sh", "-c", f'ulimit -n {_DESCRIPTORS} && exec "$@"', "sh")


@dataclass(frozen=True, slots=True)
class Shape:
    """Number of workspaces, CVMs and requests per second of each."""

    workspaces: int
    cvms: int
    rate: int

    @property
    def label(self) -> str:
        """The label of the row."""
        return f"{self.workspaces} workspaces of {self.cvms:,} CVMs at {self.rate}/s"

    def keys(self) -> dict[str, str]:
        """The environment variables with the keys."""
        return {f"KEY_{number}": f"key-{number}" for number in range(self.workspaces)}

    def settings(self) -> str:
        """The settings of the rate and of the workspaces, as TOML."""
        sections = [f'[workspaces.ws-{number:03}]\napi_key_env = "KEY_{number}"\n' for number in range(self.workspaces)]
        return "\n".join([f"[rate]\nrequests_per_second = {self.rate}\nburst = {BURST}\n", *sections])

    def serve(self) -> ServerProcess:
        """Make the server of all workspaces."""
        size = (str(self.cvms), "--workspaces", str(self.workspaces), "--settle-seconds", str(SETTLE_SECONDS))
        rate = ("--requests-per-second", str(self.rate), "--burst", str(BURST))
        return ServerProcess([PYTHON, "-m", "bench.server", *size, *rate], folder=ROOT)


def measure_fleet(options: BenchOptions) -> CaseResult:
    """Measure fleet runs over many slow workspaces, and over fewer fast workspaces."""
    slow = Shape(options.choose_size(100, 20), options.choose_size(300, 50), 5)
    fast = Shape(options.choose_size(20, 5), options.choose_size(1000, 200), 50)
    result = CaseResult("fleet", "Many workspaces in one fleet run, one process, durable audit logs")
    for shape in (slow, fast):
        result.targets += [
            Target("time over the bound of the slowest workspace", shape.label, "time_over_bound", 1.05),
            Target(
                "time over the bound of the fewest requests",
                shape.label,
                "time_over_bound_of_fewest_requests",
                1.05,
            ),
            Target("answers 429", shape.label, "throttled_requests", 0),
        ]
    result.targets += [
        Target("MiB of memory at the peak", slow.label, "peak_rss_mib", 350),
        Target("share of a core used", slow.label, "cpu_share", 0.6),
    ]
    for number in range(options.runs):
        for shape in (slow, fast):
            options.print_progress(result.name, number, shape.label)
            _measure_shape(options, result.row(shape.label), shape)
    result.add_note(f"audit logs on {find_file_system(options.work_folder.path)}")
    result.add_note(f"at most {_DESCRIPTORS:,} descriptors (RLIMIT_NOFILE); connections are shared out")
    result.add_note(
        "the bound, as in `single`: all requests of one workspace until its last stop at its rate, and settling"
    )
    result.add_note("the fewest requests are pages and stops alone; the burst shortens no bound")
    return result


def _measure_shape(options: BenchOptions, row: Row, shape: Shape) -> None:
    folder = options.work_folder
    playbook, config = folder.write_playbook(WIDE), folder.path / "fleet.toml"
    config.write_text(shape.settings(), encoding="utf-8")
    folder.clear_state()
    with shape.serve() as process:
        url = json.loads(process.first_line)["url"]
        env = folder.make_environment(url, "unused") | shape.keys()
        run = [COMMAND, "run", playbook, "--config", str(config), "--workspace", "*", "--yes", "--json"]
        ended = run_process([*_WITHIN_DESCRIPTORS, *run], folder=folder.path, env=env, seconds=600).require_exit(0)
        add_times(row, shape, fetch_json(url, "/__bench__/all"))
    row.add_values(
        peak_rss_mib=ended.peak_rss_mib,
        cpu_seconds=ended.cpu_seconds,
        cpu_share=ended.cpu_seconds / ended.seconds,
        whole_process_seconds=ended.seconds,
    )


def add_times(row: Row, shape: Shape, marks: Sequence[Mapping[str, Any]]) -> None:
    """Add the times and the numbers of requests of a fleet run.

    Args:
        row: the row of the figures.
        shape: the workspaces.
        marks: the server's record of each workspace.
    """
    first = min(each["first_request_at_seconds"] for each in marks)
    time = max(each["last_request_at_seconds"] for each in marks) - first
    requests = max(each["requests_to_last_stop"] for each in marks)
    bound = figures.bound_seconds(requests, shape.rate, SETTLE_SECONDS)
    fewest = figures.bound_seconds(figures.fewest_requests(shape.cvms), shape.rate, SETTLE_SECONDS)
    row.add_values(
        time_seconds=time,
        bound_seconds=bound,
        time_over_bound=time / bound,
        time_over_bound_of_fewest_requests=time / fewest,
        first_stop_seconds=min(each["first_stop_at_seconds"] for each in marks) - first,
        last_stop_seconds=max(each["last_stop_answered_at_seconds"] for each in marks) - first,
        throttled_requests=sum(each["throttled"] for each in marks),
        requests_a_cvm=sum(each["requests"] for each in marks) / (shape.workspaces * shape.cvms),
        effects=sum(each["effects"] for each in marks),
    )
