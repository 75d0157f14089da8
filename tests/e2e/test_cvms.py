"""The inventory on the command line."""

import csv
import json

from dirty_equals import IsList

from tests.e2e.site import Site


def test_the_inventory_lists_every_replica_and_saves_it(site: Site) -> None:
    ended = site.run("cvms", "--json", "--save", "all.json", "--sort", "teepod")
    listed = ended.document
    assert (ended.code, {each["name"] for each in listed}) == (0, {cvm.name for cvm in site.sim.world.cvms})
    assert [each["teepod"] for each in listed] == sorted(each["teepod"] for each in listed)
    assert all(each["uptime_s"] is not None for each in listed if each["status"] == "running")
    saved = json.loads((site.folder / "all.json").read_text())
    assert (saved["format"], saved["version"]) == ("orchestrator-inventory", 1)
    assert [{key: entry[key] for key in listed[0]} for entry in saved["cvms"]] == IsList(*listed, check_order=False)


def test_options_choose_cvms_and_formats(site: Site) -> None:
    ended = site.run("cvms", "--name", "web-*", "--exclude", "name=web-1", "--format", "csv", "-o", "web.csv")
    assert (ended.code, ended.out) == (0, "")
    with (site.folder / "web.csv").open(newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert names == sorted(names)
    assert "web-1" not in names
    assert names
    text = site.run("cvms", "--status", "nonsense")
    assert (text.code, text.out) == (0, "0 CVMs\n")
    assert text.err.startswith("hint: no CVM of status 'nonsense'; known: ")


def test_wrong_options_end_with_2_and_a_refused_key_with_5(site: Site) -> None:
    assert site.run("cvms", "--gpus", "many").code == 2
    assert site.run("cvms", "--json", "--format", "csv").code == 2
    assert site.run("cvms", "--save", "-").code == 2
    same = site.run("cvms", "--save", "a.json", "-o", "./a.json")
    assert (same.code, "name the same file" in same.err) == (2, True)
    site.environment["PHALA_CLOUD_API_KEY"] = "phak_wrong"
    assert site.run("cvms").code == 5


def test_plan_inventory_makes_the_plan_of_the_cloud_without_a_key(site: Site) -> None:
    assert site.run("cvms", "--save", "all.json").code == 0
    file = site.playbook("{name: web-*, older_than: 1s}")
    live = site.run("plan", file, "--json").document
    site.environment["PHALA_CLOUD_API_KEY"] = ""
    offline = site.run("plan", file, "--inventory", "all.json", "--json")
    document = offline.document
    saved = document.pop("inventory")
    assert (offline.code, document) == (0, live)
    assert (saved["file"], saved["workspace"]) == ("all.json", "wks_simulated")
    text = site.run("plan", file, "--inventory", "all.json")
    assert text.out.startswith("From the inventory file all.json, read ")
    assert site.run("plan", file, "--inventory", "none.json").code == 2
    assert site.run("plan", file, "--inventory", "all.json", "--out", "plan.json").code == 2
    assert site.run("plan", "--restore", "last", "--inventory", "all.json").code == 2
