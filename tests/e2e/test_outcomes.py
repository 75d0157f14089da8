"""What CVMs can do after a stop, and exits 6, 7 and 8."""

import resource
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from dirty_equals import IsPartialDict

from orchestrator.audit.verify import Verdict, read_log
from tests.e2e.conftest import Finished, OpenSite, RunAll
from tests.e2e.site import NAMES, QUICK, Ended, Site, until

OUTCOMES: dict[str, tuple[dict[str, Any], str, int]] = {
    "returns": ({"kind": "returns"}, "failed", 6),
    "resurrects": ({"kind": "resurrects", "seconds": 0.6}, "resurrected", 6),
    "errors": ({"kind": "errors"}, "failed", 6),
    "vanishes": ({"kind": "vanishes"}, "gone", 0),
    "refuses": ({"kind": "refuses"}, "refused", 6),
    "conflict": ({"kind": "conflict"}, "failed", 6),
    "busy": ({"kind": "busy", "attempts": 1}, "settled", 0),
    "stuck": ({"kind": "stuck"}, "unsettled", 7),
    "weird_status": ({"kind": "weird_status"}, "unsettled", 7),
    "weird_status for a while": ({"kind": "weird_status", "seconds": 0.4}, "settled", 0),
    "null_uuid": ({"kind": "null_uuid"}, "settled", 0),
}


def meet(kind: str) -> Callable[[OpenSite], tuple[Site, Ended]]:
    """A run in which web-3 does this, and web-1 is slow."""
    slow = {"names": ["web-1"], "kind": "weird_status", "seconds": 1.4}
    behaviour = [{"names": ["web-3"], **OUTCOMES[kind][0]}, slow]

    def run(open_site: OpenSite) -> tuple[Site, Ended]:
        site = open_site(behaviour=behaviour, timing={"stop_seconds": [0.1, 0.3], "start_seconds": [0.1, 0.1]})
        return site, site.run("run", site.playbook(timeout="2s"), "--yes", "--json")

    return run


@pytest.fixture(scope="module")
def runs(run_all: RunAll) -> Finished:
    """One run with each kind of behaviour."""
    return run_all({kind: meet(kind) for kind in OUTCOMES})


@pytest.mark.parametrize("kind", OUTCOMES)
def test_what_one_cvm_does_is_its_own_outcome_and_leaves_the_others_alone(runs: Finished, kind: str) -> None:
    (_, outcome, code), (site, ended) = OUTCOMES[kind], runs[kind]
    found = {target["cvm"]["name"]: target["outcome"] for target in ended.document["targets"]}
    assert found == {**dict.fromkeys(NAMES, "settled"), "web-3": outcome}
    assert ended.code == ended.document["exit_code"] == code
    logged = {line["cvm"]: line["event"] for line in ended.logged if line["event"].startswith("cvm.")}
    assert logged == {name: f"cvm.{each}" for name, each in found.items()}
    if outcome not in {"settled", "gone"}:
        (target,) = (each for each in ended.document["targets"] if each["cvm"]["name"] == "web-3")
        assert target["reason"]
    assert all(stops == 1 for name, stops in site.effective.items() if name != "web-3")
    assert site.records[-1] == IsPartialDict(event="run.finished", exit_code=code)


@pytest.mark.parametrize("rate", [50, 200], ids=["httpx", "aiohttp"])
@pytest.mark.parametrize("fault", ["gateway_404", "odd_before", "odd_after", "gzip_cut"])
def test_a_gateway_that_answers_stops_for_a_while_changes_no_outcome(
    open_site: OpenSite, fault: str, rate: int
) -> None:
    site = open_site(faults={fault: {"probability": 1, "operations": ["stop_cvm"], "limit": 8}})
    ended = site.run("run", site.playbook(rate=rate), "--yes", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})
    assert site.effective == dict.fromkeys(NAMES, 1)
    assert site.events()["action.unknown"] == 8


