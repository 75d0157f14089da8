"""One order for several workspaces: planned, carried out, reported, undone and continued as a whole."""

import json
import signal
from decimal import Decimal
from typing import Any

import pytest

from tests.e2e.conftest import OpenSite, RunAll
from tests.e2e.site import Ended, Site, until

NAMES = ("eu", "us", "ap")


def open_fleet(open_site: OpenSite, **changes: Any) -> Site:  # noqa: ANN401 - whatever a configuration file may hold
    """Open a site with three workspaces of four CVMs each, all named in the settings; change single workspaces."""
    fleet = {"cvms": 4, "names": [f"web-{number}" for number in range(1, 5)], "stopped_share": 0}
    site = open_site(fleet=fleet, workspaces=[{"workspace": {"name": name}, **changes.get(name, {})} for name in NAMES])
    del site.environment["PHALA_CLOUD_API_KEY"]
    for key, workspace in site.sim.workspaces.by_key.items():
        name = workspace.world.settings.workspace.name.upper()
        site.environment |= {f"KEY_{name}": key, f"ORCHESTRATOR_WORKSPACES__{name}__API_KEY_ENV": f"KEY_{name}"}
    return site


def playbook(site: Site, *, max_targets: int = 12, rate: float = 200, burst: int = 50) -> str:
    """Write a playbook for all workspaces."""
    return site.playbook(more=f"}}\nworkspaces: ['*']\nfleet: {{max_targets: {max_targets}", rate=rate, burst=burst)


def count_stops(site: Site) -> list[int]:
    """Return the effective stops of every CVM of all workspaces."""
    worlds = [workspace.world for workspace in site.sim.workspaces.by_key.values()]
    return [cvm.effective_stops for world in worlds for cvm in world.cvms]


def fleet_id(site: Site) -> str:
    (log,) = (site.state / "fleets").glob("*.jsonl")
    return log.stem


@pytest.fixture(scope="module")
def finished(run_all: RunAll) -> tuple[Site, Ended]:
    """A site after a fleet run."""

    def run(open_site: OpenSite) -> tuple[Site, Ended]:
        throttle = {"probability": 1, "operations": ["stop_cvm"], "limit": 2}
        site = open_fleet(open_site, us={"faults": {"throttle": throttle, "retry_after_seconds": 1}})
        return site, site.run("run", playbook(site), "--expect", "12", "--json")

    return run_all({"run": run})["run"]


def test_a_run_over_three_workspaces_stops_every_cvm_once(finished: tuple[Site, Ended]) -> None:
    site, ended = finished
    assert ended.code == 0, ended.err
    document = ended.document
    assert [each["workspace"] for each in document["workspaces"]] == [*NAMES]
    assert document["totals"]["counts"] == {"settled": 12}
    assert count_stops(site) == [1] * 12
    assert {line.get("workspace") for line in ended.logged} >= {*NAMES}
    assert document["fleet_id"] == fleet_id(site)


def test_a_rate_limit_of_one_workspace_is_on_record_there_alone_and_the_summary_counts_its_requests(
    finished: tuple[Site, Ended],
) -> None:
    site, ended = finished
    workspaces = {each["workspace"]: each for each in ended.document["workspaces"]}
    logs = {name: (site.runs / f"{each['run_id']}.jsonl").read_text() for name, each in workspaces.items()}
    deferred = {name: log.count('"event":"action.deferred"') for name, log in logs.items()}
    assert deferred == {"eu": 0, "us": 2, "ap": 0}
    assert ended.document["totals"]["requests"] == 14
    assert [each["counts"] for each in workspaces.values()] == [{"settled": 4}] * 3


def test_the_commands_for_logs_take_the_id_of_a_fleet_run(finished: tuple[Site, Ended]) -> None:
    site, _ = finished
    name = fleet_id(site)
    shown, report, verified, told, exported, reconciled, resumed, listed, restored = site.run_each(
        ("show", name),
        ("report", name, "--format", "html"),
        ("audit", "verify", name),
        ("audit", "show", name),
        ("audit", "export", name),
        ("reconcile", name, "--json"),
        ("resume", name),
        ("runs", "--json"),
        ("restore", name, "--json"),
    )
    assert "succeeded: 12 of 12 CVMs as planned in 3 workspaces (exit 0)" in shown.out
    assert all(f"Workspace {workspace}" in report.out for workspace in NAMES)
    assert (verified.code, f"{name}: agrees with the logs of its runs" in verified.out) == (0, True)
    assert "planned: 3 runs with 12 targets" in told.out
    assert len({json.loads(line)["labels"]["run_id"] for line in exported.out.splitlines()}) == 4
    assert [each["workspace"] for each in reconciled.document["workspaces"]] == [*NAMES]
    totals = [each["total"]["charged_usd"] for each in reconciled.document["workspaces"]]
    assert Decimal(reconciled.document["total"]["charged_usd"]) == sum(map(Decimal, totals))
    assert (resumed.code, "nothing to resume" in resumed.out) == (0, True)
    assert {run["workspace_name"] for run in listed.document} == {*NAMES}
    assert (restored.code, restored.document["totals"]["targets"]) == (3, 12)


