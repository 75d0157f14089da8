"""Waves, order, survivors and a deadline with the installed command."""

import re
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.times import parse_timestamp
from tests.e2e.conftest import OpenSite
from tests.e2e.site import NAMES, QUICK, Site, until


def rollout(site: Site, step: str, *, more: str = "") -> str:
    """Write a playbook of one step; returns its path."""
    file = site.folder / "rollout.yaml"
    file.write_text(
        f"name: rollout\n{more}"
        "limits: {requests_per_second: 200, burst: 50, max_in_flight: 20, per_teepod: 20}\n"
        f"steps: [{{name: pull, action: stop, select: {{all: true}}, settle: {{timeout: 10s}}, {step}}}]\n"
    )
    return str(file)


def assert_no_wave_overtook(records: list[dict[str, Any]]) -> None:
    """By the log: no request of a wave before every target of the waves ahead has its outcome."""
    planned = next(record for record in records if record["event"] == "run.planned")
    open_ones = {target["cvm"]["id"]: target["wave"] for target in planned["targets"]}
    waves = dict(open_ones)
    for record in records:
        if record["event"] in {"target.settled", "target.failed"}:
            open_ones.pop(record["cvm"]["id"], None)
        elif record["event"] == "action.intent":
            assert all(wave >= waves[record["cvm"]["id"]] for wave in open_ones.values())


def test_waves_go_one_after_another_in_order_and_the_deadline_is_reported(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    file = rollout(site, 'order_by: name, waves: [1, "50%"]', more="deadline: 1m\n")
    planned = site.run("plan", file)
    assert "web-1 as the canary, then 3, then 4" in planned.out
    assert "by name" in planned.out
    ended = site.run("run", file, "--yes", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})
    assert ended.document["deadline"] == {"seconds": 60, "met": True, "late": 0}
    (planned_record,) = (record for record in site.records if record["event"] == "run.planned")
    assert [target["cvm"]["name"] for target in planned_record["targets"]] == NAMES
    assert [target["wave"] for target in planned_record["targets"]] == [1, 2, 2, 2, 3, 3, 3, 3]
    assert_no_wave_overtook(site.records)
    shown = site.run("show", site.log.stem)
    assert "1m: last request sent after" in shown.out
    again = site.run("plan", file, "--json").document["deadline"]
    assert again["ok"], "there is nothing left to ask"


def test_a_failed_canary_ends_the_run_and_resume_has_nothing_to_go_on_with(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK, behaviour=[{"kind": "refuses", "names": ["web-1"]}])
    file = rollout(site, "order_by: name, waves: [1]")
    ended = site.run("run", file, "--yes")
    assert ended.code == 8
    assert "the canary" in ended.out
    assert len(site.stops) == 1
    assert (site.records[-1]["ending"], site.records[-1]["counts"]) == ("canary_failed", {"refused": 1, "not_sent": 7})
    assert site.run("resume", site.log.stem, "--yes").code == 8
    assert len(site.stops) == 1


def test_a_run_that_was_killed_between_waves_goes_on_with_the_same_waves(open_site: OpenSite) -> None:
    site = open_site(timing={"stop_seconds": [1.0, 1.0]})
    file = rollout(site, 'order_by: name, waves: [1, "50%"]', more="deadline: 1s\n")
    process = site.start("run", file, "--yes")
    until(lambda: b"target.settled" in b"".join(log.read_bytes() for log in site.runs.glob("*.jsonl")))
    process.kill()
    process.communicate()
    resumed = site.run("resume", site.log.stem, "--yes", "--json")
    assert (resumed.code, resumed.document["counts"]) == (0, {"settled": 8})
    assert resumed.document["deadline"]["met"] is False, "it is measured from the run's own start"
    assert set(site.effective.values()) == {1}
    assert_no_wave_overtook(site.records)


