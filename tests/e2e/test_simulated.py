"""Runs against a simulated cloud that says what it is are told apart from real ones, and can go on."""

import signal

from dirty_equals import IsPartialDict

from tests.e2e.conftest import OpenSite
from tests.e2e.site import Site, until
from tests.e2e.test_actions import QUICK

SAYS_SO = {"simulated_header": True}


def stopped(site: Site) -> str:
    ended = site.run("run", site.playbook(), "--yes", "--json")
    assert ended.code == 0, ended.err
    run_id: str = ended.document["run_id"]
    return run_id


def test_a_run_against_simulate_is_marked_and_its_savings_are_no_real_ones(open_site: OpenSite) -> None:
    site = open_site(api=SAYS_SO)
    run_id = stopped(site)
    assert site.records[0] == IsPartialDict(simulated=True, simulator="served")
    real, simulated, rows, report = site.run_each(
        ("savings", "--json"), ("savings", "--simulated", "--json"), ("runs", "--json"), ("report", run_id, "--json")
    )
    assert real.document["total"]["times"] == 0
    assert real.document["left_out"]["simulated"] == 1
    assert simulated.document["total"]["times"] == 8
    assert rows.document[0] == IsPartialDict(simulated=True, state="finished")
    assert report.document["run"]["simulated"] is True
    assert "(simulated)" in site.run("report", run_id).out


def test_a_run_against_simulate_is_resumed_undone_and_reconciled_as_any_other(open_site: OpenSite) -> None:
    site = open_site(api=SAYS_SO, timing=QUICK)
    process = site.start("run", site.playbook(rate=10, burst=1), "--yes")
    until(lambda: len(site.stops) >= 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run_id = site.log.stem
    assert site.run("runs", "--unfinished", "--json").document[0] == IsPartialDict(
        next=f"orchestrator resume {run_id}", state="unfinished"
    )
    assert site.run("resume", run_id, "--yes").code == 0
    assert site.run("reconcile", run_id).code in {0, 7}
    assert site.run("restore", run_id, "--expect", "8", "--json").document["counts"] == {"settled": 8}


def test_a_cloud_that_does_not_say_so_is_taken_for_a_real_one(site: Site) -> None:
    stopped(site)
    assert site.records[0]["simulated"] is False
    assert site.run("savings", "--json").document["total"]["times"] == 8
