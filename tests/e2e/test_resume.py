"""`resume`: what it shows first, what it leaves alone, and which key, settings and guards hold."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import OpenSite
from tests.e2e.site import NAMES, Site
from tests.e2e.test_actions import QUICK
from tests.e2e.test_signals import under_way

OTHER_KEY = "phak_" + "5" * 40


def interrupted(site: Site, *, stops: int = 2) -> list[str]:
    """Interrupt a run after some stops; returns the names of the CVMs that were not sent."""
    process = under_way(site, stops=stops)
    process.send_signal(signal.SIGINT)
    targets = site.end(process).document["targets"]
    waiting = [each["cvm"]["name"] for each in targets if each["outcome"] == "not_sent"]
    assert len(waiting) >= 4, targets
    return waiting


def first_record(log: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(Path(log).read_text().splitlines()[0])
    return record


def use_workspace(site: Site, workspace_id: str) -> None:
    """Make the API tell another workspace id."""
    world = site.sim.world
    other = world.settings.workspace.model_copy(update={"id": workspace_id})
    world.settings = world.settings.model_copy(update={"workspace": other})


def test_what_changed_or_became_protected_is_left_alone_by_name_and_with_a_code(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    renamed, protected, failed, moved, *others = interrupted(site)
    world, before = site.sim.world, len(site.stops)
    world.set_status(world.find_by_name(failed), "error", site.sim.now())
    cvm = world.find_by_name(moved)
    cvm.teepod = next(pod for pod in world.teepods if pod is not cvm.teepod)
    world.find_by_name(renamed).name = "prod-1"
    protect = {"ORCHESTRATOR_GUARDS__PROTECT__NAME": json.dumps([protected])}

    shown = site.run("resume", site.log.stem, "--dry-run", env=protect)
    assert f"1 protected by name {protected}: {protected}" in shown.out
    assert f"1 changed: name was {renamed}, is prod-1: {renamed}" in shown.out
    ended = site.run("resume", site.log.stem, "--json", env=protect)
    codes = {each["cvm"]["name"]: each["code"] for each in ended.document["targets"] if each["outcome"] == "not_sent"}
    assert codes == {renamed: "drifted", protected: "protected", failed: "drifted", moved: "drifted"}
    assert (ended.code, ended.document["counts"]) == (6, {"settled": 4, "not_sent": 4})
    assert len(site.stops) == before + len(others)
    assert site.run("audit", "verify", site.log.stem).code == 0
    told = site.run("show", site.log.stem)
    assert f"protected by name {protected}" in told.out


def test_a_short_plan_comes_first_and_a_dry_run_ends_there(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    waiting = interrupted(site)
    log, before = site.log.read_bytes(), len(site.stops)
    files = sorted(site.state.rglob("*"))
    text = site.run("resume", site.log.stem, "--dry-run")
    document = site.run("resume", site.log.stem, "--dry-run", "--json")
    assert text.code == 0
    assert f"{len(waiting)} stop: {', '.join(waiting)}" in text.out
    assert "ends  compute $" in text.out
    assert text.out.rstrip().endswith("Nothing was sent: --dry-run.")
    assert document.document["dry_run"] is True
    assert [each["cvm"]["name"] for each in document.document["send"]] == waiting
    assert (document.document["watch"], document.document["skip"], document.document["ended"]) == (
        [],
        [],
        len(NAMES) - len(waiting),
    )
    assert (site.log.read_bytes(), len(site.stops), sorted(site.state.rglob("*"))) == (log, before, files)
    ended = site.run("resume", site.log.stem)
    assert ended.code == 0
    assert ended.out.index(f"{len(waiting)} stop: ") < ended.out.index("settled")


def test_a_key_of_another_workspace_is_refused_and_a_rotated_key_of_the_same_one_goes_on(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    interrupted(site)
    assert first_record(str(site.log))["workspace"] == "wks_simulated"
    before = len(site.stops)
    use_workspace(site, "wks_other")
    for command in (("resume", site.log.stem, "--yes", "--json"), ("abandon", site.log.stem, "--reason", "x")):
        ended = site.run(*command)
        assert (ended.code, "workspace wks_simulated" in ended.err) == (2, True), ended.err
    assert (len(site.stops), site.events()["run.resumed"]) == (before, 0)
    use_workspace(site, "wks_simulated")
    site.sim.world.api_key = OTHER_KEY
    ended = site.run("resume", site.log.stem, "--json", env={"PHALA_CLOUD_API_KEY": OTHER_KEY})
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})


def test_where_only_keys_can_be_compared_another_one_needs_a_yes(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK, workspace={"id": ""})
    interrupted(site)
    first = first_record(str(site.log))
    assert (first["workspace"], len(first["key_fingerprint"])) == (None, 16)
    before = len(site.stops)
    site.sim.world.api_key = OTHER_KEY
    other = {"PHALA_CLOUD_API_KEY": OTHER_KEY}
    refused = site.run("resume", site.log.stem, "--json", env=other)
    assert (refused.code, refused.fault["code"], len(site.stops)) == (3, "not_confirmed", before)
    assert "another API key" in refused.err
    assert site.run("resume", site.log.stem, "--yes", "--json", env=other).code == 0
    undone = site.run("restore", site.log.stem, "--expect", "8", "--json")
    assert undone.code == 5  # the old key is no longer known
    site.sim.world.api_key = site.sim.api_key
    assert site.run("restore", site.log.stem, "--expect", "8", "--json").code == 0


@pytest.mark.parametrize("workspace", ["wks_other", ""])
def test_a_plan_file_and_an_undo_keep_to_their_workspace_as_well(open_site: OpenSite, workspace: str) -> None:
    site = open_site(timing=QUICK, workspace={"id": "wks_mine" if workspace else ""})
    plan = site.folder / "a.plan"
    assert site.run("plan", site.playbook("{name: web-1}"), "--out", str(plan)).code == 0
    run_id = site.run("run", site.playbook("{name: web-2}"), "--yes", "--json").document["run_id"]
    before = len(site.stops)
    env = None
    if workspace:
        use_workspace(site, workspace)
    else:
        site.sim.world.api_key = OTHER_KEY
        env = {"PHALA_CLOUD_API_KEY": OTHER_KEY}
    carried, undone = site.run_each(
        ("run", "--plan", str(plan), "--expect", "1", "--json"),
        ("restore", run_id, "--expect", "1", "--json"),
        envs=[env, env],
    )
    assert (carried.code, undone.code) == ((2, 2) if workspace else (3, 3)), carried.err + undone.err
    assert len(site.stops) == before
    if not workspace:
        ended = site.run("run", "--plan", str(plan), "--yes", env=env)
        assert (ended.code, "another API key" in ended.out) == (0, True)


def test_a_command_line_value_that_would_have_no_effect_is_refused_and_a_stricter_one_applies(
    open_site: OpenSite,
) -> None:
    site = open_site(timing=QUICK)
    plan = site.folder / "a.plan"
    file = site.playbook("{name: [web-7, web-8]}", rate=16, burst=3)
    assert site.run("plan", file, "--out", str(plan)).code == 0
    looser = [
        "rate.requests_per_second=17",
        "rate.requests_per_second=auto",
        "rate.burst=4",
        "rate.max_in_flight=21",
        "rate.per_teepod=21",
        "rate.dispatch=batch",
        "settle.timeout=1h",
    ]
    ends = site.run_each(*(("run", "--plan", str(plan), "--yes", "--json", "--set", each) for each in looser))
    assert [(ended.code, ended.fault["code"]) for ended in ends] == [(2, "usage")] * len(looser)
    assert "the plan file says 16, and only a stricter value applies" in ends[0].fault["message"]
    assert (site.stops, list(site.runs.glob("*.jsonl"))) == ([], [])
    env = {"ORCHESTRATOR_RATE__BURST": "9", "ORCHESTRATOR_RATE__MAX_IN_FLIGHT": "2"}
    ended = site.run("run", "--plan", str(plan), "--yes", "--json", "--set", "rate.requests_per_second=15", env=env)
    assert ended.code == 0
    limits = first_record(ended.document["audit_log"])["limits"]
    assert (limits["requests_per_second"], limits["burst"], limits["max_in_flight"]) == (15, 3, 2)
    warnings = json.loads(Path(ended.document["audit_log"]).read_text().splitlines()[1])["warnings"]
    assert sum("rate.burst 9 (3)" in str(each) for each in warnings) == 1


def test_resume_takes_stricter_values_only(open_site: OpenSite) -> None:
    site = open_site(timing=QUICK)
    waiting = interrupted(site)
    before = len(site.stops)
    refused = site.run("resume", site.log.stem, "--json", "--set", "rate.requests_per_second=17")
    assert (refused.code, refused.fault["code"]) == (2, "usage")
    fewer = site.run("resume", site.log.stem, "--json", "--set", f"guards.max_targets={len(waiting) - 1}")
    assert (fewer.code, fewer.fault["code"]) == (3, "guard")
    assert len(site.stops) == before
    slow = site.run("resume", site.log.stem, "--dry-run", "--set", "rate.requests_per_second=0.5")
    assert "0.5 requests a second" in slow.out
    assert "rate.requests_per_second 0.5 (16)" in slow.out
    env = {"ORCHESTRATOR_RATE__REQUESTS_PER_SECOND": "99"}
    given = ("--set", f"guards.max_targets={len(waiting)}", "--ignore-running")
    ended = site.run("resume", site.log.stem, *given, env=env)
    assert (ended.code, ended.out.count("rate.requests_per_second 99 (16)")) == (0, 1)
    (resumed,) = [each for each in map(json.loads, site.log.read_text().splitlines()) if each["event"] == "run.resumed"]
    assert resumed["stricter"] == [f"guards.max_targets {len(waiting)} (none)"]
    assert resumed["ignore_running"]
