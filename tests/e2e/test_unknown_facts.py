"""List entries without an app or a teepod, beside a protection that needs them."""

import pytest

from orchestrator.simulator.settings import VERSIONS
from tests.e2e.conftest import OpenSite
from tests.e2e.site import Site

BARE = {"web-1", "web-4"}
EACH_SHAPE = pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])


def site_with(open_site: OpenSite, kind: str, version: str) -> Site:
    """A site before a fleet of which some CVMs lack facts in the lists."""
    site = open_site(behaviour=[{"kind": kind, "names": sorted(BARE)}])
    site.environment["ORCHESTRATOR_CLOUD__API_VERSION"] = version
    return site


@EACH_SHAPE
def test_a_cvm_whose_detail_says_where_it_runs_is_protected_or_stopped_by_that(
    open_site: OpenSite, version: str
) -> None:
    site = site_with(open_site, "unlisted_facts", version)
    on_alpha = {cvm.name for cvm in site.sim.world.cvms if cvm.teepod.name == "alpha"}
    assert on_alpha & BARE
    assert BARE - on_alpha
    file = site.playbook(guards="{protect: {teepod: [alpha], app_id: [00ff]}}")
    ended = site.run("run", file, "--yes", "--json")
    assert (ended.code, list(ended.document["counts"])) == (0, ["settled"])
    assert {name for name, stops in site.effective.items() if not stops} == on_alpha


@EACH_SHAPE
@pytest.mark.parametrize(
    ("select", "guards", "needed_by"),
    [
        ("{all: true}", "{protect: {teepod: [nowhere]}}", "protect"),
        ("{all: true, exclude: {app_id: [00ff]}}", "{}", "exclude"),
    ],
)
def test_a_cvm_of_which_the_fact_stays_unknown_is_left_alone_and_the_run_ends_with_6(
    open_site: OpenSite, version: str, select: str, guards: str, needed_by: str
) -> None:
    site = site_with(open_site, "unknown_facts", version)
    file = site.playbook(select, guards=guards)
    plan = site.run("plan", file, "--json")
    assert plan.code == 0
    left = {each["cvm"]["name"]: (each["code"], each["needed_by"]) for each in plan.document["skipped"]}
    assert left == dict.fromkeys(BARE, ("fact_unknown", needed_by))
    ended = site.run("run", file, "--yes", "--json")
    assert (ended.code, ended.document["exit_code"], ended.document["counts"]) == (6, 6, {"settled": 6})
    assert {each["cvm"]["name"] for each in ended.document["skipped"]} == BARE
    assert {name for name, stops in site.effective.items() if not stops} == BARE
    shown = site.run("show", ended.document["run_id"])
    assert "skipped" in shown.out


def test_nothing_to_do_but_for_cvms_of_unknown_facts_is_no_success(open_site: OpenSite) -> None:
    """Nobody is asked, since no CVM is a target; the exit code still tells of the CVMs left alone."""
    site = site_with(open_site, "unknown_facts", VERSIONS[-1])
    select = f"{{name: [{', '.join(sorted(BARE))}]}}"
    ended = site.run("run", site.playbook(select, guards="{protect: {teepod: [nowhere]}}"))
    assert (ended.code, "Nothing to do" in ended.out) == (6, True), ended
    assert site.stops == []
