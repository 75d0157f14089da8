"""`plan --out FILE`, somebody reads it, `run --plan FILE`: what was read is what happens, and no more."""

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dirty_equals import IsPartialDict, IsStr

from orchestrator.simulator.machine import SimulatedCvm
from tests.e2e.conftest import OpenSite
from tests.e2e.site import NAMES, Ended, Site, until
from tests.e2e.test_actions import DOWN, operations, steps
from tests.e2e.test_actions import QUICK as ACTIONS_QUICK


def made(site: Site, select: str = "{all: true}", **more: object) -> Path:
    """A plan of a playbook, which is gone afterwards."""
    playbook = site.playbook(select, **more)  # type: ignore[arg-type] # any other argument of it
    ended = site.run("plan", playbook, "--out", "stop.plan")
    assert ended.code == 0, ended.err
    Path(playbook).unlink()
    return site.folder / "stop.plan"


def stopped(site: Site) -> list[str]:
    return [name for name, stops in site.effective.items() if stops]


def left_alone(ended: Ended) -> dict[str, str]:
    return {each["cvm"]["name"]: each["reason"] for each in ended.document["drifted"]}


def test_a_plan_is_written_for_its_owner_alone_and_carried_out_without_its_playbook(site: Site) -> None:
    playbook = site.playbook("{teepod: [alpha]}", guards="{max_targets: 4, max_percent: 50}")
    ended = site.run("plan", playbook, "--out", "stop.plan")
    file = site.folder / "stop.plan"
    digest = json.loads(file.read_text())["digest"]
    assert f"Written to stop.plan (digest {digest})" in ended.out
    assert "orchestrator run --plan stop.plan" in ended.out
    assert file.stat().st_mode & 0o777 == 0o600
    assert site.sim.api_key not in file.read_text()
    assert list(site.folder.glob(".plan*")) == []
    site.assert_nothing_happened()

    Path(playbook).unlink()
    ran = site.run("run", "--plan", "stop.plan", "--expect", "4", "--json")
    assert (ran.code, ran.document["counts"], ran.document["drifted"]) == (0, {"settled": 4}, [])
    assert len(site.stops) == 4
    started = site.records[0]
    assert started["playbook"]["path"] == playbook
    assert started["plan_file"] == {
        "path": "stop.plan",
        "digest": digest,
        "made_at": IsStr(regex=r"20.*Z"),
        "actor": started["actor"],
    }
    assert site.run("audit", "verify", str(site.log)).code == 0


def test_the_document_of_a_plan_names_the_file(site: Site) -> None:
    ended = site.run("plan", site.playbook(), "--out", "stop.plan", "--json")
    digest = json.loads((site.folder / "stop.plan").read_text())["digest"]
    assert ended.document["plan_file"] == {"path": "stop.plan", "digest": digest}


def test_whoever_changed_is_left_alone_new_ones_are_not_touched_and_the_others_go_on(site: Site) -> None:
    file = made(site)
    world, now = site.sim.world, site.sim.now()
    cvms = {name: world.find_by_name(name) for name in NAMES}
    cvms["web-1"].name = "prod-1"
    pod = cvms["web-2"].teepod
    cvms["web-2"].teepod = next(each for each in world.teepods if each != pod)
    world.delete_cvm(cvms["web-3"], now)
    world.set_status(cvms["web-4"], "stopped", now)
    world.set_status(cvms["web-5"], "running", now, in_progress=True)
    cvms["web-6"].instance_type = replace(cvms["web-6"].instance_type, id="tdx.other")
    world.add_cvm("web-9", now=now)

    shown = site.run("run", "--plan", str(file), env={"COLUMNS": "200"})
    assert shown.code == 3
    assert "2 CVMs of 9 will be stopped" in shown.out
    assert "prod-1  name was web-1, is prod-1" in shown.out
    assert "skipped 5 of 8 targets in the plan file" in shown.out
    assert "1 CVM selected by the playbook now, but no target of the plan file" in shown.out
    site.assert_nothing_happened()

    ended = site.run(
        "run", "--plan", str(file), "--yes", "--json", env={"ORCHESTRATOR_GUARDS__PROTECT__NAME": '["web-7"]'}
    )
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 1})
    assert stopped(site) == ["web-8"]
    assert left_alone(ended) == {
        "prod-1": "changed: name was web-1, is prod-1",
        "web-2": IsStr(regex=r"changed: teepod was \w+ \(#\d+\), is \w+ \(#\d+\)"),
        "web-3": "no longer in the list",
        "web-5": "changed: an operation is in progress",
        "web-6": IsStr(regex="changed: instance type was .*, is tdx.other"),
        "web-7": "changed: now protected by name web-7",
    }
    skipped = {each["cvm"]["name"]: each["reason"] for each in site.records[1]["skipped"]}
    assert skipped == {
        **left_alone(ended),
        "web-4": "already stopped",
        "web-9": "not a target of the plan file",
    }
    told = site.run("show", site.log.stem, env={"COLUMNS": "200"}).out
    assert "(exit 0); skipped 6 of the plan file: changed since" in told


