"""Two runs of one machine: at no time do both act on one CVM, and no CVM is billed for two stops."""

import signal
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from dirty_equals import IsPartialDict

from tests.e2e.conftest import OpenDesk
from tests.e2e.desk import NAMES, Desk, until
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


def only(desk: Desk, *names: str, rate: float = 200, burst: int = 50) -> str:
    """A playbook of its own for these CVMs."""
    text = Path(desk.playbook(f"{{name: [{', '.join(names)}]}}", rate=rate, burst=burst)).read_text()
    file = desk.folder / f"{'-'.join(names)}.yaml"
    file.write_text(text)
    return str(file)


def logs(desk: Desk) -> set[str]:
    return {path.stem for path in desk.runs.glob("*.jsonl")}


def assert_one_stop_each(desk: Desk, *names: str) -> None:
    assert {name: number for name, number in desk.effective.items() if number} == dict.fromkeys(names, 1)
    assert set(Counter(desk.stops).values()) == {1}


def test_of_two_runs_that_begin_together_one_is_refused(desk: Desk) -> None:
    file = desk.playbook(rate=4, burst=1)
    processes = [desk.start("run", file, "--yes", "--json") for _ in range(3)]
    ends = sorted((desk.end(process) for process in processes), key=lambda ended: ended.code)
    assert [ended.code for ended in ends] == [0, 3, 3]
    (log,) = logs(desk)
    for refused in ends[1:]:
        assert refused.fault["code"] == "claimed"
        assert f"another run is acting on the same CVMs: run {log} (" in refused.fault["message"]
        assert "--ignore-running" in refused.fault["hint"]
        assert refused.document["targets"]
    assert_one_stop_each(desk, *NAMES)


def test_runs_on_different_cvms_go_on_side_by_side(desk: Desk) -> None:
    first = desk.start("run", only(desk, "web-1", "web-2", "web-3", rate=2, burst=1), "--yes")
    until(lambda: desk.stops)
    assert desk.run("run", only(desk, "web-4", "web-5"), "--yes").code == 0
    assert desk.end(first).code == 0
    assert_one_stop_each(desk, "web-1", "web-2", "web-3", "web-4", "web-5")


def test_ignore_running_acts_all_the_same_and_is_on_record(desk: Desk) -> None:
    first = desk.start("run", only(desk, "web-1", "web-2", "web-3", rate=2, burst=1), "--yes")
    until(lambda: desk.stops)
    (log,) = logs(desk)
    second = desk.run("run", only(desk, "web-3"), "--yes", "--json", "--ignore-running")
    assert second.code == 0, second.err
    desk.end(first)
    texts = {each: (desk.runs / f"{each}.jsonl").read_text().splitlines()[0] for each in logs(desk)}
    assert '"ignore_running":true' in texts.pop(second.document["run_id"])
    assert '"ignore_running"' not in texts.pop(log)


def test_a_yes_after_another_run_has_ended_stops_nothing_twice(desk: Desk) -> None:
    """The statuses in the plan are from before the other run."""
    with terminal(desk) as screen:
        until(lambda: screen.shows(r"number of targets|Type"))
        assert desk.run("run", desk.playbook(), "--yes").code == 0
        screen.type("8\n")
        assert screen.ends_with(0)
    assert_one_stop_each(desk, *NAMES)


def test_the_claim_of_a_killed_run_ends_with_its_process(open_desk: OpenDesk) -> None:
    """The run after that waits until a status shows what the last request of the killed run did."""
    desk = open_desk(timing={"stop_seconds": [0.05, 0.2], "read_lag": 0.1})
    first = desk.start("run", desk.playbook(rate=20, burst=1), "--yes")
    until(lambda: len(desk.stops) > 2)
    first.kill()
    first.communicate()
    assert desk.run("run", desk.playbook(), "--yes").code == 0
    assert desk.effective == dict.fromkeys(NAMES, 1)


def test_a_run_that_waits_at_a_question_claims_only_what_its_earlier_steps_touch(desk: Desk) -> None:
    asking = desk.start("run", with_question(desk, first=FIRST), "--yes", "--json")
    until(lambda: any(desk.runs.glob("*.jsonl")) and desk.events()["approval.requested"])
    log = desk.log
    refused = desk.run("resume", log.stem, "--yes", "--json")  # the log's lock holds too
    assert (refused.code, refused.fault["code"]) == (3, "run_held")
    other = desk.start("run", only(desk, "web-3", "web-4", "web-5", rate=1, burst=1), "--yes")
    until(lambda: len(logs(desk)) > 1 and len(desk.stops) > 2)
    assert desk.run("approve", log.stem, "--yes").code == 0
    ended = desk.end(asking)
    assert (ended.code, desk.end(other).code) == (0, 0)
    assert [each["run_id"] for each in ended.logged if each["event"] == "waiting_for_run"] == [log.stem]
    assert_one_stop_each(desk, *NAMES)


def test_resume_and_restore_are_refused_while_another_run_acts_on_their_cvms(open_desk: OpenDesk) -> None:
    desk = open_desk(timing={**QUICK, "start_seconds": [9, 9]})
    done = desk.run("run", only(desk, "web-7", "web-8"), "--yes", "--json").document["run_id"]
    killed = desk.start("run", only(desk, "web-4", "web-5", "web-6", rate=2, burst=1), "--yes", "--json")
    until(lambda: len(desk.stops) > 2)
    killed.send_signal(signal.SIGTERM)
    interrupted = desk.end(killed).document["run_id"]
    desk.sim.world.set_status(desk.sim.world.find_by_name("web-1"), "stopped", desk.sim.now())
    file = desk.folder / "live.yaml"
    file.write_text(LIVE)
    live = desk.start("run", str(file), "--yes")
    until(lambda: len(logs(desk)) > 2)
    for command in (("resume", interrupted), ("restore", done)):
        refused = desk.run(*command, "--yes", "--json")
        assert (refused.code, "another run is acting on the same CVMs" in refused.err) == (3, True), (command, refused)
    assert desk.end(live).code == 0
    assert desk.run("resume", interrupted, "--yes").code == 0
    kinds = operations(desk)
    assert {name: kinds[name].count("power_on") for name in ("web-7", "web-8")} == {"web-7": 1, "web-8": 1}


def test_a_firing_waits_for_the_run_of_a_person(desk: Desk) -> None:
    first = desk.start("run", desk.playbook(rate=0.5, burst=1), "--yes")
    until(lambda: desk.stops)
    due = some_hours(-2)
    write(desk, cron=cron_of(due))
    was_watched_since(desk, due - timedelta(days=1))
    with serving(desk) as served:
        until(lambda: served.events("waiting_for_run"))
        assert desk.end(first, seconds=90).code == 0
        until(lambda: served.events("firing.ended"), seconds=30)
        assert served.events("firing.ended")[0] == IsPartialDict(result="ran", exit_code=0)
        assert served.end(signal.SIGTERM) == 0
    assert_one_stop_each(desk, *NAMES)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_is_told_to_stop_does_not_wait_for_another_run(desk: Desk, number: signal.Signals) -> None:
    first = desk.start("run", desk.playbook(rate=0.5, burst=1), "--yes")
    until(lambda: desk.stops)
    due = some_hours(-2)
    write(desk, cron=cron_of(due))
    was_watched_since(desk, due - timedelta(days=1))
    with serving(desk) as served:
        until(lambda: served.events("waiting_for_run"))
        served.end(number)
        assert first.poll() is None
    first.terminate()
    desk.end(first)
