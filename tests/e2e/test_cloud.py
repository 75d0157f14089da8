"""Clouds that are slow, throttled, old-fashioned or forgetful: the outcome is the same, and no CVM is stopped twice."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import Finished, OpenSite, RunAll
from tests.e2e.site import NAMES, Ended, Site

LEGACY = {"ORCHESTRATOR_CLOUD__API_VERSION": "2025-10-28"}
CLOUDS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "throttled": ({"limit": {"requests_per_second": 20, "burst": 4}}, {}),
    "legacy lists": ({}, LEGACY),
    "no status batch": ({"faults": {"batch_missing": 1}}, {}),
    "no status batch and legacy lists": ({"faults": {"batch_missing": 1}}, LEGACY),
    "small status batches": ({"faults": {"batch_cap": 3}}, {}),
    "uuids left out of answers": ({"faults": {"missing_uuids": 1}}, {}),
    "uuids without dashes": ({"api": {"uuid_dashes": False}}, {}),
    "lists with doubles": ({"faults": {"duplicates": 1}}, {}),
    "numbers for ids": ({"api": {"action_id": "integer"}}, {}),
    "no price list": ({"faults": {"error_before": {"probability": 1, "operations": ["instance_types"]}}}, {}),
    "answers of another shape": (
        {"faults": {"wrong_shape": {"probability": 1, "operations": ["stop_cvm"], "limit": 2}}},
        {},
    ),
    "pages instead of answers": (
        {"faults": {"not_json": {"probability": 1, "operations": ["stop_cvm"], "limit": 2}}},
        {},
    ),
}


def use(kind: str) -> Callable[[OpenSite], tuple[Site, Ended]]:
    """A run on a cloud of this kind."""
    sections, env = CLOUDS[kind]

    def run(open_site: OpenSite) -> tuple[Site, Ended]:
        site = open_site(**sections)
        return site, site.run("run", site.playbook(burst=4), "--yes", "--json", env=env)

    return run


@pytest.fixture(scope="module")
def runs(run_all: RunAll) -> Finished:
    """One run on each kind of cloud."""
    return run_all({kind: use(kind) for kind in CLOUDS})


@pytest.mark.parametrize("kind", CLOUDS)
def test_whatever_the_cloud_is_like_each_cvm_is_stopped_once_and_settles(runs: Finished, kind: str) -> None:
    site, ended = runs[kind]
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8}), ended.err
    assert site.effective == dict.fromkeys(NAMES, 1)
    if kind == "throttled":
        assert 429 in {request.status for request in site.sim.requests}
    if "legacy lists" in kind:
        assert {target["cvm"]["id"] for target in ended.document["targets"]} == {None}


def test_with_only_apps_selected_just_those_apps_are_read(open_site: OpenSite) -> None:
    site = open_site()
    app_id = site.sim.world.find_by_name("web-4").app.app_id
    ended = site.run("run", site.playbook(f"{{app_id: [0x{app_id.upper()}]}}"), "--expect", "1", "--json")
    assert (ended.code, site.effective["web-4"], sum(site.effective.values())) == (0, 1, 1)
    assert "list_cvms_paginated" not in {request.operation for request in site.sim.requests}


def test_where_no_answer_came_the_status_is_read_before_anything_is_sent_again(open_site: OpenSite) -> None:
    site = open_site()
    site.sim.app.faults.force("hang_before", operation="stop_cvm")
    ended = site.run("run", site.playbook(), "--yes", "--json", env={"ORCHESTRATOR_CLOUD__TIMEOUT": "0.5"})
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})
    assert site.effective == dict.fromkeys(NAMES, 1)
    ((twice, _),) = Counter(site.stops).most_common(1)
    first, second = (each.seq for each in site.sim.requests if each.cvm_hashid == twice)
    between = {each.operation for each in site.sim.requests if first < each.seq < second}
    assert (len(site.stops), "status_batch" in between) == (9, True)
