"""Ad-hoc commands and narrowing, with the installed command and the simulator."""

import signal
from pathlib import Path

from tests.e2e.conftest import OpenSite
from tests.e2e.site import until


def test_ids_take_one_read_each_and_the_log_names_the_order(open_site: OpenSite) -> None:
    site = open_site()
    listed = site.run("cvms", "--json").document
    ids = [each["id"] for each in listed[:2]]
    before = len(site.sim.requests)
    ended = site.run("stop", ids[0], listed[1]["vm_uuid"], ids[0], "--expect", "2", "--json")
    assert ended.code == 0, ended.err
    operations = [each.operation or "" for each in list(site.sim.requests)[before:]]
    first_stop = operations.index("stop_cvm")
    assert not any("paginated" in each for each in operations)
    assert operations[:first_stop].count(operations[0]) == 2, operations
    assert sorted(site.stops) == sorted(ids)
    playbook = site.records[0]["playbook"]
    assert (playbook["name"], playbook["path"]) == ("ad-hoc stop", None)


def test_a_killed_ad_hoc_stop_is_resumed(open_site: OpenSite) -> None:
    site = open_site()
    process = site.start("stop", "--name", "web-*", "--exclude", "name=web-8", "--yes", "--set", "rate.burst=1")
    until(lambda: len(site.stops) >= 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    ended = site.run("resume", site.log.stem, "--yes", "--json")
    assert ended.code == 0, ended.err
    assert len(set(site.stops)) == 7


def test_a_narrowed_plan_file_is_carried_out_and_on_record(open_site: OpenSite, tmp_path: Path) -> None:
    site, file = open_site(), tmp_path / "one.plan"
    assert site.run("plan", site.playbook(), "--only", "name=web-1", "--out", str(file)).code == 0
    ended = site.run("run", "--plan", str(file), "--expect", "1", "--json")
    assert ended.code == 0, ended.err
    assert site.records[0]["narrowed"] == {"only": {"name": ["web-1"]}, "exclude": []}
    assert {each["code"] for each in site.records[1]["skipped"]} == {"excluded_by_option"}


def test_hints_name_the_command_for_the_next_step(open_site: OpenSite) -> None:
    site = open_site()
    unexpected = site.run("stop", "--name", "web-1", "--expect", "2")
    assert "check the targets with `orchestrator cvms`" in unexpected.err
    assert site.run("plan", site.playbook(), "--only", "name=web-1", "--out", "one.plan").code == 0
    for command in ("run", "plan", "validate"):
        wrong = site.run(command, "one.plan")
        assert (wrong.code, len(wrong.err.splitlines())) == (2, 2), wrong.err
        assert "this is a plan file, not a playbook" in wrong.err
        assert "orchestrator run --plan one.plan" in wrong.err
    no_keys = site.run("approve", "one.plan")
    assert (no_keys.code, "this is a plan file, but the settings have no approval.keys" in no_keys.err) == (2, True)
    assert "orchestrator run --plan one.plan" in no_keys.err