EDITS: dict[str, Callable[[bytes], bytes]] = {
    "another CVM": lambda data: data.replace(b'"name": "web-1"', b'"name": "web-2"', 1),
    "a guard": lambda data: data.replace(b'"max_targets": 8', b'"max_targets": 9', 1),
    "a newline": lambda data: data + b"\n",
    "cut off": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "not text": lambda data: data.replace(b"web-1", b"web-\xff", 1),
}


def test_a_file_that_was_edited_or_cut_off_changes_nothing(site: Site) -> None:
    whole = made(site, guards="{max_targets: 8}").read_bytes()
    asked = len(site.sim.requests)
    commands = []
    for number, edit in enumerate(EDITS.values()):
        spoilt = edit(whole)
        assert spoilt != whole
        (site.folder / f"{number}.plan").write_bytes(spoilt)
        commands.append(("run", "--plan", f"{number}.plan", "--yes", "--json"))
    for ended in site.run_each(*commands, ("run", "--plan", "nowhere.plan", "--yes", "--json")):
        assert (ended.code, ended.fault["code"]) == (2, "plan_file")
        assert ended.fault["file"].endswith(".plan")
    site.assert_nothing_happened()
    assert len(site.sim.requests) == asked


def test_when_every_target_drifted_nothing_is_done_and_it_is_no_success(site: Site) -> None:
    file = made(site, "{name: [web-1, web-2]}")
    world, now = site.sim.world, site.sim.now()
    world.find_by_name("web-1").name = "a"
    world.set_status(world.find_by_name("web-2"), "stopped", now)
    for ended in site.run_each(("run", "--plan", str(file), "--yes", "--json"), ("run", "--plan", str(file), "--yes")):
        assert ended.code == 3
        assert "1 target of the plan file changed since" in ended.err
    site.assert_nothing_happened()

    ended = site.run("run", "--plan", str(file), "--yes", "--json")
    assert ended.fault["code"] == "drifted"
    assert {each["cvm"]["name"]: each["reason"] for each in ended.document["skipped"]} == IsPartialDict(
        {"a": "changed: name was web-1, is a", "web-2": "already stopped", "web-3": "not selected"}
    )
    world.find_by_name("web-1").name = "web-1"
    world.set_status(world.find_by_name("web-1"), "stopped", site.sim.now())
    assert site.run("run", "--plan", str(file), "--yes", "--json").code == 0


def test_the_number_that_was_read_stops_a_run_from_which_something_drifted(site: Site) -> None:
    file = made(site)
    site.sim.world.find_by_name("web-1").name = "a"
    ended = site.run("run", "--plan", str(file), "--expect", "8", "--json")
    assert (ended.code, ended.fault["code"]) == (3, "not_confirmed")
    site.assert_nothing_happened()


def test_guards_of_the_plan_and_of_the_settings_hold_for_the_fleet_of_today(site: Site) -> None:
    file = made(site, "{name: [web-1, web-2, web-3, web-4]}", guards="{max_percent: 50}")
    stricter = {"ORCHESTRATOR_GUARDS__MAX_TARGETS": "3"}
    ended = site.run("run", "--plan", str(file), "--yes", "--json", env=stricter)
    assert (ended.code, "4 targets, at most 3 allowed" in ended.fault["message"]) == (3, True)
    looser = {"ORCHESTRATOR_GUARDS__MAX_PERCENT": "90"}
    world = site.sim.world
    world.set_status(world.find_by_name("web-8"), "stopped", site.sim.now())
    ended = site.run("run", "--plan", str(file), "--yes", "--json", env=looser)
    assert (ended.code, "57.2% of the 7 CVMs" in ended.fault["message"]) == (3, True)
    site.assert_nothing_happened()