@pytest.mark.parametrize("where", ["playbook", "settings"])
def test_survivors_are_named_and_stay_up(open_site: OpenSite, where: str) -> None:
    site = open_site(timing=QUICK)
    rule = "guards: {keep_running: {per: teepod, min: 1}}\n"
    file = rollout(site, "order_by: name", more=rule if where == "playbook" else "")
    setting = {"ORCHESTRATOR_GUARDS__KEEP_RUNNING": '{"per": "teepod", "min": 1}'} if where == "settings" else {}
    planned = site.run("plan", file, env=setting)
    assert "left up so that at least 1 of each teepod stays up" in planned.out
    ended = site.run("run", file, "--yes", "--json", env=setting)
    assert ended.code == 0
    (planned_record,) = (record for record in site.records if record["event"] == "run.planned")
    kept = {each["cvm"]["name"]: each["reason"] for each in planned_record["skipped"]}
    assert len(kept) == len({cvm.teepod.name for cvm in site.sim.world.cvms})
    assert all(reason.startswith("kept running: 1 of ") for reason in kept.values())
    assert {name for name, stops in site.effective.items() if not stops} == set(kept)


def test_a_deadline_that_can_not_be_met_is_told_beforehand_and_cuts_nothing_off(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    file = rollout(site, 'waves: [1, "100%"]', more="deadline: 0.05\n")
    planned = site.run("plan", file)
    assert planned.code == 0
    assert "NOT MET" in planned.out
    assert "! the deadline of 0.1s can't be met: 7 targets too late" in planned.out
    ended = site.run("run", file, "--yes")
    assert ended.code == 0
    assert re.search(r"NOT MET  [78] CVMs without a request within", ended.out), "the first may be late as well"
    learnt = site.run("plan", file, "--json").document["deadline"]
    assert learnt["ok"]
    assert (site.state / "learnt.json").exists()


def test_what_was_agreed_on_in_a_plan_file_keeps_its_survivors_and_waves(open_site: OpenSite, tmp_path: Path) -> None:
    site = open_site(timing=QUICK)
    file = rollout(site, 'order_by: name, waves: [1, "100%"]', more="guards: {keep_running: {per: teepod, min: 50%}}\n")
    plan = str(tmp_path / "p.plan")
    written = site.run("plan", file, "--out", plan, "--json").document
    ended = site.run("run", "--plan", plan, "--yes", "--json")
    assert ended.code == 0
    assert {each["cvm"]["id"] for each in ended.document["targets"]} == {
        each["cvm"]["id"] for each in written["targets"]
    }
    assert [(g["name"], g["ok"]) for g in written["guards"]] == [("keep_running", True)]
    assert_no_wave_overtook(site.records)


def test_a_wave_soaks_and_a_resume_waits_for_what_is_left_of_it(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    file = rollout(site, 'order_by: name, waves: [1, "100%"], soak: 6s')
    process = site.start("run", file, "--yes")
    until(lambda: any(record["event"] == "wave.soaking" for record in (site.records if site.stops else ())))
    process.send_signal(signal.SIGINT)
    ended = site.end(process)
    assert (ended.code, len(site.stops)) == (130, 1)
    assert [line["wave"] for line in ended.logged if line["event"] == "wave.soaking"] == [1]
    assert site.run("resume", site.log.stem, "--yes", "--json").document["counts"] == {"settled": 8}
    (soaking,) = (record for record in site.records if record["event"] == "wave.soaking")
    first, second = [record["ts"] for record in site.records if record["event"] == "action.intent"][:2]
    assert second >= soaking["until"]
    assert parse_timestamp(second) - parse_timestamp(first) >= timedelta(seconds=6)
    assert "wave 1 of step pull has ended" in site.run("audit", "show", site.log.stem).out


def test_soak_without_waves_is_an_error(open_site: OpenSite) -> None:
    site = open_site()
    ended = site.run("validate", rollout(site, "soak: 6s"))
    assert (ended.code, "`soak` needs `waves`" in ended.err + ended.out) == (2, True)
