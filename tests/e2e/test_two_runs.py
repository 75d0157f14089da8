"""Two runs of one machine: at no time do both act on one CVM, and no CVM is billed for two stops."""

import signal
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from dirty_equals import IsPartialDict

from tests.e2e.conftest import OpenSite
from tests.e2e.site import NAMES, Process, Site, until
from tests.e2e.test_actions import QUICK, operations
from tests.e2e.test_approve import FIRST
from tests.e2e.test_approve import playbook as with_question
from tests.e2e.test_serve import cron_of, serving, some_hours, was_watched_since, write
from tests.e2e.test_terminal import terminal

LIVE = """\
name: live
limits: {requests_per_second: 100, burst: 50}
steps:
  - {name: first, action: start, select: {name: [web-1], status: [stopped]}}
  - {name: up, action: start, select: {name: [web-7, web-8], status: [stopped]}}
  - {name: down, action: stop, select: {name: [web-4, web-5, web-6]}}
"""


def only(site: Site, *names: str, rate: float = 200, burst: int = 50) -> str:
    """A playbook of its own for these CVMs."""
    text = Path(site.playbook(f"{{name: [{', '.join(names)}]}}", rate=rate, burst=burst)).read_text()
    file = site.folder / f"{'-'.join(names)}.yaml"
    file.write_text(text)
    return str(file)


def logs(site: Site) -> set[str]:
    return {path.stem for path in site.runs.glob("*.jsonl")}


def end_operations(site: Site, process: Process, status: Literal["running", "stopped"]) -> None:
    """End the operations of all CVMs on their way to this status, until the process ends."""
    on_their_way = {"running": "starting", "stopped": "stopping"}[status]

    def has_ended() -> bool:
        for cvm in site.sim.world.cvms:
            if cvm.phase_at(site.sim.now()).status == on_their_way:
                site.sim.world.set_status(cvm, status, site.sim.now())
        return process.poll() is not None

    until(has_ended)


def assert_one_stop_each(site: Site, *names: str) -> None:
    assert {name: number for name, number in site.effective.items() if number} == dict.fromkeys(names, 1)
    assert set(Counter(site.stops).values()) == {1}


def test_of_two_runs_that_begin_together_one_is_refused(site: Site) -> None:
    file = site.playbook(rate=4, burst=1)
    processes = [site.start("run", file, "--yes", "--json") for _ in range(3)]
    ends = sorted((site.end(process) for process in processes), key=lambda ended: ended.code)
    assert [ended.code for ended in ends] == [0, 3, 3]
    (log,) = logs(site)
    for refused in ends[1:]:
        assert refused.fault["code"] == "claimed"
        assert f"another run is acting on the same CVMs: run {log} (" in refused.fault["message"]
        assert "--ignore-running" in refused.fault["hint"]
        assert refused.document["targets"]
    assert_one_stop_each(site, *NAMES)


def test_runs_on_different_cvms_go_on_side_by_side(site: Site) -> None:
    first = site.start("run", only(site, "web-1", "web-2", "web-3", rate=2, burst=1), "--yes")
    until(lambda: site.stops)
    assert site.run("run", only(site, "web-4", "web-5"), "--yes").code == 0
    assert site.end(first).code == 0
    assert_one_stop_each(site, "web-1", "web-2", "web-3", "web-4", "web-5")


def test_two_runs_together_stay_within_the_rate_of_their_workspace(open_site: OpenSite) -> None:
    site = open_site(limit={"requests_per_second": 10, "burst": 6}, timing={"stop_seconds": [0.1, 0.2]})
    rate = ("--set", "rate.requests_per_second=10", "--set", "rate.burst=6")
    processes = [
        site.start("run", only(site, *names), "--yes", *rate)
        for names in (("web-1", "web-2", "web-3", "web-4"), ("web-5", "web-6", "web-7", "web-8"))
    ]
    assert [site.end(process).code for process in processes] == [0, 0]
    assert [record.status for record in site.sim.requests if record.status == 429] == []
    assert len(site.sim.requests) > 12  # both plans and all stops


def test_ignore_running_acts_all_the_same_and_is_on_record(site: Site) -> None:
    first = site.start("run", only(site, "web-1", "web-2", "web-3", rate=2, burst=1), "--yes")
    until(lambda: site.stops)
    (log,) = logs(site)
    second = site.run("run", only(site, "web-3"), "--yes", "--json", "--ignore-running")
    assert second.code == 0, second.err
    site.end(first)
    texts = {each: (site.runs / f"{each}.jsonl").read_text().splitlines()[0] for each in logs(site)}
    assert '"ignore_running":true' in texts.pop(second.document["run_id"])
    assert '"ignore_running"' not in texts.pop(log)


