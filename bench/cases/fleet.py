"""The case of many workspaces in one fleet run: rate, memory, CPU and descriptors of a single process."""

import json
from dataclasses import dataclass

from bench import figures
from bench.cases.options import BenchOptions
from bench.machine import find_file_system
from bench.process import COMMAND, PYTHON, ServerProcess, run_process
from bench.result import CaseResult, Row, Target
from bench.work_folder import ROOT, fetch_json

_SETTLE_SECONDS = 3.0
_BURST = 10
_WIDE = {"max_in_flight": 20, "per_teepod": 50}
_DESCRIPTORS = 1024
_WITHIN_DESCRIPTORS = ("/bin/sh", "-c", f'ulimit -n {_DESCRIPTORS} && exec "$@"', "sh")


@dataclass(frozen=True, slots=True)
class _Shape:
    """Number of workspaces, CVMs and requests per second of each."""

    workspaces: int
    cvms: int
    rate: int

    @property
    def label(self) -> str:
        return f"{self.workspaces} workspaces of {self.cvms:,} CVMs at {self.rate}/s"


def measure_fleet(options: BenchOptions) -> CaseResult:
    """Measure fleet runs over many slow workspaces, and over fewer fast workspaces."""
    slow = _Shape(options.choose_size(100, 20), options.choose_size(300, 50), 5)
    fast = _Shape(options.choose_size(20, 5), options.choose_size(1000, 200), 50)
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


def _measure_shape(options: BenchOptions, row: Row, shape: _Shape) -> None:
    server = [
        *(PYTHON, "-m", "bench.server", str(shape.cvms), "--workspaces", str(shape.workspaces)),
        *("--settle-seconds", str(_SETTLE_SECONDS)),
        *("--requests-per-second", str(shape.rate), "--burst", str(_BURST)),
    ]
    folder = options.work_folder
    playbook, config = folder.write_playbook(_WIDE), folder.path / "fleet.toml"
    names = {f"ws-{number:03}": f"KEY_{number}" for number in range(shape.workspaces)}
    sections = [f'[workspaces.{name}]\napi_key_env = "{variable}"\n' for name, variable in names.items()]
    rate = f"[rate]\nrequests_per_second = {shape.rate}\nburst = {_BURST}\n"
    config.write_text("\n".join([rate, *sections]), encoding="utf-8")
    folder.clear_state()
    with ServerProcess(server, folder=ROOT) as process:
        url = json.loads(process.first_line)["url"]
        env = folder.make_environment(url, "unused") | {
            variable: f"key-{number}" for number, variable in enumerate(names.values())
        }
        run = [COMMAND, "run", playbook, "--config", str(config), "--workspace", "*", "--yes", "--json"]
        ended = run_process([*_WITHIN_DESCRIPTORS, *run], folder=folder.path, env=env, seconds=600).require_exit(0)
        marks = fetch_json(url, "/__bench__/all")
    first = min(each["first_request_at_seconds"] for each in marks)
    time = max(each["last_request_at_seconds"] for each in marks) - first
    requests = max(each["requests_to_last_stop"] for each in marks)
    bound = figures.bound_seconds(requests, shape.rate, _SETTLE_SECONDS)
    fewest = figures.bound_seconds(figures.fewest_requests(shape.cvms), shape.rate, _SETTLE_SECONDS)
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
        peak_rss_mib=ended.peak_rss_mib,
        cpu_seconds=ended.cpu_seconds,
        cpu_share=ended.cpu_seconds / ended.seconds,
        whole_process_seconds=ended.seconds,
    )
