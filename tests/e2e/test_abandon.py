"""`abandon RUN_ID`: an interrupted run ends in its log, nothing is sent, and `restore` can undo the run."""

import json
from pathlib import Path

import pytest
from dirty_equals import IsPartialDict

from tests.e2e.conftest import OpenDesk
from tests.e2e.desk import NAMES, Desk, Ended, until
from tests.e2e.test_actions import QUICK
from tests.e2e.test_restore import started


def killed(desk: Desk, *, after: int = 3, **limits: float) -> Path:
    """Start a slow run, and kill it after some stops; returns its log."""
    process = desk.start("run", desk.playbook(**{"rate": 3, "burst": 1, **limits}), "--yes")  # type: ignore[arg-type]
    until(lambda: len(desk.stops) >= after)
    process.kill()
    process.communicate()
    return desk.log


def abandon(desk: Desk, log: Path, *args: str, reason: str = "wrong teepod") -> Ended:
    return desk.run("abandon", log.stem, "--reason", reason, "--json", *args)


def test_a_killed_run_is_abandoned_without_a_request_and_then_undone(open_desk: OpenDesk) -> None:
    desk = open_desk(timing=QUICK)
    log = killed(desk)
    with log.open("ab") as file:
        file.write(b'{"cut off')
    before = desk.run("restore", log.stem, "--yes")
    assert (before.code, f"orchestrator abandon {log.stem} --reason TEXT" in before.err) == (2, True)
    stopped = {name for name, number in desk.effective.items() if number}
    stops = desk.stops

    ended = abandon(desk, log)

    assert ended.code == 8, ended.err
    outcomes = {each["cvm"]["name"]: each["outcome"] for each in ended.document["targets"]}
    assert {name for name, outcome in outcomes.items() if outcome == "settled"} == stopped
    assert outcomes.keys() == set(NAMES)
    assert "not_sent" in outcomes.values()
    assert desk.stops == stops
    assert started(desk) == []
    records = [json.loads(line) for line in log.read_text().splitlines() if not line.startswith('{"cut off')]
    resumed, finished = (next(r for r in records if r["event"] == f"run.{e}") for e in ("resumed", "finished"))
    assert resumed == IsPartialDict(to_abandon=True, torn=IsPartialDict(bytes=9))
    assert finished == IsPartialDict(ending="abandoned", exit_code=8, reason="wrong teepod")
    assert "@" in finished["abandoned_by"]
    assert desk.run("audit", "verify", log.stem).code == 0
    assert "wrong teepod" in desk.run("show", log.stem).out
    assert "abandoned" in desk.run("report", log.stem, "--format", "text").out
    assert "abandoned by" in desk.run("audit", "show", log.stem).out
    (row,) = desk.run("runs", "--json").document
    assert row == IsPartialDict(state="finished", exit_code=8, next=None)
    assert (desk.run("resume", log.stem, "--yes").code, desk.stops) == (8, stops)

    assert desk.run("restore", log.stem, "--yes").code == 0
    assert set(started(desk)) == stopped


def test_an_undo_covers_cvms_that_go_down_only_after_the_run_was_abandoned(open_desk: OpenDesk) -> None:
    desk = open_desk(timing={**QUICK, "stop_seconds": [6, 6]})
    log = killed(desk)
    ended = abandon(desk, log)
    stopped = {name for name, number in desk.effective.items() if number}
    unsettled = {
        each["cvm"]["name"]: each["reason"] for each in ended.document["targets"] if each["outcome"] == "unsettled"
    }
    assert (ended.code, stopped <= unsettled.keys()) == (8, True)
    assert all("abandoned while the outcome of its stop was open" in reason for reason in unsettled.values())
    cvms = {name: desk.sim.world.find_by_name(name) for name in stopped}
    until(lambda: all(cvm.phase_at(desk.sim.now()).status == "stopped" for cvm in cvms.values()))
    assert desk.run("restore", log.stem, "--yes").code == 0
    assert set(started(desk)) == stopped


def test_a_run_that_a_process_carries_out_cannot_be_abandoned(desk: Desk) -> None:
    process = desk.start("run", desk.playbook(rate=1, burst=1), "--yes")
    until(lambda: desk.stops)
    refused = abandon(desk, desk.log)
    assert (refused.code, refused.fault["code"]) == (3, "run_held")
    process.terminate()
    desk.end(process)
    assert not any(record.get("to_abandon") for record in desk.records)


def test_nothing_is_decided_where_a_status_cannot_be_read(desk: Desk) -> None:
    log = killed(desk)
    before = log.read_bytes()
    nowhere = {"PHALA_CLOUD_API_KEY": "another-key"}
    refused = desk.run("abandon", log.stem, "--reason", "why", "--json", env=nowhere)
    assert (refused.code, log.read_bytes()) == (5, before)
    assert abandon(desk, log).code == 8


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001])
def test_a_reason_is_needed(desk: Desk, reason: str) -> None:
    log = killed(desk)
    before = log.read_bytes()
    refused = abandon(desk, log, reason=reason)
    assert (refused.code, log.read_bytes()) == (2, before)


def test_a_finished_run_cannot_be_abandoned(desk: Desk) -> None:
    assert desk.run("run", desk.playbook(), "--yes").code == 0
    refused = abandon(desk, desk.log)
    assert (refused.code, refused.fault["message"]) == (2, "the run is finished")
