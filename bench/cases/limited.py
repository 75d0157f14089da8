"""Cases against a server with a rate limit known to the playbook: single stops, and batch stops."""

from bench import figures
from bench.cases.options import BenchOptions
from bench.process import PYTHON, ProcessResult, UnavailableError, run_process
from bench.result import CaseResult, Row, Target
from bench.work_folder import ROOT, ServedCloud

RATE = 50
BURST = 10
LONG, SHORT = (2.0, 6.0), (0.2, 0.5)
_WIDE = {"max_in_flight": 20, "per_teepod": 50}

ORCHESTRATOR = "orchestrator"
AFTERNOON = "a script of an afternoon"


def measure_single(options: BenchOptions) -> CaseResult:
    """Measure one request per stop, beside the arithmetic bound and the simple script."""
    cvms = options.choose_size(1000, 200)
    result = CaseResult("single", f"{cvms:,} CVMs, the server allows {RATE} requests/s, the playbook says so")
    result.targets = [
        Target("time over the bound of rate and settling", ORCHESTRATOR, "time_over_bound", 1.02),
        Target("answers 429", ORCHESTRATOR, "throttled_requests", 0),
        Target("requests a CVM, list and status reads included", ORCHESTRATOR, "requests_a_cvm", 1.03),
    ]
    for number in range(options.runs):
        options.print_progress(result.name, number, ORCHESTRATOR)
        with options.work_folder.serve_simulator(
            cvms=cvms, settle=LONG, requests_per_second=RATE, burst=BURST
        ) as cloud:
            ended = run_orchestrator(options, cloud, dispatch=None)
            record_figures(result.row(ORCHESTRATOR), cloud, ended)
        options.print_progress(result.name, number, AFTERNOON)
        with options.work_folder.serve_simulator(
            cvms=cvms, settle=LONG, requests_per_second=RATE, burst=BURST
        ) as cloud:
            try:
                arguments = [PYTHON, str(ROOT / "bench" / "simple_script.py"), cloud.url, cloud.api_key]
                record_figures(
                    result.row(AFTERNOON),
                    cloud,
                    run_process(arguments, folder=options.work_folder.path, seconds=400).require_exit(0),
                )
            except UnavailableError as error:
                result.add_note(f"{AFTERNOON}: {error}")
    result.add_note("time runs from the server's first request to its last; whole_process adds start-up and the report")
    return result


def measure_batch(options: BenchOptions) -> CaseResult:
    """Measure up to fifty stops per request beside one request per stop, with slow and fast settling."""
    cvms = options.choose_size(1000, 200)
    result = CaseResult("batch", f"{cvms:,} CVMs, {RATE} requests/s known, `dispatch: batch` beside `single`")
    fast = f"batch, settles in {SHORT[0]:g}-{SHORT[1]:g} s"
    slow = f"batch, settles in {LONG[0]:g}-{LONG[1]:g} s"
    result.targets = [
        Target("requests a CVM, list and status reads included", slow, "requests_a_cvm", 0.10),
        Target(
            "times as fast as single, to the last stop",
            slow,
            "times_as_fast_to_last_stop",
            10,
            at_most=False,
        ),
        Target("times as fast as single, as a whole", fast, "times_as_fast", 10, at_most=False),
    ]
    for number in range(options.runs):
        for settle in (LONG, SHORT):
            rows = {}
            for dispatch in ("single", "batch"):
                row = result.row(f"{dispatch}, settles in {settle[0]:g}-{settle[1]:g} s")
                options.print_progress(result.name, number, row.label)
                with options.work_folder.serve_simulator(
                    cvms=cvms, settle=settle, requests_per_second=RATE, burst=BURST
                ) as cloud:
                    record_figures(row, cloud, run_orchestrator(options, cloud, dispatch=dispatch))
                rows[dispatch] = row
            one, many = rows["single"].figures, rows["batch"].figures
            rows["batch"].add_values(
                times_as_fast=one["time_seconds"][-1] / many["time_seconds"][-1],
                times_as_fast_to_last_stop=one["last_stop_seconds"][-1] / many["last_stop_seconds"][-1],
            )
    return result


def run_orchestrator(options: BenchOptions, cloud: ServedCloud, *, dispatch: str | None) -> ProcessResult:
    """Run the installed command at the server's limits."""
    more = {} if dispatch is None else {"dispatch": dispatch}
    playbook = options.work_folder.write_playbook({"requests_per_second": RATE, "burst": BURST, **_WIDE, **more})
    options.work_folder.clear_state()
    ended = options.work_folder.run_command(
        "run", playbook, "--yes", "--json", url=cloud.url, api_key=cloud.api_key, seconds=400
    )
    ended.require_exit(0)
    operations = {each["operation"] for each in cloud.read_requests()}
    if dispatch == "batch" and "batch_stop" not in operations:
        raise UnavailableError("no batch was sent: this version does not know `dispatch: batch`")
    return ended


def record_figures(row: Row, cloud: ServedCloud, ended: ProcessResult) -> None:
    """Add the server's request record and the process's resources of one run to a row."""
    seen = figures.seen_from(cloud.read_requests())
    stops = figures.until_last_stop(seen)
    time = figures.span_seconds(seen)
    row.add_values(
        time_seconds=time,
        last_stop_seconds=figures.span_seconds(stops),
        requests_a_cvm=len(seen) / len(cloud.settle),
        throttled_requests=figures.throttled(seen),
        whole_process_seconds=ended.seconds,
        cpu_seconds=ended.cpu_seconds,
    )
    if any(each.stop and each.cvm is None for each in stops):
        return  # the record of a batch names no CVM, so the last CVM to settle is unknown
    settling = figures.settling_seconds(seen, cloud.settle)
    fewest = figures.bound_seconds(figures.fewest_requests(len(cloud.settle)), RATE, settling)
    row.add_values(time_over_bound_of_fewest_requests=time / fewest)
    if row.label != AFTERNOON:
        bound = figures.bound_seconds(len(stops) - figures.throttled(stops), RATE, settling)
        row.add_values(bound_seconds=bound, time_over_bound=time / bound)
