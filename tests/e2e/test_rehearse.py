"""Rehearsals on the command line: they foretell real runs, change nothing, and leave nothing behind."""

import json
from datetime import datetime
from typing import Any

import pytest

from orchestrator.rehearsal.rehearse import CHANGING
from tests.e2e.conftest import OpenSite
from tests.e2e.site import Site

WAVES = """\
name: waves
limits: {requests_per_second: RATE, burst: 2}
steps:
  - {action: stop, select: {name: "web-*"}, waves: [1, "50%", "100%"], soak: SOAK, order_by: name}
"""


def foretell_and_run(site: Site, rate: float, soak: str, settle: str) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Rehearse a playbook, then carry it out; returns both documents, and the seconds of the run."""
    (site.folder / "waves.yaml").write_text(WAVES.replace("RATE", str(rate)).replace("SOAK", soak))
    assert site.run("cvms", "--save", "fleet.json").code == 0
    command = ("rehearse", "waves.yaml", "--inventory", "fleet.json", "--settle", settle, "--json")
    foretold = site.run(*command, env={"PHALA_CLOUD_API_KEY": None})
    assert foretold.code == 0, foretold.err
    site.assert_nothing_happened()
    ended = site.run("run", "waves.yaml", "--yes", "--json")
    first, last = (datetime.fromisoformat(site.records[place]["ts"]) for place in (0, -1))
    return foretold.document, ended.document, (last - first).total_seconds()


def assert_foretold(site: Site, foretold: dict[str, Any], real: dict[str, Any]) -> None:
    """Check that outcomes and changing requests came as foretold."""
    assert (real["exit_code"], real["counts"]) == (foretold["exit_code"], foretold["counts"])
    sent = [each for each in site.sim.requests if each.operation in CHANGING]
    assert len(sent) == foretold["requests"]["changing"]


def test_a_rehearsal_foretells_a_run(open_site: OpenSite) -> None:
    site = open_site(timing={"stop_seconds": [0.3, 0.3]})
    foretold, real, seconds = foretell_and_run(site, 20, "0.5s", "0.3s")
    assert_foretold(site, foretold, real)
    assert foretold["seconds"] <= seconds + 0.5
    assert foretold["seconds"] == pytest.approx(seconds, abs=3)  # a busy machine takes its time


@pytest.mark.soak
def test_a_rehearsal_foretells_a_run_of_a_minute_within_three_percent(open_site: OpenSite) -> None:
    fleet = {"cvms": 40, "seed": 3, "names": [f"web-{number}" for number in range(40)], "stopped_share": 0}
    site = open_site(fleet={**fleet, "rental_share": 0.1}, timing={"stop_seconds": [4, 4]})
    foretold, real, seconds = foretell_and_run(site, 2, "15s", "4s")
    assert seconds > 60
    assert_foretold(site, foretold, real)
    assert foretold["seconds"] == pytest.approx(seconds, rel=0.03)


def test_a_rehearsal_of_the_live_fleet_only_reads_and_leaves_nothing(site: Site) -> None:
    file = site.playbook()
    json_end, text, page = site.run_each(
        ("rehearse", file, "--json"),
        ("rehearse", file, "--faults", "outage", "--seeds", "2"),
        ("rehearse", file, "-o", "page.html"),
    )
    assert (json_end.code, json_end.document["counts"]) == (0, {"settled": 8})
    assert (json_end.err, json_end.document["rehearsal"]) == ("", True)
    assert text.out.startswith("Rehearsal of everything  2 seeds\n")
    assert page.code == 0
    html = (site.folder / "page.html").read_text()
    assert "<h1>Rehearsal of" in html
    assert html.count("(rehearsal)</h2>") >= 7
    assert {each.method for each in site.sim.requests} | {each.operation for each in site.sim.requests} <= {
        *("GET", "POST", "list_cvms_paginated", "status_batch", "current_user", "instance_types")
    }
    assert not any(each.effect for each in site.sim.requests)
    assert not site.state.exists()


def test_bad_input_ends_with_2_and_no_match_with_4(site: Site) -> None:
    file = site.playbook()
    nothing = str(site.folder / "nothing.yaml")
    (site.folder / "nothing.yaml").write_text(
        site.folder.joinpath("playbook.yaml").read_text().replace("all: true", "name: zzz")
    )
    assert site.run("cvms", "--save", "fleet.json").code == 0
    saved = json.loads((site.folder / "fleet.json").read_text())
    (site.folder / "later.json").write_text(json.dumps({**saved, "version": 2}))
    (site.folder / "faults.yaml").write_text("version: 1\nteepod_down: [alphb]\n")
    later, teepod, empty, both = site.run_each(
        ("rehearse", file, "--inventory", "later.json", "--json"),
        ("rehearse", file, "--inventory", "fleet.json", "--faults", "./faults.yaml", "--json"),
        ("rehearse", nothing, "--inventory", "fleet.json", "--json"),
        ("rehearse", file, "--inventory", "fleet.json", "--seeds", "2", "--format", "html"),
    )
    assert later.fault["message"] == "the inventory file has version 2, this program reads 1"
    assert (teepod.fault["message"], teepod.fault["hint"]) == (
        *("teepod_down: the fleet has no teepod 'alphb'", "did you mean 'alpha'?"),
    )
    assert [each.code for each in (later, teepod, empty, both)] == [2, 2, 4, 2]
