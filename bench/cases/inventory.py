"""The case of the inventory: `orchestrator cvms` for a large workspace, beside the bound of the rate."""

from math import ceil

from bench.cases.options import BenchOptions
from bench.process import COMMAND, run_process
from bench.result import CaseResult, Target

CVMS = "orchestrator cvms --json"
_RATE = 5
_PAGE = 100


def measure_inventory(options: BenchOptions) -> CaseResult:
    """Measure the time and the memory of an inventory; the bound is list requests ÷ rate."""
    cvms = options.choose_size(10_000, 1000)
    result = CaseResult("inventory", f"The inventory of {cvms:,} CVMs at {_RATE} requests/s")
    result.targets = [
        Target("time over the bound of list requests and rate", CVMS, "time_over_bound", 1.1),
        Target("MiB of memory at the peak", CVMS, "peak_rss_mib", 150),
    ]
    bound = ceil(cvms / _PAGE) / _RATE
    for number in range(options.runs):
        options.print_progress(result.name, number, CVMS)
        with options.work_folder.serve_simulator(cvms=cvms, settle=(1.0, 1.0), requests_per_second=None) as cloud:
            ended = run_process(
                [COMMAND, "cvms", "--json", "--set", f"rate.requests_per_second={_RATE}"],
                folder=options.work_folder.path,
                env=options.work_folder.make_environment(cloud.url, cloud.api_key),
            ).require_exit(0)
        result.row(CVMS).add_values(
            time_seconds=ended.seconds,
            bound_seconds=bound,
            time_over_bound=ended.seconds / bound,
            cpu_seconds=ended.cpu_seconds,
            peak_rss_mib=ended.peak_rss_mib,
        )
    return result
