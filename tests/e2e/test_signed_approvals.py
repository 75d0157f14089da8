"""Approved plans: without the signature of a second person, nothing is sent."""

import json
from pathlib import Path

from orchestrator.audit.keys import write_key_pair
from tests.e2e.site import Site, until
from tests.e2e.test_plan_file import made

PEOPLE = ("ann", "ben")


def with_keys(site: Site, more: str = "") -> str:
    """Make the keys of two people; return the path of the settings."""
    entries = []
    for name in PEOPLE:
        write_key_pair(site.folder / f"{name}.pem", site.folder / f"{name}.pub.pem")
        entries.append(f'{{name = "{name}", public_key_file = "{name}.pub.pem"}}')
    config = site.folder / "approval.toml"
    config.write_text(f"[approval]\nkeys = [{', '.join(entries)}]\n{more}")
    return str(config)


def test_a_plan_runs_once_after_the_approval_of_a_second_person(site: Site) -> None:
    config, plan = ("--config", with_keys(site)), made(site, "{teepod: [alpha]}")
    run = ("run", "--plan", plan.name, "--yes", *config)
    missing = site.run(*run, "--key", "ben.pem")
    assert (missing.code, "has 0 of 1 approval" in missing.err) == (3, True), missing.err
    document = site.run("approve", plan.name, "--key", "ann.pem", "--yes", "--json", *config).document
    assert (document["key_name"], document["approvals"]) == ("ann", 1)
    site.assert_nothing_happened()

    slow = {"ORCHESTRATOR_RATE__REQUESTS_PER_SECOND": "5", "ORCHESTRATOR_RATE__BURST": "1"}
    process = site.start(*run, "--key", "ben.pem", env=slow)
    until(lambda: site.stops)
    process.kill()
    process.communicate()
    again = site.run(*run, "--key", "ben.pem")
    assert (again.code, f"the approved plan was used by run {site.log.stem}" in again.err) == (3, True), again.err
    resumed = site.run("resume", site.log.stem, "--yes", "--json", *config)
    assert (resumed.code, resumed.document["counts"]) == (0, {"settled": 4}), resumed.err
    assert len(site.stops) == 4

    keys = ("--approval-keys", "ann.pub.pem", "--approval-keys", "ben.pub.pem")
    whole, shown = site.run_each(("audit", "verify", site.log.stem, *keys), ("audit", "show", site.log.stem))
    assert (whole.code, "approved by ann, start signed by ben" in whole.out) == (0, True), whole.out
    assert "approved by ann; start signed by ben" in " ".join(shown.out.split())


def test_whatever_has_no_approved_plan_is_refused_with_the_way_on(site: Site) -> None:
    config = ("--config", with_keys(site, 'exempt = ["nightly"]\n'))
    playbook = site.playbook()
    for command in (("run", playbook), ("stop", "web-1")):
        ended = site.run(*command, "--yes", *config)
        assert ended.code == 3, ended.err
        assert "the run needs an approved plan (approval.keys)" in ended.err
        assert "--out FILE" in ended.err
    site.assert_nothing_happened()
    exempt = Path(playbook)
    exempt.write_text(exempt.read_text().replace("name: everything", "name: nightly"))
    ran = site.run("run", playbook, "--yes", *config)
    assert ran.code == 0, ran.err
    assert site.records[0]["approval"] == {"exempt": True}


def test_damage_and_wrong_signatures_are_refused_with_file_and_line(site: Site) -> None:
    config, plan = ("--config", with_keys(site)), made(site, "{teepod: [alpha]}")
    approvals = plan.with_name(f"{plan.name}.approvals.jsonl")
    approve = ("approve", plan.name, "--key", "ann.pem", "--yes", *config)
    run = ("run", "--plan", plan.name, "--yes", "--key", "ben.pem", *config)
    assert site.run(*approve).code == 0
    line = json.loads(approvals.read_text())
    approvals.write_text(json.dumps({**line, "expires_at": "2031-01-01T00:00:00.000000Z"}) + "\n")
    wrong = site.run(*run)
    assert (wrong.code, f"{approvals.name}:1: the signature of this approval is wrong" in wrong.err) == (3, True), wrong
    approvals.write_text(json.dumps(line)[:50])
    damaged = site.run(*approve)
    assert (damaged.code, f"{approvals.name}:1: the file of approvals is damaged" in damaged.err) == (2, True), damaged
    write_key_pair(site.folder / "eve.pem", site.folder / "eve.pub.pem")
    unknown = site.run("approve", plan.name, "--key", "eve.pem", "--yes", *config)
    assert (unknown.code, "have no key of --key" in unknown.err) == (3, True), unknown.err
    site.assert_nothing_happened()


ASKS = """\
name: asks
steps:
  - {action: pause, name: look, question: "Is the disk copied?", timeout: 10m}
  - {action: stop, select: {teepod: [alpha]}, settle: {timeout: 10s}}
"""


def test_a_question_is_answered_with_a_signature_from_another_machine_through_the_file(site: Site) -> None:
    config = ("--config", with_keys(site))
    (site.folder / "asks.yaml").write_text(ASKS)
    assert site.run("plan", "asks.yaml", "--out", "asks.plan").code == 0
    assert site.run("approve", "asks.plan", "--key", "ann.pem", "--yes", *config).code == 0
    process = site.start("run", "--plan", "asks.plan", "--key", "ben.pem", "--yes", "--json", *config)
    file = site.folder / "asks.plan.approvals.jsonl"
    until(lambda: '"asked"' in file.read_text())
    unsigned = site.run("approve", site.log.stem, "--yes", *config)
    assert (unsigned.code, "a yes to this question needs a signature" in unsigned.err) == (3, True), unsigned.err
    elsewhere = {"ORCHESTRATOR_STATE_DIR": str(site.folder / "other-machine")}
    for place in (site.log.stem,), ("asks.plan", "--step", "look"):
        own = site.run("approve", *place, "--key", "ben.pem", "--yes", *config)
        assert (own.code, "this key started the run" in own.err) == (3, True), own.err
    wrong = site.run("approve", "asks.plan", "--step", "stop", "--key", "ann.pem", "--yes", *config, env=elsewhere)
    assert (wrong.code, "no question of step 'stop'" in wrong.err) == (3, True), wrong.err
    answered = site.run("approve", "asks.plan", "--step", "look", "--key", "ann.pem", "--yes", *config, env=elsewhere)
    assert (answered.code, "Is the disk copied?" in answered.err) == (0, True), answered.err
    ended = site.end(process)
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 4}), ended.err
    (record,) = (each for each in site.records if each["event"] == "approval.answered")
    assert (record["by"], record["via"], record["signatures"][0]["key_name"]) == ("ann", "signature", "ann")
    keys = ("--approval-keys", "ann.pub.pem", "--approval-keys", "ben.pub.pem")
    verified = site.run("audit", "verify", site.log.stem, *keys)
    assert (verified.code, "1 signed answer" in verified.out) == (0, True), verified.out