def test_an_interrupted_fleet_run_is_resumed_as_a_whole(open_site: OpenSite) -> None:
    site = open_fleet(open_site)
    process = site.start("run", playbook(site, rate=4, burst=1), "--yes")
    until(lambda: sum(count_stops(site)) >= 3, seconds=20)
    process.send_signal(signal.SIGINT)
    ended = site.end(process)
    assert ended.code == 130
    name = fleet_id(site)
    assert f"orchestrator resume {name}" in ended.out
    run_id = next(site.runs.glob("*.jsonl")).stem
    single = site.run("resume", run_id, "--yes")
    assert (single.code, name in single.err) == (2, True)
    dry = site.run("resume", name, "--dry-run", "--json")
    assert (dry.code, len(dry.document["workspaces"])) == (0, 3)
    partly = site.run("resume", name, "--dry-run", "--json", "--skip-unreachable", "ap", env={"KEY_AP": None})
    assert (partly.code, len(partly.document["workspaces"])) == (0, 2), partly.err
    assert [each["workspace"] for each in partly.document["left_out"]] == ["ap"]
    resumed = site.run("resume", name, "--yes", "--json")
    assert resumed.code == 0, resumed.err
    assert count_stops(site) == [1] * 12
    assert site.run("audit", "verify", name).code == 0


def test_an_abandoned_fleet_run_is_finished(open_site: OpenSite) -> None:
    site = open_fleet(open_site)
    process = site.start("run", playbook(site, rate=4, burst=1), "--yes")
    until(lambda: sum(count_stops(site)) >= 3, seconds=20)
    process.send_signal(signal.SIGTERM)
    assert site.end(process).code == 143
    name = fleet_id(site)
    abandoned = site.run("abandon", name, "--reason", "wrong order", "--json")
    assert abandoned.code == 8, abandoned.err
    assert abandoned.document["exit_code"] == 8
    assert site.run("audit", "verify", name).code == 0


def test_an_unreachable_workspace_refuses_the_order_unless_skipped(open_site: OpenSite) -> None:
    site = open_fleet(open_site)
    file = playbook(site)
    wrong = {"KEY_US": "phak_wrong"}
    refused, skipped, one, twice, named, plan_file, by_id, no_key, without = site.run_each(
        ("plan", file),
        ("plan", file, "--skip-unreachable", "us", "--json"),
        ("plan", file, "--workspace", "eu", "--skip-unreachable", "eu"),
        ("plan", file),
        ("stop", "web-1", "--workspace", "*", "--yes"),
        ("plan", file, "-o", str(site.folder / "plan.json")),
        ("stop", "web-1", "cvm_abcdef", "--workspace", "*", "--yes"),
        ("plan", file),
        ("plan", file, "--skip-unreachable", "us", "--json"),
        envs=[wrong, wrong, {}, {"KEY_US": site.environment["KEY_EU"]}, {}, {}, {}, {"KEY_US": None}, {"KEY_US": None}],
    )
    assert (refused.code, "us: " in refused.err, "--skip-unreachable us" in refused.err) == (5, True, True)
    assert "check the API key in environment variable KEY_US (workspaces.us.api_key_env)" in refused.err
    assert skipped.code == 0, skipped.err
    assert [each["workspace"] for each in skipped.document["left_out"]] == ["us"]
    assert len(skipped.document["workspaces"]) == 2
    assert (one.code, "--skip-unreachable needs several workspaces" in one.err) == (2, True)
    assert (twice.code, "have the same API key" in twice.err) == (2, True)
    assert (named.code, "orchestrator stop --name web-1 --workspace '*'" in named.err) == (2, True)
    assert (by_id.code, "`orchestrator cvms --workspace '*'` lists the workspace of every CVM" in by_id.err) == (
        2,
        True,
    )
    assert (no_key.code, "or leave out: --skip-unreachable us" in no_key.err) == (2, True)
    assert (without.code, without.document["left_out"][0]["workspace"]) == (0, "us"), without.err
    assert "KEY_US is not set" in without.document["left_out"][0]["reason"]
    assert (plan_file.code, "--out writes the plan of one workspace" in plan_file.err) == (2, True)
    run = site.run("run", file, "--yes", "--skip-unreachable", "us", env=wrong)
    assert run.code == 6
    assert "left out" in run.out


