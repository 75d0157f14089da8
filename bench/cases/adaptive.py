"""The case of an unknown rate limit: `limits.requests_per_second: auto`."""

from bench import figures
from bench.cases.options import BenchOptions
from bench.process import ProcessResult
from bench.result import CaseResult, Row, Target
from bench.work_folder import ServedCloud, find_free_port

BURST = 10
SETTLE = (2.0, 6.0)
_WIDE = {"max_in_flight": 50, "per_teepod": 50}
_FLEETS = ((7, 1000, 200), (120, 1000, 1000), (120, 4000, 2400))
"""Requests per second allowed by the server, CVMs, and CVMs with `--quick`."""


def measure_adaptive(options: BenchOptions) -> CaseResult:
    """Measure a first run without knowledge of the limit, and a second run in the same state folder."""
    result = CaseResult("auto", "The server's limit is unknown: `requests_per_second: auto`")
    fleets = [(rate, options.choose_size(whole, quick)) for rate, whole, quick in _FLEETS]
    for rate, cvms in fleets:
        for again in (False, True):
            label = _label(rate, cvms, again=again)
            result.targets += [
                Target("share of the limit used after 10 s", label, "share_of_limit_used", 0.90, at_most=False),
                Target("share of answers that were 429", label, "throttled_share", 0.02),
            ]
    for number in range(options.runs):
        for rate, cvms in fleets:
            options.work_folder.clear_state()
            port = find_free_port()
            for again in (False, True):
                label = _label(rate, cvms, again=again)
                options.print_progress(result.name, number, label)
                with options.work_folder.serve_simulator(
                    cvms=cvms, settle=SETTLE, requests_per_second=rate, burst=BURST, port=port
                ) as cloud:
                    _record_figures(result.row(label), cloud, rate, _run_orchestrator(options, cloud, cvms / rate))
    result.add_note("a run that is over before the window after the first 10 s has 3 s shows no share of the limit")
    return result


def _label(rate: int, cvms: int, *, again: bool) -> str:
    return f"{cvms:,} CVMs, server at {rate}/s, {'second' if again else 'first'} run"


def _run_orchestrator(options: BenchOptions, cloud: ServedCloud, least_seconds: float) -> ProcessResult:
    playbook = options.work_folder.write_playbook({"requests_per_second": "auto", **_WIDE})
    ended = options.work_folder.run_command(
        "run",
        playbook,
        "--yes",
        "--json",
        url=cloud.url,
        api_key=cloud.api_key,
        seconds=4 * least_seconds + 120,
    )
    return ended.require_exit(0)


def _record_figures(row: Row, cloud: ServedCloud, rate: int, ended: ProcessResult) -> None:
    seen = figures.seen_from(cloud.read_requests())
    stops = figures.until_last_stop(seen)
    bound = figures.bound_seconds(len(stops), rate, figures.settling_seconds(seen, cloud.settle))
    row.add_values(
        share_of_limit_used=figures.utilisation(seen, rate),
        throttled_share=figures.throttled(seen) / len(seen),
        throttled_requests=figures.throttled(seen),
        time_seconds=figures.span_seconds(seen),
        bound_seconds=bound,
        last_stop_seconds=figures.span_seconds(stops),
        requests_a_cvm=len(seen) / len(cloud.settle),
        whole_process_seconds=ended.seconds,
    )
