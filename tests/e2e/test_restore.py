"""`restore RUN_ID`: what a run took from running to down is started again, and nothing else."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from dirty_equals import IsPartialDict

from tests.e2e.conftest import OpenSite
from tests.e2e.site import NAMES, Ended, Site, until
from tests.e2e.test_actions import QUICK, operations, steps


def stopped(site: Site, select: str = "{all: true}") -> str:
    """Stop them; returns the run's id."""
    ended = site.run("run", site.playbook(select), "--yes", "--json")
    assert ended.code == 0, ended.err
    run_id: str = ended.document["run_id"]
    return run_id


def started(site: Site) -> list[str]:
    return sorted(name for name, kinds in operations(site).items() if "power_on" in kinds)


def first_record(ended: Ended) -> dict[str, object]:
    first: dict[str, object] = json.loads(Path(ended.document["audit_log"]).read_text().splitlines()[0])
    return first


def logs(site: Site) -> int:
    return len(list(site.runs.glob("*.jsonl")))


def test_exactly_those_are_started_that_the_run_took_down_and_nobody_touched_since(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    world = site.sim.world
    cvms = {name: world.find_by_name(name) for name in NAMES}
    world.set_status(cvms["web-7"], "stopped", site.sim.now())
    world.set_status(cvms["web-8"], "error", site.sim.now())
    run_id = stopped(site)
    digest = hashlib.sha256(site.log.read_bytes()).hexdigest()
    now = site.sim.now()
    cvms["web-1"].name = "prod-1"
    world.set_status(cvms["web-2"], "running", now)
    world.delete_cvm(cvms["web-3"], now)
    world.set_status(cvms["web-4"], "stopped", now, in_progress=True)

    shown = site.run("restore", run_id, env={"COLUMNS": "200"})
    assert shown.code == 3
    assert re.search(rf"^Undo of {run_id}, started \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC by ", shown.out, re.MULTILINE)
    assert "the run stopped 6 running CVMs" in shown.out
    assert "2 CVMs of 8 will be started" in shown.out
    assert "begins" in shown.out
    assert "prod-1  name was web-1, is prod-1" in shown.out
    assert "skipped 3 of 6 CVMs taken down by the run" in shown.out
    assert "stdin is not a terminal" in shown.err
    assert (started(site), logs(site)) == ([], 1)

    ended = site.run("restore", run_id, "--expect", "2", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 2})
    assert started(site) == ["web-5", "web-6"]
    assert ended.document["billing"]["starts"]["accepted"] == 2
    assert {each["cvm"]["name"]: each["reason"] for each in ended.document["drifted"]} == {
        "prod-1": "changed: name was web-1, is prod-1",
        "web-3": "no longer in the list",
        "web-4": "changed: an operation is in progress",
    }
    first = first_record(ended)
    assert first == IsPartialDict(restores=run_id, vars={})
    assert first["playbook"] == {"name": "restore", "path": str(site.runs / f"{run_id}.jsonl"), "sha256": digest}
    assert site.run("audit", "verify", ended.document["run_id"]).code == 0
    told = site.run("show", ended.document["run_id"], env={"COLUMNS": "200"}).out
    assert "skipped 3 of the run to undo: changed since" in told


def test_undone_twice_the_second_has_nothing_to_start_and_what_it_started_is_not_its_to_undo(
    open_site: OpenSite,
) -> None:
    site = open_site(timing=QUICK)
    run_id = stopped(site, "{name: [web-1, web-2]}")
    once = site.run("restore", run_id, "--yes", "--json")
    again = site.run("restore", run_id, "--yes", "--json")
    assert [(ended.code, ended.document["counts"]) for ended in (once, again)] == [(0, {"settled": 2}), (0, {})]
    unasked = site.run("restore", run_id)
    assert (unasked.code, "Nothing to do" in unasked.out, "has no target" in unasked.out) == (0, True, False), unasked
    assert sum(len(kinds) for kinds in operations(site).values()) == 4
    before = logs(site)
    ended = site.run("restore", once.document["run_id"], "--yes", "--json")
    assert (ended.code, ended.fault["code"]) == (4, "no_match")
    assert logs(site) == before


