"""Cases against a server with a rate limit that the playbook knows: single stops, and batches of them."""

from bench import figures
from bench.cases.effort import Effort
from bench.desk import ROOT, Cloud
from bench.process import PYTHON, Ended, UnavailableError, run
from bench.result import CaseResult, Row, Target

RATE = 50
BURST = 10
LONG, SHORT = (2.0, 6.0), (0.2, 0.5)
_WIDE = {"max_in_flight": 20, "per_teepod": 50}

ORCHESTRATOR = "orchestrator"
AFTERNOON = "a script of an afternoon"


def single(effort: Effort) -> CaseResult:
    """One request a stop, beside the arithmetic bound and the script of an afternoon."""
    cvms = effort.of(1000, 200)
    result = CaseResult("single", f"{cvms:,} CVMs, the server allows {RATE} requests/s, the playbook says so")
    result.targets = [
        Target("time over the bound of rate and settling", ORCHESTRATOR, "time_over_bound", 1.02),
        Target("answers 429", ORCHESTRATOR, "throttled_requests", 0),
        Target("requests a CVM, list and status reads included", ORCHESTRATOR, "requests_a_cvm", 1.03),
    ]
    for number in range(effort.runs):
        effort.say(result.name, number, ORCHESTRATOR)
        with effort.desk.simulate(cvms=cvms, settle=LONG, requests_per_second=RATE, burst=BURST) as cloud:
            ended = orchestrate(effort, cloud, dispatch=None)
            take(result.row(ORCHESTRATOR), cloud, ended)
        effort.say(result.name, number, AFTERNOON)
        with effort.desk.simulate(cvms=cvms, settle=LONG, requests_per_second=RATE, burst=BURST) as cloud:
            try:
                arguments = [PYTHON, str(ROOT / "bench" / "afternoon.py"), cloud.url, cloud.api_key]
                take(result.row(AFTERNOON), cloud, run(arguments, folder=effort.desk.folder, seconds=400).expect(0))
            except UnavailableError as error:
                result.note(f"{AFTERNOON}: {error}")
    result.note("time runs from the server's first request to its last; whole_process adds start-up and the report")
    return result


def batch(effort: Effort) -> CaseResult:
    """Up to fifty stops a request, beside one request a stop; with CVMs that settle slowly, and fast."""
    cvms = effort.of(1000, 200)
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
    for number in range(effort.runs):
        for settle in (LONG, SHORT):
            rows = {}
            for dispatch in ("single", "batch"):
                row = result.row(f"{dispatch}, settles in {settle[0]:g}-{settle[1]:g} s")
                effort.say(result.name, number, row.label)
                with effort.desk.simulate(cvms=cvms, settle=settle, requests_per_second=RATE, burst=BURST) as cloud:
                    take(row, cloud, orchestrate(effort, cloud, dispatch=dispatch))
                rows[dispatch] = row
            one, many = rows["single"].figures, rows["batch"].figures
            rows["batch"].add(
                times_as_fast=one["time_seconds"][-1] / many["time_seconds"][-1],
                times_as_fast_to_last_stop=one["last_stop_seconds"][-1] / many["last_stop_seconds"][-1],
            )
    return result


def orchestrate(effort: Effort, cloud: Cloud, *, dispatch: str | None) -> Ended:
    """Run the installed command at the server's own limits."""
    more = {} if dispatch is None else {"dispatch": dispatch}
    playbook = effort.desk.playbook({"requests_per_second": RATE, "burst": BURST, **_WIDE, **more})
    effort.desk.forget()
    ended = effort.desk.orchestrate(
        "run", playbook, "--yes", "--json", url=cloud.url, api_key=cloud.api_key, seconds=400
    )
    ended.expect(0)
    operations = {each["operation"] for each in cloud.requests()}
    if dispatch == "batch" and "batch_stop" not in operations:
        raise UnavailableError("no batch was sent: this version does not know `dispatch: batch`")
    return ended


def take(row: Row, cloud: Cloud, ended: Ended) -> None:
    """Take in what the server recorded of one run, and what its process used."""
    seen = figures.seen_from(cloud.requests())
    stops = figures.until_last_stop(seen)
    time = figures.span_seconds(seen)
    row.add(
        time_seconds=time,
        last_stop_seconds=figures.span_seconds(stops),
        requests_a_cvm=len(seen) / len(cloud.settle),
        throttled_requests=figures.throttled(seen),
        whole_process_seconds=ended.seconds,
        cpu_seconds=ended.cpu_seconds,
    )
    if any(each.stop and each.cvm is None for each in stops):
        return  # of a batch the record does not say whom it was about, so nobody knows who settled last
    settling = figures.settling_seconds(seen, cloud.settle)
    fewest = figures.bound_seconds(figures.fewest_requests(len(cloud.settle)), RATE, settling)
    row.add(time_over_bound_of_fewest_requests=time / fewest)
    if row.label != AFTERNOON:
        bound = figures.bound_seconds(len(stops) - figures.throttled(stops), RATE, settling)
        row.add(bound_seconds=bound, time_over_bound=time / bound)