def test_where_several_hold_failures_go_before_time_outs(open_site: OpenSite) -> None:
    site = open_site(behaviour=[{"kind": "stuck", "names": ["web-1"]}, {"kind": "refuses", "names": ["web-2"]}])
    ended = site.run("run", site.playbook(timeout="0.5s"), "--yes", "--json")
    assert (ended.code, ended.document["counts"]) == (6, {"settled": 6, "unsettled": 1, "refused": 1})


def test_more_failures_than_allowed_end_the_run_and_the_rest_is_never_sent(open_site: OpenSite) -> None:
    site = open_site(behaviour=[{"kind": "refuses", "count": 8}])
    file = site.playbook(rate=10, burst=1, more=", max_failures: 1")
    ended = site.run("run", file, "--yes", "--json")
    counts = ended.document["counts"]
    assert ended.code == 8
    assert counts["refused"] >= 2
    assert counts["not_sent"] == 8 - counts["refused"]
    assert len(site.stops) == counts["refused"]
    assert site.events()["run.finished"] == 1
    resumed = site.run("resume", site.log.stem, "--yes")
    assert (resumed.code, "This run is finished" in resumed.out) == (8, True)
    assert len(site.stops) == counts["refused"]


def test_a_key_that_is_revoked_meanwhile_ends_the_run_which_a_new_key_can_resume(site: Site) -> None:
    process = site.start("run", site.playbook(rate=20, burst=1), "--yes", "--json")
    until(lambda: len(site.stops) >= 2)
    old, site.sim.world.api_key = site.sim.world.api_key, "phak_new"
    ended = site.end(process)
    assert (ended.code, ended.document["exit_code"]) == (8, 8)
    assert ended.document["counts"]["not_sent"] >= 1
    assert "the API refuses the key" in ended.err
    assert f"orchestrator resume {site.log.stem}" in ended.err

    refused = site.run("resume", site.log.stem, "--yes", "--json", env={"PHALA_CLOUD_API_KEY": old})
    assert (refused.code, refused.fault["code"]) == (5, "cloud")
    resumed = site.run("resume", site.log.stem, "--yes", "--json", env={"PHALA_CLOUD_API_KEY": "phak_new"})
    assert (resumed.code, resumed.document["counts"]) == (0, {"settled": 8})
    assert site.effective == dict.fromkeys(NAMES, 1)


def test_a_log_that_cannot_be_written_any_more_ends_the_run_which_can_be_resumed(site: Site) -> None:
    process = site.start(
        "run",
        site.playbook(rate=20, burst=1),
        "--yes",
        "--json",
        prepare=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (9_000, 9_000)),
    )
    ended = site.end(process)
    assert (ended.code, ended.document["exit_code"]) == (8, 8)
    assert "the audit log can't be written: File too large" in ended.err
    assert read_log(site.log).verdict in {Verdict.UNFINISHED, Verdict.TORN}
    assert 1 <= len(site.stops) < 8
    resumed = site.run("resume", site.log.stem, "--yes", "--json")
    assert (resumed.code, resumed.document["counts"]) == (0, {"settled": 8})
    assert site.effective == dict.fromkeys(NAMES, 1)
    assert read_log(site.log).verdict is Verdict.WHOLE


def test_a_first_line_that_cannot_be_written_means_that_nothing_is_sent(site: Site) -> None:
    process = site.start(
        "run",
        site.playbook(),
        "--yes",
        "--json",
        prepare=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (1_000, 1_000)),
    )
    assert site.end(process).code == 2
    site.assert_nothing_happened()


def test_reads_that_lag_never_lead_to_a_second_effective_stop(open_site: OpenSite) -> None:
    site = open_site(timing={**QUICK, "read_lag": 1.5})
    for fault in ("reset_after", "hang_before", "error_before", "reset_before", "truncated"):
        site.sim.app.faults.force(fault, operation="stop_cvm")
    env = {"ORCHESTRATOR_SETTLE__RECHECK_AFTER": "2", "ORCHESTRATOR_CLOUD__TIMEOUT": "1"}
    ended = site.run("run", site.playbook(), "--yes", "--json", env=env)
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})
    assert site.effective == dict.fromkeys(NAMES, 1)
