"""The playbooks that come with it, run against a simulated cloud that lives as long as the command."""

from pathlib import Path

from orchestrator.simulator.instance_types import INSTANCE_TYPES
from tests.e2e.conftest import OpenSite
from tests.e2e.site import Site, until

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
GPU = next(kind.id for kind in INSTANCE_TYPES if kind.gpus)
QUICK = ("--set", "settle.recheck_after=0.3", "--simulate", "--json")


def test_three_playbooks_do_what_they_promise_on_a_simulated_cloud(site: Site) -> None:
    planned = site.run("plan", str(PLAYBOOKS / "emergency-stop-teepod.yaml"), "--var", "teepod=prod-1", *QUICK)
    app_id = planned.document["targets"][0]["cvm"]["app_id"]
    chosen = {
        "emergency-stop-teepod": ("--var", "teepod=prod-1"),
        "incident-contain-app": ("--var", f"app_id=0x{app_id}"),
        "nightly-cost-stop": (),
    }
    processes = {
        name: site.start("run", str(PLAYBOOKS / f"{name}.yaml"), "--yes", *args, *QUICK)
        for name, args in chosen.items()
    }
    targets = {}
    for name, process in processes.items():
        ended = site.end(process)
        targets[name] = [target["cvm"] for target in ended.document["targets"]]
        assert (ended.code, ended.document["counts"]) == (0, {"settled": len(targets[name])})
    assert {cvm["teepod"] for cvm in targets["emergency-stop-teepod"]} == {"prod-1"}
    assert {cvm["app_id"] for cvm in targets["incident-contain-app"]} == {app_id}
    assert {cvm["name"].split("-")[0] for cvm in targets["nightly-cost-stop"]} == {"dev", "staging", "batch"}
    assert not any(cvm["name"].startswith(("kms", "gateway")) for cvms in targets.values() for cvm in cvms)
    assert site.stops == []


def test_each_of_them_is_valid(site: Site) -> None:
    files = sorted(map(str, PLAYBOOKS.glob("*.yaml")))
    ended = site.run("validate", *files)
    assert (ended.code, ended.out.count(": ok, ")) == (0, len(files))


def test_the_curfew_shuts_down_gpu_cvms_that_are_up_longer_and_reads_no_other_uptime(open_site: OpenSite) -> None:
    site = open_site(timing={"stop_seconds": [0.05, 0.2], "shutdown_seconds": [0.05, 0.2]})
    world = site.sim.world
    up_long = [world.add_cvm(f"gpu-{number}", instance_type=GPU, now=-13 * 3600.0) for number in range(2)]
    world.add_cvm("gpu-young", instance_type=GPU, now=-3600.0)
    world.add_cvm("gpu-down", instance_type=GPU, now=-13 * 3600.0, status="stopped")
    world.add_cvm("gpu-keep", instance_type=GPU, now=-13 * 3600.0)
    ended = site.run("run", str(PLAYBOOKS / "gpu-curfew.yaml"), "--yes", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 2})
    assert {each["cvm"]["id"] for each in ended.document["targets"]} == {cvm.hashid for cvm in up_long}
    young = site.run("plan", str(PLAYBOOKS / "gpu-curfew.yaml"), "--var", "longest=30m", "--json").document
    assert [each["cvm"]["name"] for each in young["targets"]] == ["gpu-young"]
    assert young["unknown_facts"] == {}


def test_the_spare_of_an_incident_is_shut_down_once_a_person_says_that_its_evidence_is_secured(
    open_site: OpenSite,
) -> None:
    site = open_site(timing={"stop_seconds": [0.05, 0.2], "shutdown_seconds": [0.05, 0.2]})
    app = max(site.sim.world.apps.values(), key=lambda each: len(each.members))
    replicas = [cvm.name for cvm in app.members]
    playbook = str(PLAYBOOKS / "incident-contain-app.yaml")
    variables = ("--var", f"app_id={app.app_id}", "--var", f"spare={replicas[0]}")
    process = site.start("run", playbook, "--expect", str(len(replicas)), "--json", *variables)
    until(lambda: any(site.runs.glob("*.jsonl")) and site.events()["approval.requested"])
    assert {name for name, stops in site.effective.items() if stops} == set(replicas[1:])
    assert site.run("approve", site.log.stem, "--yes", "--step", "evidence").code == 0
    ended = site.end(process)
    assert (ended.code, ended.document["counts"]) == (0, {"settled": len(replicas)})
    (spare,) = [target for target in ended.document["targets"] if target["step"] == "spare"]
    assert (spare["cvm"]["name"], spare["action"], spare["escalated"]) == (replicas[0], "shutdown", False)


def test_a_checkout_finds_the_playbooks_by_name_from_any_folder(site: Site) -> None:
    ended = site.run("validate", "emergency-stop-teepod")
    assert (ended.code, str(PLAYBOOKS) in ended.out) == (0, True)
