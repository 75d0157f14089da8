"""The case of rehearsals: seconds and memory for an hour of waves on virtual time, and the use of both cores."""

import json

from bench.cases.options import BenchOptions
from bench.process import COMMAND, UnavailableError, run_process
from bench.result import CaseResult, Target

_HOUR = """\
name: hour
limits: {requests_per_second: 20, burst: 10}
steps:
  - {action: stop, select: {all: true}, soak: 11m, waves: [1, "20%", "40%", "60%", "80%", "100%"]}
"""
_SEEDS = 50


def measure_rehearsal(options: BenchOptions) -> CaseResult:
    """Measure rehearsals of a run of an hour, and many seeds of a small fleet on all cores."""
    few, many, small = 1000, options.choose_size(10_000, 2000), 200
    result = CaseResult("rehearsal", "Rehearsals of a run of an hour with six waves, from an inventory file")
    seeds = f"{small} CVMs, {_SEEDS} seeds"
    result.targets = [
        Target(f"seconds for {few:,} CVMs", f"{few:,} CVMs", "time_seconds", 3),
        Target(f"seconds for {many:,} CVMs", f"{many:,} CVMs", "time_seconds", 40),
        Target(f"MiB of memory at the peak for {many:,} CVMs", f"{many:,} CVMs", "peak_rss_mib", 250),
    ]
    result.add_note("time_seconds: the whole command, with its start and the read of the file")
    folder = options.work_folder.path
    (folder / "hour.yaml").write_text(_HOUR, encoding="utf-8")
    for number in range(options.runs):
        for cvms, label, more in (
            (few, f"{few:,} CVMs", ()),
            (many, f"{many:,} CVMs", ()),
            (small, seeds, ("--seeds", str(_SEEDS))),
        ):
            options.print_progress(result.name, number, label)
            _save_inventory(options, cvms)
            ended = run_process(
                [COMMAND, "rehearse", "hour.yaml", "--inventory", "fleet.json", "--json", *more],
                folder=folder,
                env=options.work_folder.make_environment("http://127.0.0.1:1/api/v1", "none"),
                role=None,
            ).require_exit(0)
            _require_success(json.loads(ended.out))
            result.row(label).add_values(
                time_seconds=ended.seconds,
                cpu_seconds=ended.cpu_seconds,
                cores=ended.cpu_seconds / ended.seconds,
                peak_rss_mib=ended.peak_rss_mib,
            )
    return result


def _save_inventory(options: BenchOptions, cvms: int) -> None:
    with options.work_folder.serve_simulator(cvms=cvms, settle=(1.0, 1.0), requests_per_second=None) as cloud:
        run_process(
            [COMMAND, "cvms", "--save", "fleet.json", "--set", "rate.requests_per_second=1000"],
            folder=options.work_folder.path,
            env=options.work_folder.make_environment(cloud.url, cloud.api_key),
        ).require_exit(0)


def _require_success(document: dict[str, object]) -> None:
    worst = document.get("worst", document)
    if not isinstance(worst, dict) or worst["exit_code"] != 0:
        raise UnavailableError(f"the rehearsal did not foretell success: {str(worst)[:200]}")