def test_shutdowns_are_undone_and_starts_and_restarts_are_not(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    site.sim.world.set_status(site.sim.world.find_by_name("web-3"), "stopped", site.sim.now())
    file = steps(
        site,
        "name: a, action: shutdown, select: {name: web-1}",
        "name: b, action: restart, select: {name: web-2}",
        "name: c, action: start, select: {name: web-3}",
    )
    run_id = site.run("run", file, "--yes", "--json").document["run_id"]
    ended = site.run("restore", run_id, "--yes", "--json")
    assert (ended.code, [each["cvm"]["name"] for each in ended.document["targets"]]) == (0, ["web-1"])


def test_a_run_that_read_one_app_alone_is_undone_by_the_list_of_all(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    app = site.sim.world.find_by_name("web-1").app.app_id
    run_id = stopped(site, f"{{app_id: ['{app}']}}")
    taken = [name for name, stops in site.effective.items() if stops]
    ended = site.run("restore", run_id, "--yes", "--json")
    assert (ended.code, ended.document["drifted"]) == (0, [])
    assert started(site) == sorted(taken)


def test_when_all_were_touched_since_nothing_is_done_and_it_is_no_success(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    run_id = stopped(site, "{name: web-1}")
    site.sim.world.find_by_name("web-1").name = "a"
    ended = site.run("restore", run_id, "--yes", "--json")
    assert (ended.code, ended.fault["code"]) == (3, "drifted")
    assert "1 target of the run to undo changed since" in ended.fault["message"]
    assert (started(site), logs(site)) == ([], 1)


def test_guards_of_the_settings_hold_and_a_wrong_number_changes_nothing(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    run_id = stopped(site)
    many = {"ORCHESTRATOR_GUARDS__MAX_TARGETS": "7"}
    refused, wrong = site.run_each(
        ("restore", run_id, "--yes", "--json"), ("restore", run_id, "--expect", "7", "--json"), envs=[many, None]
    )
    assert (refused.code, refused.fault["code"]) == (3, "guard")
    assert (wrong.code, wrong.fault["code"]) == (3, "not_confirmed")
    ended = site.run("restore", run_id, "--yes", "--json", env={"ORCHESTRATOR_GUARDS__PROTECT__NAME": '["web-7"]'})
    assert (ended.code, started(site)) == (0, [name for name in NAMES if name != "web-7"])


SLOW = {"stop_seconds": [60, 60], "start_seconds": [0.05, 0.2]}


def test_stops_that_took_effect_after_the_run_are_named_and_started_too(open_site: OpenSite) -> None:
    site = open_site(timing=SLOW)
    run = site.run("run", site.playbook("{name: ['web-*']}", timeout="0.5s"), "--yes", "--json")
    assert (run.code, run.document["counts"]) == (7, {"unsettled": 8})
    run_id, world = run.document["run_id"], site.sim.world
    for name in NAMES[2:]:
        world.set_status(world.find_by_name(name), "stopped", site.sim.now())
    world.find_by_name("web-8").name = "prod-1"
    world.set_status(world.find_by_name("web-7"), "running", site.sim.now())

    shown = site.run("restore", run_id, env={"COLUMNS": "200"})
    assert "the run stopped 0 running CVMs\n8 more CVMs asked to stop, but not seen down in time: " in shown.out
    assert all(name in shown.out for name in NAMES)
    assert "4 CVMs not seen down by the run, down now, started too: " in shown.out
    assert (started(site), logs(site)) == ([], 1)
    ended = site.run("restore", run_id, "--expect", "4", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 4})
    assert started(site) == ["web-3", "web-4", "web-5", "web-6"]
    assert {each["cvm"]["name"]: each["reason"] for each in ended.document["drifted"]} == {
        "web-1": "changed: not down, but stopping",
        "web-2": "changed: not down, but stopping",
        "prod-1": "changed: name was web-8, is prod-1",
    }


def test_max_percent_does_not_refuse_an_undo_of_what_the_same_percentage_let_pass(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    half = {"ORCHESTRATOR_GUARDS__MAX_PERCENT": "50"}
    file = site.playbook("{name: [web-1, web-2, web-3, web-4]}")
    run_id = site.run("run", file, "--yes", "--json", env=half).document["run_id"]
    less = {"ORCHESTRATOR_GUARDS__MAX_PERCENT": "49"}
    refused = site.run("restore", run_id, "--yes", "--json", env=less)
    assert (refused.code, refused.fault["code"]) == (3, "guard")
    assert "of the 8 CVMs of the workspace that were up when the run to undo was planned" in refused.fault["message"]
    ended = site.run("restore", run_id, "--yes", "--json", env=half)
    assert (ended.code, started(site)) == (0, NAMES[:4])


def test_gpus_are_warned_of_before_the_question(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    cvm = site.sim.world.find_by_name("web-1")
    cvm.instance_type = replace(cvm.instance_type, gpus=1)
    shown = site.run("restore", stopped(site, "{name: web-1}"), env={"COLUMNS": "200"})
    assert shown.code == 3
    assert "1 target with GPUs to start: each is charged a new 24-hour minimum up front" in shown.out


def test_logs_by_which_nothing_can_be_undone_are_refused_before_anything_is_asked(site: Site) -> None:
    run_id = stopped(site, "{name: web-1}")
    whole = site.log.read_bytes()
    lines = whole.splitlines(keepends=True)
    (site.folder / "altered.jsonl").write_bytes(whole.replace(b"web-1", b"web-2", 1))
    (site.folder / "unfinished.jsonl").write_bytes(b"".join(lines[:-1]))
    simulated = site.run("run", site.playbook(), "--simulate", "--yes", "--json").document["run_id"]
    asked, before = len(site.sim.requests), logs(site)
    cases = {
        "altered.jsonl": "the audit log was altered",
        "unfinished.jsonl": "the run is not finished",
        simulated: "simulated cloud",
        "20260101T000000Z-0000": "there is no run",
    }
    ends = site.run_each(*(("restore", name, "--yes", "--json") for name in cases))
    for words, ended in zip(cases.values(), ends, strict=True):
        assert (ended.code, words in ended.fault["message"]) == (2, True), ended.out
    assert "orchestrator resume" in ends[1].fault["hint"]
    other = {"PHALA_CLOUD_API_PREFIX": "https://cloud.example/api/v1"}
    ended = site.run("restore", run_id, "--yes", "--json", env=other)
    assert (ended.code, "the settings are for https://cloud.example" in ended.fault["message"]) == (2, True)
    assert (len(site.sim.requests), logs(site)) == (asked, before)


@pytest.mark.parametrize("signal", ["kill", "terminate"])
def test_an_undoing_that_was_cut_short_is_resumed_like_any_run(open_site: OpenSite, signal: str) -> None:
    site = open_site(timing=QUICK)
    run_id = stopped(site)
    slow = {"ORCHESTRATOR_RATE__REQUESTS_PER_SECOND": "10", "ORCHESTRATOR_RATE__BURST": "1"}
    process = site.start("restore", run_id, "--yes", env=slow)
    until(lambda: len(started(site)) >= 2)
    getattr(process, signal)()
    process.communicate()
    (log,) = (path for path in site.runs.glob("*.jsonl") if path.stem != run_id)
    held = site.run("restore", log.stem, "--yes", "--json")
    assert (held.code, "not finished" in held.fault["message"]) == (2, True)
    resumed = site.run("resume", log.stem, "--yes", "--json")
    assert (resumed.code, resumed.document["counts"]) == (0, {"settled": 8})
    assert {name: kinds.count("power_on") for name, kinds in operations(site).items()} == dict.fromkeys(NAMES, 1)


def test_an_undo_can_be_planned_to_a_file_and_run_from_there(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    first = stopped(site, "{teepod: [alpha]}")
    planned = site.run("plan", "--restore", first, "--out", "undo.plan")
    assert planned.code == 0, planned.err
    assert "Written to undo.plan" in planned.out
    ran = site.run("run", "--plan", "undo.plan", "--expect", "4", "--json")
    assert (ran.code, ran.document["counts"]) == (0, {"settled": 4}), ran.err
    started = first_record(ran)
    assert started == IsPartialDict(restores=first, plan_file=IsPartialDict(path="undo.plan"))
    again = site.run("plan", "--restore", first, "--json")
    assert (again.code, again.document["targets"]) == (0, [])
    for other in (("everything",), ("--only", "name=web-1")):
        refused = site.run("plan", "--restore", first, *other)
        assert (refused.code, "--restore excludes" in refused.err) == (2, True)