def test_what_does_not_go_with_a_plan_file_is_said(site: Site) -> None:
    file = str(made(site))
    (site.folder / "notes.txt").write_text("mine")
    playbook = site.playbook()
    other = {"PHALA_CLOUD_API_PREFIX": "https://cloud.example/api/v1"}
    cases: dict[tuple[str, ...], str] = {
        ("run", playbook, "--plan", file): "--plan excludes PLAYBOOK",
        ("run", "--plan", file, "--var", "a=b"): "--plan excludes --var",
        ("run", "--plan", file, "--simulate"): "--plan excludes --simulate",
        ("run",): "Missing argument 'PLAYBOOK'",
        ("plan", playbook, "--simulate", "--out", "x.plan"): "--out excludes --simulate",
        ("plan", playbook, "--out", "notes.txt"): "the existing file is not a plan",
        ("plan", playbook, "--out", "no/where.plan"): "the folder of the plan file does not exist",
        ("plan", playbook, "--out", "."): "is not a regular file",
        ("plan", playbook, "--out", "/dev/null"): "is not a regular file",
        ("plan", playbook, "--out", "x" * 300): "too long",
        ("run", "--plan", "."): "the plan file can't be read",
    }
    asked = len(site.sim.requests)
    for words, ended in zip(cases.values(), site.run_each(*((*args, "--json") for args in cases)), strict=True):
        assert ended.code == 2, words
        assert words in ended.fault["message"]
    ended = site.run("run", "--plan", file, "--yes", "--json", env=other)
    assert (ended.code, ended.fault["code"]) == (2, "plan_file")
    assert "the settings are for https://cloud.example" in ended.fault["message"]
    assert len(site.sim.requests) == asked
    assert (site.folder / "notes.txt").read_text() == "mine"
    site.assert_nothing_happened()


def test_an_older_plan_is_replaced_and_a_refused_one_leaves_it_as_it_was(site: Site) -> None:
    file = made(site, "{name: [web-1]}")
    first = file.read_bytes()
    ended = site.run("plan", site.playbook(guards="{max_targets: 1}"), "--out", "stop.plan")
    assert (ended.code, "was not written to stop.plan" in ended.err) == (3, True)
    assert file.read_bytes() == first
    made(site, "{name: [web-2]}")
    assert site.run("run", "--plan", str(file), "--yes").code == 0
    assert stopped(site) == ["web-2"]


def test_a_run_of_a_plan_file_is_resumed_without_the_file(open_site: OpenSite) -> None:
    site = open_site(timing={"stop_seconds": [0.2, 0.4]})
    file = made(site, rate=5, burst=1)
    site.sim.world.find_by_name("web-1").name = "a"
    process = site.start("run", "--plan", str(file), "--yes")
    until(lambda: len(site.stops) >= 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.communicate()
    file.unlink()
    ended = site.run("resume", site.log.stem, "--yes", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 7})
    assert left_alone(ended) == {"a": "changed: name was web-1, is a"}
    assert stopped(site) == [name for name in (cvm.name for cvm in site.sim.world.cvms) if name != "a"]


def test_every_action_and_what_follows_a_failure_is_kept_to(open_site: OpenSite) -> None:
    site = open_site(timing=ACTIONS_QUICK, **DOWN)
    world = site.sim.world
    world.set_status(world.find_by_name("web-4"), "running", site.sim.now())
    playbook = steps(
        site,
        "name: up, action: start, select: {name: [web-1, web-2, web-3]}, on_failure: stop",
        "name: again, action: restart, select: {name: web-4}",
    )
    assert site.run("plan", playbook, "--out", "up.plan").code == 0
    world.set_status(world.find_by_name("web-2"), "running", site.sim.now())
    world.set_status(world.find_by_name("web-3"), "error", site.sim.now())

    ended = site.run("run", "--plan", "up.plan", "--expect", "2", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 2})
    assert left_alone(ended) == {"web-3": "changed: status was stopped, is error"}
    assert {name: kinds for name, kinds in operations(site).items() if kinds} == {
        "web-1": ["power_on"],
        "web-4": ["restart"],
    }
    assert [step["on_failure"] for step in site.records[1]["steps"]] == ["stop", "continue"]
    assert {"already running"} == {
        each["reason"] for each in site.records[1]["skipped"] if each["cvm"]["name"] == "web-2"
    }


def test_another_workspace_is_asked_about(open_site: OpenSite) -> None:
    """A key of another workspace sees none of the plan's CVMs: they count as drifted, and the hint asks for the key."""
    site = open_site()
    file = made(site)
    world: list[SimulatedCvm] = site.sim.world.cvms
    for cvm in world:
        site.sim.world.delete_cvm(cvm, site.sim.now())
    ended = site.run("run", "--plan", str(file), "--yes", "--json")
    assert (ended.code, ended.fault["code"]) == (3, "drifted")
    assert "key" in ended.fault["hint"]
    site.assert_nothing_happened()
