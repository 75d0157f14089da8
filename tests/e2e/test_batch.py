"""`dispatch: batch` with the installed command: few requests, and the same end for every CVM."""

import json
from typing import Any

from tests.e2e.conftest import OpenSite
from tests.e2e.site import NAMES, Site

BATCH = ", dispatch: batch"


def batches(site: Site) -> int:
    """How many batches of stops the server received."""
    return sum(request.operation == "batch_stop" for request in site.sim.requests)


def test_a_fleet_is_stopped_with_one_request_and_the_log_tells_of_each_cvm(open_site: OpenSite) -> None:
    site = open_site()
    ended = site.run("run", site.playbook(more=BATCH), "--yes", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8}), ended.err
    assert (batches(site), site.stops) == (1, [])
    assert site.effective == dict.fromkeys(NAMES, 1)
    events = site.events()
    assert (events["action.intent"], events["action.accepted"], events["target.settled"]) == (8, 8, 8)
    assert {record["batch"] for record in site.records if record["event"] == "action.intent"} == {1}
    assert ended.document["billing"]["triggered"] == 8
    assert site.run("audit", "verify", str(site.log)).code == 0


def test_a_rented_cvm_is_refused_by_name_while_the_others_settle(open_site: OpenSite) -> None:
    behaviour: list[dict[str, Any]] = [{"kind": "refuses", "names": ["web-3"]}]
    site = open_site(behaviour=behaviour)
    ended = site.run("run", site.playbook(more=BATCH), "--yes", "--json")
    assert (ended.code, ended.document["counts"]) == (6, {"settled": 7, "refused": 1}), ended.err
    assert {name: number for name, number in site.effective.items() if number != 1} == {"web-3": 0}


def test_a_batch_whose_answer_can_not_be_read_is_settled_by_status(open_site: OpenSite) -> None:
    site = open_site(faults={"wrong_shape": {"probability": 1, "operations": ["batch_stop"], "limit": 1}})
    ended = site.run("run", site.playbook(more=BATCH), "--yes", "--json")
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8}), ended.err
    assert site.effective == dict.fromkeys(NAMES, 1)


def test_the_settings_say_how_stops_are_sent_where_the_playbook_does_not(open_site: OpenSite) -> None:
    site = open_site()
    plan = site.run("plan", site.playbook(), "--json", env={"ORCHESTRATOR_RATE__DISPATCH": "batch"})
    assert json.loads(plan.out)["estimate"]["requests"] == 4
    ended = site.run("run", site.playbook(), "--yes", env={"ORCHESTRATOR_RATE__DISPATCH": "batch"})
    assert (ended.code, batches(site)) == (0, 1)