def test_a_yes_after_another_run_has_ended_stops_nothing_twice(site: Site) -> None:
    """The statuses in the plan are from before the other run."""
    with terminal(site) as screen:
        until(lambda: screen.shows(r"number of targets|Type"))
        assert site.run("run", site.playbook(), "--yes").code == 0
        screen.type("8\n")
        assert screen.ends_with(0)
    assert_one_stop_each(site, *NAMES)


def test_the_claim_of_a_killed_run_ends_with_its_process(open_site: OpenSite) -> None:
    """The run after that waits until a status shows what the last request of the killed run did."""
    site = open_site(timing={"stop_seconds": [0.05, 0.2], "read_lag": 0.1})
    first = site.start("run", site.playbook(rate=20, burst=1), "--yes")
    until(lambda: len(site.stops) > 2)
    first.kill()
    first.communicate()
    assert site.run("run", site.playbook(), "--yes").code == 0
    assert site.effective == dict.fromkeys(NAMES, 1)


def test_a_run_that_waits_at_a_question_claims_only_what_its_earlier_steps_touch(site: Site) -> None:
    asking = site.start("run", with_question(site, first=FIRST), "--yes", "--json")
    until(lambda: any(site.runs.glob("*.jsonl")) and site.events()["approval.requested"])
    log = site.log
    refused = site.run("resume", log.stem, "--yes", "--json")  # the log's lock holds too
    assert (refused.code, refused.fault["code"]) == (3, "run_held")
    other = site.start("run", only(site, "web-3", "web-4", "web-5", rate=1, burst=1), "--yes")
    until(lambda: len(logs(site)) > 1 and len(site.stops) > 2)
    assert site.run("approve", log.stem, "--yes").code == 0
    ended = site.end(asking)
    assert (ended.code, site.end(other).code) == (0, 0)
    assert [each["run_id"] for each in ended.logged if each["event"] == "waiting_for_run"] == [log.stem]
    assert_one_stop_each(site, *NAMES)


def test_resume_and_restore_are_refused_while_another_run_acts_on_their_cvms(open_site: OpenSite) -> None:
    site = open_site(timing={**QUICK, "start_seconds": [600, 600]})
    done = site.run("run", only(site, "web-7", "web-8"), "--yes", "--json").document["run_id"]
    killed = site.start("run", only(site, "web-4", "web-5", "web-6", rate=2, burst=1), "--yes", "--json")
    until(lambda: len(site.stops) > 2)
    killed.send_signal(signal.SIGTERM)
    interrupted = site.end(killed).document["run_id"]
    site.sim.world.set_status(site.sim.world.find_by_name("web-1"), "stopped", site.sim.now())
    file = site.folder / "live.yaml"
    file.write_text(LIVE)
    live = site.start("run", str(file), "--yes")
    until(lambda: len(logs(site)) > 2)
    for command in (("resume", interrupted), ("restore", done)):
        refused = site.run(*command, "--yes", "--json")
        assert (refused.code, "another run is acting on the same CVMs" in refused.err) == (3, True), (command, refused)
    end_operations(site, live, "running")
    assert site.end(live).code == 0
    assert site.run("resume", interrupted, "--yes").code == 0
    kinds = operations(site)
    assert {name: kinds[name].count("power_on") for name in ("web-7", "web-8")} == {"web-7": 1, "web-8": 1}


def test_a_firing_waits_for_the_run_of_a_person(open_site: OpenSite) -> None:
    site = open_site(timing={"stop_seconds": [600, 600]})
    first = site.start("run", site.playbook(timeout="5m"), "--yes")
    until(lambda: len(site.stops) == len(NAMES))
    due = some_hours(-2)
    write(site, cron=cron_of(due))
    was_watched_since(site, due - timedelta(days=1))
    with serving(site) as served:
        until(lambda: served.events("waiting_for_run"))
        end_operations(site, first, "stopped")
        assert site.end(first).code == 0
        until(lambda: served.events("firing.ended"), seconds=30)
        assert served.events("firing.ended")[0] == IsPartialDict(result="ran", exit_code=0)
        assert served.end(signal.SIGTERM) == 0
    assert_one_stop_each(site, *NAMES)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_is_told_to_stop_does_not_wait_for_another_run(site: Site, number: signal.Signals) -> None:
    first = site.start("run", site.playbook(rate=0.5, burst=1), "--yes")
    until(lambda: site.stops)
    due = some_hours(-2)
    write(site, cron=cron_of(due))
    was_watched_since(site, due - timedelta(days=1))
    with serving(site) as served:
        until(lambda: served.events("waiting_for_run"))
        served.end(number)
        assert first.poll() is None
    first.terminate()
    site.end(first)