def test_a_guard_of_the_total_and_a_wrong_number_refuse_the_order(open_site: OpenSite) -> None:
    site = open_fleet(open_site)
    file = playbook(site, max_targets=11)
    guarded, unexpected, silent = site.run_each(
        ("run", file, "--yes", "--json"),
        ("stop", "--name", "web-*", "--workspace", "*", "--expect", "4"),
        ("stop", "--name", "web-*", "--workspace", "*"),
    )
    assert guarded.code == 3
    assert "max_targets" in guarded.fault["message"]
    assert (unexpected.code, "--expect 4, but the plan has 12 targets" in unexpected.err) == (3, True)
    assert (silent.code, "12 CVMs of 12 will be stopped (forced), in 3 workspaces" in silent.out) == (3, True)
    assert count_stops(site) == [0] * 12


def ask(site: Site, *, more: str = "") -> str:
    """Write a playbook with a question before all stops."""
    file = site.folder / "ask.yaml"
    step = "{name: look, action: pause, question: Dashboards green, timeout: 1m}"
    file.write_text(
        f"name: ask\nworkspaces: ['*']\n{more}steps:\n  - {step}\n  - {{action: stop, select: {{all: true}}}}\n"
    )
    return str(file)


def count_questions(site: Site) -> int:
    """Count the questions in the logs of all runs."""
    return sum(log.read_bytes().count(b'"event":"approval.requested"') for log in site.runs.glob("*.jsonl"))


def test_the_questions_of_all_runs_are_answered_at_once(open_site: OpenSite) -> None:
    site = open_fleet(open_site)
    process = site.start("run", ask(site), "--yes")
    until(lambda: count_questions(site) == 3, seconds=20)
    assert site.run("runs").out.count("asks until") == 3
    name = fleet_id(site)
    unsure, unknown, one = site.run_each(
        ("approve", name),
        ("approve", name, "--workspace", "asia", "--yes"),
        ("approve", name, "--workspace", "eu", "--yes"),
    )
    assert (unsure.code, "step 'look' in 3 runs: workspaces eu, us, ap" in unsure.err) == (3, True)
    assert "Dashboards green" in unsure.err
    assert (unknown.code, "matches no workspace of this fleet run" in unknown.err) == (2, True)
    assert (one.code, one.out) == (0, "Approved and recorded: 1 run continues.\n")
    rest = site.run("approve", name, "--yes", "--json", "--comment", "seen")
    assert rest.code == 0, rest.err
    answered = [(each["workspace"], each["answer"], each["comment"]) for each in rest.document["workspaces"]]
    assert answered == [("us", "approved", "seen"), ("ap", "approved", "seen")]
    assert site.end(process).code == 0
    assert count_stops(site) == [1] * 12
    late = site.run("approve", name, "--yes", "--json")
    assert (late.code, late.fault["code"]) == (3, "not_asked")


def test_the_answer_to_one_run_counts_alone_and_a_killed_fleet_run_asks_the_others_again(open_site: OpenSite) -> None:
    """The canary workspace asks first; killed at the questions of the others; one of both is refused then."""
    site = open_fleet(open_site)
    process = site.start("run", ask(site, more="fleet: {first: us}\n"), "--yes")
    until(lambda: count_questions(site) == 1, seconds=20)
    name = fleet_id(site)
    (canary,) = (row for row in site.run("runs", "--json").document if row["question"])
    assert (canary["workspace_name"], canary["next"]) == ("us", f"orchestrator approve {canary['run_id']}")
    assert site.run("approve", canary["run_id"], "--yes").code == 0
    until(lambda: count_questions(site) == 3, seconds=20)
    assert sum(count_stops(site)) == 4
    process.kill()
    process.communicate()
    dead, single = site.run_each(("approve", name, "--yes"), ("approve", canary["run_id"], "--yes"))
    assert (dead.code, f"orchestrator resume {name}" in dead.err) == (3, True), dead.err
    assert (single.code, "the run is finished" in single.err) == (3, True)
    process = site.start("resume", name, "--yes", "--json")
    until(lambda: count_questions(site) == 5, seconds=20)
    refused = site.run("approve", name, "--workspace", "ap", "--refuse", "--yes")
    assert (refused.code, refused.out) == (0, "Refused and recorded: 1 run ends.\n")
    assert site.run("approve", name, "--yes").code == 0
    ended = site.end(process)
    runs = [(each["workspace"], each["exit_code"], each["counts"]) for each in ended.document["workspaces"]]
    assert runs == [("eu", 0, {"settled": 4}), ("us", 0, {"settled": 4}), ("ap", 3, {"not_sent": 4})]
    assert (ended.code, ended.document["totals"]["counts"]) == (8, {"settled": 8, "not_sent": 4})
    assert site.run("audit", "verify", name).code == 0
    assert sorted(count_stops(site)) == [0] * 4 + [1] * 8
