"""`wake PLAYBOOK`: the CVMs that the playbook's runs stopped are started again, unless somebody touched them since."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from dirty_equals import IsPartialDict

from orchestrator.simulator.actions import begin_start, begin_stop
from tests.e2e.conftest import OpenSite
from tests.e2e.site import NAMES, STILL, Ended, Site
from tests.e2e.test_actions import QUICK, operations

TEXT = """\
name: office
vars: {names: {default: "web-*"}}
schedule: {cron: "0 19 * * *", timezone: Europe/Berlin}
wake: {cron: "0 7 * * *"}
limits: {requests_per_second: 200, burst: 50}
steps:
  - {name: night, action: stop, select: {name: ["${names}"]}, settle: {timeout: 5s}}
"""


def office(site: Site, text: str = TEXT) -> str:
    """Write the playbook; returns its path."""
    file = site.folder / "office.yaml"
    file.write_text(text)
    return str(file)


def stop(site: Site, *more: str) -> str:
    ended = site.run("run", office(site), "--yes", "--json", *more)
    assert ended.code == 0, ended.err
    run_id: str = ended.document["run_id"]
    return run_id


def wake(site: Site, *more: str) -> Ended:
    return site.run("wake", str(site.folder / "office.yaml"), "--yes", "--json", *more)


def age_operations(site: Site) -> None:
    """Move all operations so far an hour into the past."""
    for cvm in site.sim.world.cvms:
        cvm.operations[:] = [replace(each, started=each.started - 3600) for each in cvm.operations]


def started(ended: Ended) -> list[str]:
    assert ended.code == 0, ended.err + ended.out
    return sorted(each["cvm"]["name"] for each in ended.document["targets"])


def records(ended: Ended) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(ended.document["audit_log"]).read_text().splitlines()]


def test_a_wake_starts_what_the_playbook_stopped_and_nobody_touched_since(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    world, cvms = site.sim.world, {name: site.sim.world.find_by_name(name) for name in NAMES}
    world.set_status(cvms["web-7"], "stopped", site.sim.now())  # down before
    run_id = stop(site)
    # Started and stopped again by a person, beside orchestrator.
    now = site.sim.now()
    begin_start(world, cvms["web-1"], now - 0.02)
    cvms["web-1"].timeline.replace_after(now, [])
    begin_stop(world, cvms["web-1"], now)
    world.set_status(cvms["web-1"], "stopped", now)
    # Started and stopped again by an order of a person.
    assert site.run("start", "web-2", "--yes").code == 0
    assert site.run("stop", "web-2", "--yes").code == 0
    # Up by now.
    assert site.run("start", "web-3", "--yes").code == 0
    # Already down for the order of a person.
    assert site.run("stop", "web-4", "--yes").code == 0
    world.delete_cvm(cvms["web-5"], site.sim.now())

    planned = site.run("plan", "--wake", str(site.folder / "office.yaml"), env={"COLUMNS": "200"})
    assert planned.code == 0, planned.err
    assert f"Wake of office; stopped by {run_id}" in planned.out
    assert "2 CVMs of 8 will be started" in planned.out
    shown = site.run("wake", str(site.folder / "office.yaml"))
    assert (shown.code, "stdin is not a terminal" in shown.err) == (3, True)

    ended = wake(site, "--expect", "2")
    assert started(ended) == ["web-6", "web-8"]
    reasons = {each["cvm"]["name"]: each["reason"] for each in ended.document["drifted"]}
    assert reasons["web-1"].startswith("changed: power_off by ")
    assert reasons["web-2"].endswith("(ad-hoc stop) since")
    assert "found the CVM down" in reasons["web-4"]
    assert reasons["web-5"] == "no longer in the list"
    assert set(reasons) == {"web-1", "web-2", "web-4", "web-5"}
    first, *_ = records(ended)
    assert first == IsPartialDict(wakes={"playbook": "office", "runs": [run_id]})
    assert first["playbook"] == IsPartialDict(name="office (wake)", path=str(site.folder / "office.yaml"))
    assert site.run("audit", "verify", ended.document["run_id"]).code == 0

    nothing = site.run("plan", "--wake", str(site.folder / "office.yaml"), "--out", str(site.folder / "p.json"))
    assert (nothing.code, "there is nothing to start" in nothing.err) == (0, True)
    again = wake(site)  # no claim is left
    assert started(again) == []
    assert again.document["drifted"] == []


def test_nights_without_a_wake_add_up_and_edits_change_nothing(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    office(site)
    site.run("run", office(site), "--yes", "--only", "name=web-1")  # narrowed: not wakeable
    site.run("run", office(site), "--yes", "--var", "names=web-2")  # variables of its own: not wakeable
    first = stop(site)
    age_operations(site)
    cvms = {name: site.sim.world.find_by_name(name) for name in NAMES}
    site.sim.world.set_status(cvms["web-3"], "running", site.sim.now())
    second = stop(site)  # web-3 was up since: the second night counts
    office(site, TEXT.replace('"web-*"', '"web-8"'))
    ended = wake(site)
    assert started(ended) == NAMES[2:], ended.document["drifted"]
    assert records(ended)[0]["wakes"] == {"playbook": "office", "runs": sorted([first, second])}
    assert {name: kinds for name, kinds in operations(site).items() if "power_on" not in kinds} == {
        "web-1": ["power_off"],
        "web-2": ["power_off"],
    }


def test_cvms_with_gpus_are_left_until_the_playbook_includes_them(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK, fleet={**STILL["fleet"], "gpu_share": 1})
    stop(site)
    left = wake(site)
    assert started(left) == []
    planned = next(each for each in records(left) if each["event"] == "run.planned")
    skipped = planned["skipped"]
    assert isinstance(skipped, list)
    assert {each["code"] for each in skipped} == {"gpu"}, skipped
    office(site, TEXT.replace("wake: {", "wake: {include_gpus: true, "))
    ended = wake(site)
    assert started(ended) == NAMES
    assert "gpu_minimum" in {each["code"] for each in ended.document["warnings"]}


def test_a_playbook_without_wake_is_refused(site: Site) -> None:
    path = office(site, TEXT.replace("wake:", "# wake:"))
    refused = site.run("wake", path, "--yes", "--json")
    assert (refused.code, refused.fault["message"]) == (2, "the playbook has no `wake`")
    both = site.run("plan", "--wake", path, path)
    assert (both.code, "--wake excludes PLAYBOOK" in both.err) == (2, True)


@pytest.mark.soak
def test_a_wake_acts_in_all_workspaces_of_the_playbook(open_site: OpenSite) -> None:
    site = open_site(
        timing=QUICK, workspaces=[{"workspace": {"name": "eu"}}, {"workspace": {"name": "us"}, "fleet": {"seed": 9}}]
    )
    for name in ("eu", "us"):
        site.environment[f"KEY_{name}"] = site.sim.workspaces.by_name[name].world.api_key
        site.environment[f"ORCHESTRATOR_WORKSPACES__{name.upper()}__API_KEY_ENV"] = f"KEY_{name}"
    path = office(site, TEXT + "workspaces: ['*']\n")
    assert site.run("run", path, "--yes").code == 0
    ended = wake(site, "--expect", "16")
    assert (ended.code, ended.document["totals"]["counts"]) == (0, {"settled": 16})
    assert wake(site).document["totals"]["counts"] == {}
