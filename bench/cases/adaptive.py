"""The case of a rate limit that nobody knows: `limits.requests_per_second: auto`."""

from bench import figures
from bench.cases.effort import Effort
from bench.desk import Cloud, free_port
from bench.process import Ended
from bench.result import CaseResult, Row, Target

BURST = 10
SETTLE = (2.0, 6.0)
_WIDE = {"max_in_flight": 50, "per_teepod": 50}
_FLEETS = ((7, 1000, 200), (120, 1000, 1000), (120, 4000, 2400))
"""Requests per second that the server allows, CVMs, and CVMs when it has to be quick."""


def auto(effort: Effort) -> CaseResult:
    """A first run that knows nothing, and a second one in the same state folder."""
    result = CaseResult("auto", "The server's limit is unknown: `requests_per_second: auto`")
    fleets = [(rate, effort.of(whole, quick)) for rate, whole, quick in _FLEETS]
    for rate, cvms in fleets:
        for again in (False, True):
            label = _label(rate, cvms, again=again)
            result.targets += [
                Target("share of the limit used after 10 s", label, "share_of_limit_used", 0.90, at_most=False),
                Target("share of answers that were 429", label, "throttled_share", 0.02),
            ]
    for number in range(effort.runs):
        for rate, cvms in fleets:
            effort.desk.forget()
            port = free_port()
            for again in (False, True):
                label = _label(rate, cvms, again=again)
                effort.say(result.name, number, label)
                with effort.desk.simulate(
                    cvms=cvms, settle=SETTLE, requests_per_second=rate, burst=BURST, port=port
                ) as cloud:
                    _take(result.row(label), cloud, rate, _orchestrate(effort, cloud, cvms / rate))
    result.note("a run that is over before the window after the first 10 s has 3 s shows no share of the limit")
    return result


def _label(rate: int, cvms: int, *, again: bool) -> str:
    return f"{cvms:,} CVMs, server at {rate}/s, {'second' if again else 'first'} run"


def _orchestrate(effort: Effort, cloud: Cloud, least_seconds: float) -> Ended:
    playbook = effort.desk.playbook({"requests_per_second": "auto", **_WIDE})
    ended = effort.desk.orchestrate(
        "run",
        playbook,
        "--yes",
        "--json",
        url=cloud.url,
        api_key=cloud.api_key,
        seconds=4 * least_seconds + 120,
    )
    return ended.expect(0)


def _take(row: Row, cloud: Cloud, rate: int, ended: Ended) -> None:
    seen = figures.seen_from(cloud.requests())
    stops = figures.until_last_stop(seen)
    bound = figures.bound_seconds(len(stops), rate, figures.settling_seconds(seen, cloud.settle))
    row.add(
        share_of_limit_used=figures.utilisation(seen, rate),
        throttled_share=figures.throttled(seen) / len(seen),
        throttled_requests=figures.throttled(seen),
        time_seconds=figures.span_seconds(seen),
        bound_seconds=bound,
        last_stop_seconds=figures.span_seconds(stops),
        requests_a_cvm=len(seen) / len(cloud.settle),
        whole_process_seconds=ended.seconds,
    )
