"""Steps that follow one another: escalation, results that are taken up, limits of a step's own, with the command."""

from tests.e2e.conftest import OpenSite
from tests.e2e.site import NAMES, Site

SLOW = {"stop_seconds": [0.05, 0.2], "shutdown_seconds": [600, 600], "start_seconds": [0.05, 0.2]}
"""Guests that take ten minutes to shut down."""


def playbook(site: Site, text: str) -> str:
    """Write a playbook; returns its path."""
    file = site.folder / "runbook.yaml"
    file.write_text("name: runbook\nlimits: {requests_per_second: 200, burst: 50}\n" + text)
    return str(file)


def operations(site: Site) -> dict[str, list[str]]:
    """What was done to each CVM, by the server's own account."""
    return {cvm.name: [each.type for each in cvm.operations] for cvm in site.sim.world.cvms}


def test_a_guest_that_takes_too_long_has_its_power_pulled_and_the_rest_is_told_of_that(open_site: OpenSite) -> None:
    site = open_site(timing=SLOW)
    file = playbook(site, "steps: [{name: down, action: shutdown, select: {all: true}, escalate: {after: 1s}}]")
    ended = site.run("run", file, "--yes", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})
    assert {(each["action"], each["escalated"]) for each in ended.document["targets"]} == {("shutdown", True)}
    assert operations(site) == {name: ["shutdown", "power_off"] for name in NAMES}
    assert ended.document["billing"]["triggered"] == 8
    assert site.run("audit", "verify", site.log.stem).code == 0
    assert "8 CVMs force-stopped" in site.run("show", site.log.stem).out
    restored = site.run("restore", site.log.stem, "--expect", "8", "--json")
    assert restored.document["counts"] == {"settled": 8}


def test_a_later_step_takes_up_what_an_earlier_one_did_not_settle(open_site: OpenSite) -> None:
    site = open_site(timing=SLOW)
    file = playbook(
        site,
        """
steps:
  - {name: ask, action: shutdown, select: {all: true}, settle: {timeout: 1s}}
  - {name: tell, action: notify, message: pulling the power}
  - name: pull
    action: stop
    select: {result: {step: ask}, name: "web-*"}
    limits: {max_in_flight: 1}
""",
    )
    plan = site.run("plan", file, "--json")
    assert (len(plan.document["targets"]), plan.document["steps"][2]["at_most"]) == (8, 8)
    ended = site.run("run", file, "--expect", "8", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})
    assert [(each["step"], each["outcome"]) for each in ended.document["targets"]] == [
        *[("ask", "unsettled")] * 8,
        *[("pull", "settled")] * 8,
    ]
    assert {each["taken_up_by"] for each in ended.document["targets"][:8]} == {"pull"}
    assert [record["message"] for record in site.records if record["event"] == "notice"] == ["pulling the power"]
    assert "8 CVMs of step 'ask' in step 'pull'" in site.run("show", site.log.stem).out


def test_a_runbook_that_contradicts_itself_is_refused_with_its_line(open_site: OpenSite) -> None:
    site = open_site()
    for steps, line, words in (
        ("  - {action: stop, select: {result: {step: later}}}\n", 4, "no step 'later' before this one acts on CVMs"),
        ("  - {action: stop, select: {all: true}, escalate: {after: 1m}}\n", 4, "`escalate` needs `action: shutdown`"),
        ("  - {action: pause, question: now}\n", 3, "no step acts on CVMs"),
        ("  - {action: pause}\n", 4, "the key 'question' is missing in steps[0]"),
        ("  - {action: notify, message: x, select: {all: true}}\n", 4, "unknown key 'select' in steps[0]"),
        ("  - {action: halt, select: {all: true}}\n", 4, "steps[0].action must be 'stop', 'shutdown'"),
    ):
        ended = site.run("validate", playbook(site, f"steps:\n{steps}"), "--json")
        assert (ended.code, ended.document["error"]["line"]) == (2, line)
        assert words in ended.document["error"]["message"]
