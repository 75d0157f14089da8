"""The playbooks that come with it, run against a simulated cloud that lives as long as the command."""

from pathlib import Path

from tests.e2e.desk import Desk

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
QUICK = ("--set", "settle.recheck_after=0.3", "--simulate", "--json")


def test_the_three_playbooks_do_what_they_promise_on_a_simulated_cloud(desk: Desk) -> None:
    planned = desk.run("plan", str(PLAYBOOKS / "emergency-stop-teepod.yaml"), "--var", "teepod=prod-1", *QUICK)
    app_id = planned.document["targets"][0]["cvm"]["app_id"]
    chosen = {
        "emergency-stop-teepod": ("--var", "teepod=prod-1"),
        "incident-contain-app": ("--var", f"app_id=0x{app_id}"),
        "nightly-cost-stop": (),
    }
    processes = {
        name: desk.start("run", str(PLAYBOOKS / f"{name}.yaml"), "--yes", *args, *QUICK)
        for name, args in chosen.items()
    }
    targets = {}
    for name, process in processes.items():
        ended = desk.end(process)
        targets[name] = [target["cvm"] for target in ended.document["targets"]]
        assert (ended.code, ended.document["counts"]) == (0, {"settled": len(targets[name])})
    assert {cvm["teepod"] for cvm in targets["emergency-stop-teepod"]} == {"prod-1"}
    assert {cvm["app_id"] for cvm in targets["incident-contain-app"]} == {app_id}
    assert {cvm["name"].split("-")[0] for cvm in targets["nightly-cost-stop"]} == {"dev", "staging", "batch"}
    assert not any(cvm["name"].startswith(("kms", "gateway")) for cvms in targets.values() for cvm in cvms)
    assert desk.stops == []


def test_each_of_them_is_valid(desk: Desk) -> None:
    files = sorted(map(str, PLAYBOOKS.glob("*.yaml")))
    ended = desk.run("validate", *files)
    assert (ended.code, ended.out.count(": ok, 1 step")) == (0, 3)
