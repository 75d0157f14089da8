"""A run that finds the rate out, and the next one, which begins with what was found."""

import json
import re

import pytest

from tests.e2e.conftest import OpenSite
from tests.e2e.site import Ended, Site

LIMIT = 25
FLEET = {
    "cvms": 57,
    "seed": 3,
    "names": [f"first-{number}" for number in range(45)] + [f"second-{number}" for number in range(12)],
    "stopped_share": 0,
    "rental_share": 0,
}


def limited(open_site: OpenSite) -> Site:
    return open_site(fleet=FLEET, limit={"requests_per_second": LIMIT, "burst": 3})


def auto(site: Site, command: str, name: str, *options: str) -> Ended:
    playbook = site.playbook(f'{{name: ["{name}-*"]}}', rate="auto", burst=5)
    return site.run(command, playbook, *options)


def beginning(ended: Ended) -> float:
    """The rate that the plan says it begins at."""
    found = re.search(r"to\s+send\s+at\s+([\d.]+)\s+a\s+second\s+at\s+first", ended.out)
    assert found, ended.out
    return float(found[1])


def test_a_second_run_begins_with_what_the_first_one_learnt(open_site: OpenSite) -> None:
    site = limited(open_site)
    first = auto(site, "run", "first", "--yes")
    assert first.code == 0
    assert beginning(first) == 5
    assert any(each.status == 429 for each in site.sim.requests)
    file = site.state / "learnt.json"
    (entry,) = json.loads(file.read_text())["apis"].values()
    learnt = entry["rate"]["requests_per_second"]
    assert 0 < learnt <= LIMIT * 1.6  # how near is a matter of virtual time: a busy machine sends slower
    assert site.sim.api_key not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600

    second = auto(site, "run", "second", "--yes")
    assert second.code == 0
    assert beginning(second) == pytest.approx(0.97 * learnt, abs=0.06)
    assert set(site.effective.values()) == {1}


def test_a_damaged_file_is_left_out_with_a_line_in_the_log(open_site: OpenSite) -> None:
    site = limited(open_site)
    site.state.mkdir()
    file = site.state / "learnt.json"
    file.write_text('{"v": 1, "apis": {')
    ended = auto(site, "plan", "second")
    assert ended.code == 0
    assert beginning(ended) == 5
    assert [each["event"] for each in ended.logged] == ["learnt.left_out"]
    assert file.read_text() == '{"v": 1, "apis": {', "a plan changes nothing"


def test_a_fixed_rate_leaves_no_rate_behind(site: Site) -> None:
    ended = site.run("run", site.playbook(), "--yes", "--json")
    assert ended.code == 0
    (api,) = json.loads((site.state / "learnt.json").read_text())["apis"].values()
    assert (api["rate"], api["status_batch"], list(api["settle"])) == (None, None, ["stop"])


def test_how_many_statuses_one_request_may_ask_for_is_remembered_whatever_the_rate(open_site: OpenSite) -> None:
    site = open_site(fleet=FLEET, faults={"batch_cap": 20})
    assert site.run("run", site.playbook('{name: ["first-*"]}'), "--yes", "--json").code == 0
    (entry,) = json.loads((site.state / "learnt.json").read_text())["apis"].values()
    assert entry["rate"] is None
    assert entry["status_batch"]["size"] <= 20
    before = len(site.sim.requests)
    assert site.run("run", site.playbook('{name: ["second-*"]}'), "--yes", "--json").code == 0
    later = site.sim.requests[before:]
    assert [each.status for each in later if each.operation == "batch_status" and each.status != 200] == []


def test_a_simulated_run_neither_reads_nor_writes_it(site: Site) -> None:
    site.state.mkdir()
    file = site.state / "learnt.json"
    file.write_text("{")
    playbook = site.playbook('{name: ["dev-api-*"]}', rate="auto")
    ended = site.run("run", playbook, "--yes", "--json", "--simulate")
    assert ended.code == 0
    assert "learnt" not in ended.err
    assert file.read_text() == "{"
