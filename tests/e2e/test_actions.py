"""Shutdown, start, restart, and `on_failure`, with the installed command."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import OpenSite
from tests.e2e.site import NAMES, Site, until

QUICK = {"stop_seconds": [0.05, 0.2], "shutdown_seconds": [0.3, 0.6], "start_seconds": [0.3, 0.6]}
DOWN = {"fleet": {"cvms": 8, "seed": 3, "names": NAMES, "teepod_names": ["alpha"], "stopped_share": 1}}


def steps(site: Site, *written: str, guards: str = "{}") -> str:
    """Write a playbook of these steps; returns its path."""
    file = site.folder / "actions.yaml"
    lines = "\n".join(f"  - {{{each}, settle: {{timeout: 5s}}}}" for each in written)
    limits = "{requests_per_second: 200, burst: 50}"
    file.write_text(f"name: actions\nguards: {guards}\nlimits: {limits}\nsteps:\n{lines}\n")
    return str(file)


def operations(site: Site) -> dict[str, list[str]]:
    """What was done to each CVM, by the server's own account."""
    return {cvm.name: [each.type for each in cvm.operations] for cvm in site.sim.world.cvms}


@pytest.mark.parametrize(
    ("action", "done", "status", "words"),
    [
        ("shutdown", "shutdown", "stopped", "8 CVMs of 8 will be shut down (the guest is asked to)"),
        ("start", "power_on", "running", "8 CVMs of 8 will be started"),
        ("restart", "restart", "running", "8 CVMs of 8 will be restarted (the guest is asked to shut down)"),
    ],
)
def test_an_action_is_planned_carried_out_watched_and_on_record(
    open_site: OpenSite, action: str, done: str, status: str, words: str
) -> None:
    site = open_site(timing=QUICK, **(DOWN if action == "start" else {}))
    file = steps(site, f"name: it, action: {action}, select: {{all: true}}")
    plan = site.run("plan", file)
    assert (plan.code, words in plan.out) == (0, True)
    ended = site.run("run", file, "--expect", "8", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})
    assert {target["action"] for target in ended.document["targets"]} == {action}
    assert operations(site) == {key: [done] for key in NAMES}
    assert {cvm.phase_at(site.sim.now()).status for cvm in site.sim.world.cvms} == {status}
    assert {record["action"] for record in site.records if "action" in record} == {action}
    assert site.run("audit", "verify", site.log.stem).code == 0
    again = site.run("plan", file, "--json")
    assert len(again.document["targets"]) == (8 if action == "restart" else 0)


def test_what_starts_begin_to_cost_is_told_apart_from_what_stops_end(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK, **DOWN)
    file = steps(site, "action: start, select: {name: web-1}")
    planned = json.loads(site.run("plan", file, "--json").out)["billing"]
    ended = site.run("run", file, "--yes", "--json").document["billing"]
    assert planned["compute_usd_per_hour"] == "0"
    assert ended["triggered"] == 0
    assert ended["starts"]["accepted"] == 1
    assert ended["starts"]["compute_usd_per_hour"] == planned["starts"]["compute_usd_per_hour"]
    assert site.run("show", site.log.stem).out.count("begins  compute $") == 1


def test_a_start_that_can_not_be_paid_has_failed_with_the_api_s_words(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK, workspace={"balance": "0"}, **DOWN)
    ended = site.run("run", steps(site, "action: start, select: {name: web-1}"), "--yes", "--json")
    assert ended.code == 6
    assert "Insufficient balance" in ended.document["targets"][0]["reason"]


def test_steps_of_several_actions_run_in_order_each_on_its_own_cvms(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    for name in ("web-7", "web-8"):
        site.sim.world.set_status(site.sim.world.find_by_name(name), "stopped", site.sim.now())
    file = steps(
        site,
        "name: down, action: shutdown, select: {name: [web-1, web-2]}",
        "name: up, action: start, select: {name: [web-7, web-8]}",
        "name: anew, action: restart, select: {all: true}",
    )
    plan = site.run("plan", file)
    assert "8 CVMs of 8: 2 shut down (the guest is asked to), 2 started, 4 restarted" in plan.out
    ended = site.run("run", file, "--yes", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})
    order = [record["step"] for record in site.records if record["event"] == "action.intent"]
    assert order == ["down"] * 2 + ["up"] * 2 + ["anew"] * 4
    assert {name: done[0] for name, done in operations(site).items()} == {
        **dict.fromkeys(NAMES, "restart"),
        **dict.fromkeys(["web-1", "web-2"], "shutdown"),
        **dict.fromkeys(["web-7", "web-8"], "power_on"),
    }


def test_on_failure_stop_ends_the_run_before_the_next_step_and_it_stays_ended(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK, behaviour=[{"kind": "refuses", "names": ["web-2"]}])
    file = steps(
        site,
        "name: ask, action: shutdown, on_failure: stop, select: {name: [web-1, web-2]}",
        "name: pull, action: stop, select: {all: true}",
    )
    ended = site.run("run", file, "--yes", "--json")
    assert (ended.code, ended.document["counts"]) == (8, {"settled": 1, "refused": 1, "not_sent": 6})
    assert site.records[-1]["ending"] == "step_failed"
    assert site.stops == []
    assert site.run("resume", site.log.stem, "--yes").code == 8
    assert site.stops == []


def test_a_killed_run_of_starts_is_resumed_with_its_action(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK, **DOWN)
    file = steps(site, "action: start, select: {all: true}")
    slow = Path(file).read_text().replace("200, burst: 50", "10, burst: 1")
    Path(file).write_text(slow)
    process = site.start("run", file, "--yes")
    until(lambda: sum(len(done) for done in operations(site).values()) >= 2)
    process.kill()
    process.communicate()
    old = {"ORCHESTRATOR_AUDIT__RESUME_WITHOUT_ASKING": "0.001"}
    assert site.run("resume", site.log.stem, "--json", env=old).fault["code"] == "not_confirmed"
    resumed = site.run("resume", site.log.stem, "--yes", "--json", env=old)
    assert (resumed.code, resumed.document["counts"]) == (0, {"settled": 8})
    assert operations(site) == {key: ["power_on"] for key in NAMES}
