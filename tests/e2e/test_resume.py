"""`resume`: what it shows first, what it leaves alone, and which key, settings and guards hold."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import OpenDesk
from tests.e2e.desk import NAMES, Desk
from tests.e2e.test_actions import QUICK
from tests.e2e.test_signals import under_way

OTHER_KEY = "phak_" + "5" * 40


def interrupted(desk: Desk, *, stops: int = 2) -> list[str]:
    """Interrupt a run after some stops; returns the names of the CVMs that were not sent."""
    process = under_way(desk, stops=stops)
    process.send_signal(signal.SIGINT)
    targets = desk.end(process).document["targets"]
    waiting = [each["cvm"]["name"] for each in targets if each["outcome"] == "not_sent"]
    assert len(waiting) >= 4, targets
    return waiting


def first_record(log: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(Path(log).read_text().splitlines()[0])
    return record


def use_workspace(desk: Desk, workspace_id: str) -> None:
    """Make the API tell another workspace id."""
    world = desk.sim.world
    other = world.settings.workspace.model_copy(update={"id": workspace_id})
    world.settings = world.settings.model_copy(update={"workspace": other})


def test_what_changed_or_became_protected_is_left_alone_by_name_and_with_a_code(open_desk: OpenDesk) -> None:
    desk = open_desk(timing=QUICK)
    renamed, protected, failed, moved, *others = interrupted(desk)
    world, before = desk.sim.world, len(desk.stops)
    world.set_status(world.find_by_name(failed), "error", desk.sim.now())
    cvm = world.find_by_name(moved)
    cvm.teepod = next(pod for pod in world.teepods if pod is not cvm.teepod)
    world.find_by_name(renamed).name = "prod-1"
    protect = {"ORCHESTRATOR_GUARDS__PROTECT__NAME": json.dumps([protected])}

    shown = desk.run("resume", desk.log.stem, "--dry-run", env=protect)
    assert f"1 protected by name {protected}: {protected}" in shown.out
    assert f"1 changed: name was {renamed}, is prod-1: {renamed}" in shown.out
    ended = desk.run("resume", desk.log.stem, "--json", env=protect)
    codes = {each["cvm"]["name"]: each["code"] for each in ended.document["targets"] if each["outcome"] == "not_sent"}
    assert codes == {renamed: "drifted", protected: "protected", failed: "drifted", moved: "drifted"}
    assert (ended.code, ended.document["counts"]) == (6, {"settled": 4, "not_sent": 4})
    assert len(desk.stops) == before + len(others)
    assert desk.run("audit", "verify", desk.log.stem).code == 0
    told = desk.run("show", desk.log.stem)
    assert f"protected by name {protected}" in told.out


def test_a_short_plan_comes_first_and_a_dry_run_ends_there(open_desk: OpenDesk) -> None:
    desk = open_desk(timing=QUICK)
    waiting = interrupted(desk)
    log, before = desk.log.read_bytes(), len(desk.stops)
    files = sorted(desk.state.rglob("*"))
    text = desk.run("resume", desk.log.stem, "--dry-run")
    document = desk.run("resume", desk.log.stem, "--dry-run", "--json")
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
    assert (desk.log.read_bytes(), len(desk.stops), sorted(desk.state.rglob("*"))) == (log, before, files)
    ended = desk.run("resume", desk.log.stem)
    assert ended.code == 0
    assert ended.out.index(f"{len(waiting)} stop: ") < ended.out.index("settled")


def test_a_key_of_another_workspace_is_refused_and_a_rotated_key_of_the_same_one_goes_on(open_desk: OpenDesk) -> None:
    desk = open_desk(timing=QUICK)
    interrupted(desk)
    assert first_record(str(desk.log))["workspace"] == "wks_simulated"
    before = len(desk.stops)
    use_workspace(desk, "wks_other")
    for command in (("resume", desk.log.stem, "--yes", "--json"), ("abandon", desk.log.stem, "--reason", "x")):
        ended = desk.run(*command)
        assert (ended.code, "workspace wks_simulated" in ended.err) == (2, True), ended.err
    assert (len(desk.stops), desk.events()["run.resumed"]) == (before, 0)
    use_workspace(desk, "wks_simulated")
    desk.sim.world.api_key = OTHER_KEY
    ended = desk.run("resume", desk.log.stem, "--json", env={"PHALA_CLOUD_API_KEY": OTHER_KEY})
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})


def test_where_only_keys_can_be_compared_another_one_needs_a_yes(open_desk: OpenDesk) -> None:
    desk = open_desk(timing=QUICK, workspace={"id": ""})
    interrupted(desk)
    first = first_record(str(desk.log))
    assert (first["workspace"], len(first["key_fingerprint"])) == (None, 16)
    before = len(desk.stops)
    desk.sim.world.api_key = OTHER_KEY
    other = {"PHALA_CLOUD_API_KEY": OTHER_KEY}
    refused = desk.run("resume", desk.log.stem, "--json", env=other)
    assert (refused.code, refused.fault["code"], len(desk.stops)) == (3, "not_confirmed", before)
    assert "another API key" in refused.err
    assert desk.run("resume", desk.log.stem, "--yes", "--json", env=other).code == 0
    undone = desk.run("restore", desk.log.stem, "--expect", "8", "--json")
    assert undone.code == 5  # the old key is no longer known
    desk.sim.world.api_key = desk.sim.api_key
    assert desk.run("restore", desk.log.stem, "--expect", "8", "--json").code == 0


@pytest.mark.parametrize("workspace", ["wks_other", ""])
def test_a_plan_file_and_an_undo_keep_to_their_workspace_as_well(open_desk: OpenDesk, workspace: str) -> None:
    desk = open_desk(timing=QUICK, workspace={"id": "wks_mine" if workspace else ""})
    plan = desk.folder / "a.plan"
    assert desk.run("plan", desk.playbook("{name: web-1}"), "--out", str(plan)).code == 0
    run_id = desk.run("run", desk.playbook("{name: web-2}"), "--yes", "--json").document["run_id"]
    before = len(desk.stops)
    env = None
    if workspace:
        use_workspace(desk, workspace)
    else:
        desk.sim.world.api_key = OTHER_KEY
        env = {"PHALA_CLOUD_API_KEY": OTHER_KEY}
    carried, undone = desk.run_each(
        ("run", "--plan", str(plan), "--expect", "1", "--json"),
        ("restore", run_id, "--expect", "1", "--json"),
        envs=[env, env],
    )
    assert (carried.code, undone.code) == ((2, 2) if workspace else (3, 3)), carried.err + undone.err
    assert len(desk.stops) == before
    if not workspace:
        ended = desk.run("run", "--plan", str(plan), "--yes", env=env)
        assert (ended.code, "another API key" in ended.out) == (0, True)


def test_a_command_line_value_that_would_have_no_effect_is_refused_and_a_stricter_one_applies(
    open_desk: OpenDesk,
) -> None:
    desk = open_desk(timing=QUICK)
    plan = desk.folder / "a.plan"
    file = desk.playbook("{name: [web-7, web-8]}", rate=16, burst=3)
    assert desk.run("plan", file, "--out", str(plan)).code == 0
    looser = [
        "rate.requests_per_second=17",
        "rate.requests_per_second=auto",
        "rate.burst=4",
        "rate.max_in_flight=21",
        "rate.per_teepod=21",
        "rate.dispatch=batch",
        "settle.timeout=1h",
    ]
    ends = desk.run_each(*(("run", "--plan", str(plan), "--yes", "--json", "--set", each) for each in looser))
    assert [(ended.code, ended.fault["code"]) for ended in ends] == [(2, "usage")] * len(looser)
    assert "the plan file says 16, and only a stricter value applies" in ends[0].fault["message"]
    assert (desk.stops, list(desk.runs.glob("*.jsonl"))) == ([], [])
    env = {"ORCHESTRATOR_RATE__BURST": "9", "ORCHESTRATOR_RATE__MAX_IN_FLIGHT": "2"}
    ended = desk.run("run", "--plan", str(plan), "--yes", "--json", "--set", "rate.requests_per_second=15", env=env)
    assert ended.code == 0
    limits = first_record(ended.document["audit_log"])["limits"]
    assert (limits["requests_per_second"], limits["burst"], limits["max_in_flight"]) == (15, 3, 2)
    warnings = json.loads(Path(ended.document["audit_log"]).read_text().splitlines()[1])["warnings"]
    assert sum("rate.burst 9 (3)" in str(each) for each in warnings) == 1


def test_resume_takes_stricter_values_only(open_desk: OpenDesk) -> None:
    desk = open_desk(timing=QUICK)
    waiting = interrupted(desk)
    before = len(desk.stops)
    refused = desk.run("resume", desk.log.stem, "--json", "--set", "rate.requests_per_second=17")
    assert (refused.code, refused.fault["code"]) == (2, "usage")
    fewer = desk.run("resume", desk.log.stem, "--json", "--set", f"guards.max_targets={len(waiting) - 1}")
    assert (fewer.code, fewer.fault["code"]) == (3, "guard")
    assert len(desk.stops) == before
    slow = desk.run("resume", desk.log.stem, "--dry-run", "--set", "rate.requests_per_second=0.5")
    assert "0.5 requests a second" in slow.out
    assert "rate.requests_per_second 0.5 (16)" in slow.out
    env = {"ORCHESTRATOR_RATE__REQUESTS_PER_SECOND": "99"}
    given = ("--set", f"guards.max_targets={len(waiting)}", "--ignore-running")
    ended = desk.run("resume", desk.log.stem, *given, env=env)
    assert (ended.code, ended.out.count("rate.requests_per_second 99 (16)")) == (0, 1)
    (resumed,) = [each for each in map(json.loads, desk.log.read_text().splitlines()) if each["event"] == "run.resumed"]
    assert resumed["stricter"] == [f"guards.max_targets {len(waiting)} (none)"]
    assert resumed["ignore_running"]
