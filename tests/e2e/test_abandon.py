"""`abandon RUN_ID`: an interrupted run ends in its log, nothing is sent, and `restore` can undo the run."""

import json
from pathlib import Path

import pytest
from dirty_equals import IsPartialDict

from tests.e2e.conftest import OpenSite
from tests.e2e.site import NAMES, Ended, Site, until
from tests.e2e.test_actions import QUICK
from tests.e2e.test_restore import started


def killed(site: Site, *, after: int = 3, **limits: float) -> Path:
    """Start a slow run, and kill it after some stops; returns its log."""
    process = site.start("run", site.playbook(**{"rate": 3, "burst": 1, **limits}), "--yes")  # type: ignore[arg-type]
    until(lambda: len(site.stops) >= after)
    process.kill()
    process.communicate()
    return site.log


def abandon(site: Site, log: Path, *args: str, reason: str = "wrong teepod") -> Ended:
    return site.run("abandon", log.stem, "--reason", reason, "--json", *args)


def test_a_killed_run_is_abandoned_without_a_request_and_then_undone(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    log = killed(site)
    with log.open("ab") as file:
        file.write(b'{"cut off')
    before = site.run("restore", log.stem, "--yes")
    assert (before.code, f"orchestrator abandon {log.stem} --reason TEXT" in before.err) == (2, True)
    stopped = {name for name, number in site.effective.items() if number}
    stops = site.stops

    ended = abandon(site, log)

    assert ended.code == 8, ended.err
    outcomes = {each["cvm"]["name"]: each["outcome"] for each in ended.document["targets"]}
    assert {name for name, outcome in outcomes.items() if outcome == "settled"} == stopped
    assert outcomes.keys() == set(NAMES)
    assert "not_sent" in outcomes.values()
    assert site.stops == stops
    assert started(site) == []
    records = [json.loads(line) for line in log.read_text().splitlines() if not line.startswith('{"cut off')]
    resumed, finished = (next(r for r in records if r["event"] == f"run.{e}") for e in ("resumed", "finished"))
    assert resumed == IsPartialDict(to_abandon=True, torn=IsPartialDict(bytes=9))
    assert finished == IsPartialDict(ending="abandoned", exit_code=8, reason="wrong teepod")
    assert "@" in finished["abandoned_by"]
    assert site.run("audit", "verify", log.stem).code == 0
    assert "wrong teepod" in site.run("show", log.stem).out
    assert "abandoned" in site.run("report", log.stem, "--format", "text").out
    assert "abandoned by" in site.run("audit", "show", log.stem).out
    (row,) = site.run("runs", "--json").document
    assert row == IsPartialDict(state="finished", exit_code=8, next=None)
    assert (site.run("resume", log.stem, "--yes").code, site.stops) == (8, stops)

    assert site.run("restore", log.stem, "--yes").code == 0
    assert set(started(site)) == stopped


def test_an_undo_covers_cvms_that_go_down_only_after_the_run_was_abandoned(open_site: OpenSite) -> None:
    site = open_site(timing={**QUICK, "stop_seconds": [6, 6]})
    log = killed(site)
    ended = abandon(site, log)
    stopped = {name for name, number in site.effective.items() if number}
    unsettled = {
        each["cvm"]["name"]: each["reason"] for each in ended.document["targets"] if each["outcome"] == "unsettled"
    }
    assert (ended.code, stopped <= unsettled.keys()) == (8, True)
    assert all("abandoned while the outcome of its stop was open" in reason for reason in unsettled.values())
    cvms = {name: site.sim.world.find_by_name(name) for name in stopped}
    until(lambda: all(cvm.phase_at(site.sim.now()).status == "stopped" for cvm in cvms.values()))
    assert site.run("restore", log.stem, "--yes").code == 0
    assert set(started(site)) == stopped


def test_a_run_that_a_process_carries_out_cannot_be_abandoned(site: Site) -> None:
    process = site.start("run", site.playbook(rate=1, burst=1), "--yes")
    until(lambda: site.stops)
    refused = abandon(site, site.log)
    assert (refused.code, refused.fault["code"]) == (3, "run_held")
    process.terminate()
    site.end(process)
    assert not any(record.get("to_abandon") for record in site.records)


def test_nothing_is_decided_where_a_status_cannot_be_read(site: Site) -> None:
    log = killed(site)
    before = log.read_bytes()
    nowhere = {"PHALA_CLOUD_API_KEY": "another-key"}
    refused = site.run("abandon", log.stem, "--reason", "why", "--json", env=nowhere)
    assert (refused.code, log.read_bytes()) == (5, before)
    assert abandon(site, log).code == 8


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001])
def test_a_reason_is_needed(site: Site, reason: str) -> None:
    log = killed(site)
    before = log.read_bytes()
    refused = abandon(site, log, reason=reason)
    assert (refused.code, log.read_bytes()) == (2, before)


def test_a_finished_run_cannot_be_abandoned(site: Site) -> None:
    assert site.run("run", site.playbook(), "--yes").code == 0
    refused = abandon(site, site.log)
    assert (refused.code, refused.fault["message"]) == (2, "the run is finished")
