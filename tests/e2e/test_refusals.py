"""Exits 3, 4 and 5: a guard or a person says no, nothing is selected, there is no cloud. Nothing is changed."""

import socket

import pytest

from tests.e2e.site import Site


def test_a_guard_refuses_a_plan_with_its_numbers(site: Site) -> None:
    guards = '{max_targets: 7, max_percent: "99%"}'
    file = site.playbook(guards=guards)
    for ended in site.run_each(("plan", file, "--json"), ("run", "--yes", file, "--json")):
        assert (ended.code, ended.fault["code"]) == (3, "guard")
        assert "8 targets, at most 7 allowed" in ended.fault["message"]
        assert "8 targets are 100.0% of the 8 CVMs of the workspace that are up now" in ended.fault["message"]
        assert len(ended.document["targets"]) == 8
        assert [check["ok"] for check in ended.document["guards"]] == [False, False]
    site.assert_nothing_happened()


def test_a_freeze_refuses_a_plan_with_its_entry_until_it_is_broken_with_a_reason(site: Site) -> None:
    file = site.playbook(guards="{not_during: {timezone: Europe/Berlin, on: [MON..SUN]}}")
    for ended in site.run_each(("plan", file, "--json"), ("run", "--yes", file, "--json")):
        assert (ended.code, ended.fault["code"]) == (3, "guard")
        assert "8 targets frozen with no end within a year (MON..SUN, Europe/Berlin)" in ended.fault["message"]
        assert ended.fault["hint"] == "wait for the end of the freeze, or add --break-freeze REASON"
        assert ended.document["warnings"][-1]["code"] == "freeze_always"
    assert site.run("run", "--yes", file, "--break-freeze", " ").code == 2
    site.assert_nothing_happened()
    ended = site.run("run", "--yes", file, "--break-freeze", "incident 4711", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})
    shown = site.run("audit", "show", ended.document["run_id"])
    assert "despite any freeze: incident 4711" in " ".join(shown.out.split())


def test_an_empty_variable_does_not_widen_a_select_to_everything(site: Site) -> None:
    file = site.folder / "prefix.yaml"
    steps = 'steps: [{action: stop, select: {name: ["${prefix}*"]}}]'
    file.write_text(f"name: x\nvars: {{prefix: {{required: true}}}}\n{steps}\n")
    ended = site.run("run", str(file), "--var", "prefix=", "--yes", "--json")
    assert (ended.code, ended.fault["code"]) == (2, "usage")
    assert "the variable 'prefix' has an empty value" in ended.fault["message"]
    site.assert_nothing_happened()


def test_without_a_yes_nothing_is_done(site: Site) -> None:
    answers = ((), ("--expect", "7"), ("--expect", "7", "--yes"))
    file = site.playbook()
    results = site.run_each(*(("run", file, "--json", *answer) for answer in answers))
    for ended, words in zip(
        results, ("add --yes, or --expect N", "orchestrator plan", "orchestrator plan"), strict=True
    ):
        assert (ended.code, ended.fault["code"]) == (3, "not_confirmed")
        assert words in ended.fault["hint"]
    site.assert_nothing_happened()


def test_what_is_protected_is_left_alone(site: Site) -> None:
    ended = site.run("run", site.playbook(guards="{protect: {name: [web-1, web-2]}}"), "--expect", "6", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 6})
    assert [name for name, stops in site.effective.items() if not stops] == ["web-1", "web-2"]


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ("{teepod: [alphaa]}", "no teepod 'alphaa'; known: alpha, beta"),
        ("{name: [wbe-1]}", "nearest known: web-1"),
        ("{name: ['*'], teepod: [alpha], exclude: {all: true}}", "orchestrator cvms"),
    ],
)
def test_a_select_that_matches_nothing_names_the_nearest_known(site: Site, select: str, words: str) -> None:
    ended = site.run("run", site.playbook(select), "--yes", "--json")
    assert (ended.code, ended.fault["code"]) == (4, "no_match")
    assert words in ended.fault["hint"]
    site.assert_nothing_happened()


def test_a_refused_key_is_told_apart_from_a_cloud_that_cannot_be_reached(site: Site) -> None:
    ended = site.run("run", site.playbook(), "--yes", "--json", env={"PHALA_CLOUD_API_KEY": "phak_revoked"})
    assert (ended.code, ended.fault["code"]) == (5, "cloud")
    assert "the API refuses the key: HTTP 401" in ended.fault["message"]
    assert "phak_revoked" not in ended.out + ended.err

    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    ended = site.run(
        "run", site.playbook(), "--yes", "--json", env={"PHALA_CLOUD_API_PREFIX": f"http://127.0.0.1:{port}/api/v1"}
    )
    assert (ended.code, ended.fault["code"]) == (5, "cloud")
    assert "the API can't be reached" in ended.fault["message"]
    site.assert_nothing_happened()


def test_an_inventory_that_cannot_be_read_ends_before_anything_is_sent(site: Site) -> None:
    site.sim.app.faults.force("redirect", operation="list_cvms_paginated")
    ended = site.run("run", site.playbook(), "--yes", "--json")
    assert (ended.code, "redirect to" in ended.fault["message"]) == (5, True)
    site.assert_nothing_happened()


def test_a_run_says_in_its_document_what_its_plan_warned_of(site: Site) -> None:
    file = site.playbook("{name: [web-1, wbe-2]}", guards="{protect: {name: [kmz-*]}}")
    plan, ended = site.run("plan", file, "--json"), site.run("run", file, "--yes", "--json")
    assert [each["code"] for each in plan.document["warnings"]] == ["selector_unmatched", "protect_unmatched"]
    assert ended.document["warnings"] == plan.document["warnings"]
    assert site.run("show", ended.document["run_id"], "--json").document["warnings"] == plan.document["warnings"]


def test_a_plan_with_nothing_to_do_needs_no_yes(site: Site) -> None:
    """All selected CVMs are down already: nobody is asked, and the run ends as with `--yes`."""
    file = site.playbook("{name: [web-1, web-2]}")
    assert site.run("run", file, "--yes").code == 0
    stops = len(site.stops)
    asked, wrong = site.run_each(("run", file), ("run", file, "--expect", "2", "--json"))
    assert (asked.code, "Nothing to do: 0 targets." in asked.out) == (0, True), asked
    assert "not confirmed" not in asked.out + asked.err
    assert (wrong.code, wrong.fault["code"]) == (3, "not_confirmed")
    assert len(site.stops) == stops
