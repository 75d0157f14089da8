"""Rehearsals: the end of a run by faults, deaths, answers and limits, foretold by the real engine."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import pytest

from orchestrator.errors import NoMatchError
from orchestrator.outcome import Exit
from orchestrator.playbook.keep import KeepEntry
from orchestrator.rehearsal.fleet import Fleet
from orchestrator.runs.inventory_file import SavedInventory
from orchestrator.runs.offline_plan import plan_offline
from tests.rehearsal.orders import READ_AT, make_cvm, make_order, run_order

STOP = {"action": "stop", "select": {"all": True}}
ASK = {"action": "pause", "question": "go on?", "timeout": "2h"}


def test_a_rehearsal_foretells_outcomes_requests_and_times() -> None:
    result, found = run_order(make_order(cvms=20))
    assert (result["rehearsal"], result["exit_code"], result["counts"]) == (True, 0, {"settled": 20})
    assert result["requests"]["changing"] == 20
    assert 2 < result["down"]["p50"] <= result["down"]["p90"] <= result["down"]["p100"] <= result["seconds"] < 12
    assert found.state is not None
    assert found.state.is_simulated


def test_the_same_seed_gives_the_same_result_and_another_seed_another() -> None:
    order = make_order(faults={"faults": {"error_after": 0.3}, "cvms": {"slow": 0.2}})
    assert run_order(order)[0] == run_order(order)[0]
    assert run_order(order)[0]["seconds"] != run_order(order, seed=1)[0]["seconds"]


def test_an_hour_of_waves_takes_no_real_hour() -> None:
    result, _ = run_order(make_order([{**STOP, "waves": [1, "50%", "100%"], "soak": "30m"}]))
    assert [wave["targets"] for wave in result["waves"]] == [1, 5, 6]
    assert result["waves"][1]["first_s"] == pytest.approx(result["waves"][0]["settled_s"] + 1800, abs=5)
    assert 3600 < result["seconds"] < 3700


@pytest.mark.parametrize(
    ("answer", "code", "counts"),
    [("yes", Exit.OK, {"settled": 12}), ("no", Exit.GUARD, {"not_sent": 12}), ("none", Exit.GUARD, {"not_sent": 12})],
)
def test_questions_are_answered_as_ordered(answer: Any, code: Exit, counts: dict[str, int]) -> None:  # noqa: ANN401
    result, _ = run_order(make_order([ASK, STOP], answer=answer))
    assert (result["exit_code"], result["counts"]) == (code, counts)
    assert result["questions"][0]["answer"] == {"yes": "approved", "no": "refused", "none": "timed_out"}[answer]
    assert (result["seconds"] >= 7200) == (answer == "none")


def test_a_killed_run_is_resumed_at_once_and_stops_each_cvm_once() -> None:
    calm, _ = run_order(make_order(cvms=30, settle="5s"))
    result, found = run_order(make_order(cvms=30, settle="5s", faults={"kill_at": ["1s", "4s"]}))
    assert (result["kills"], result["counts"], result["exit_code"]) == (2, {"settled": 30}, 0)
    assert result["requests"]["changing"] in {30, 31}  # a request cut off by the death may be sent again
    assert result["seconds"] >= calm["seconds"]
    assert found.state is not None
    assert found.state.events["run.resumed"] == 2


def test_unknown_facts_stay_unknown_over_a_resume() -> None:
    order = make_order(cvms=30, settle="5s", faults={"kill_at": "1s"})
    unknown: list[dict[str, Any]] = [
        {"app_id": None},
        {"teepod": None, "teepod_id": None},
        {"teepod_id": None},
        {"id": None},
        {"vm_uuid": None},
    ]
    cvms = (
        replace(cvm, ref=replace(cvm.ref, **unknown[number % len(unknown)]))
        for number, cvm in enumerate(order.fleet.cvms)
    )
    result, _ = run_order(replace(order, fleet=replace(order.fleet, cvms=tuple(cvms))))
    assert (result["kills"], result["counts"]) == (1, {"settled": 30})


def test_an_outage_delays_the_run_by_its_length() -> None:
    faults = {"outage": [{"from": "1s", "for": "3m"}]}
    result, _ = run_order(make_order(cvms=30, faults=faults))
    assert (result["exit_code"], result["counts"]) == (0, {"settled": 30})
    assert 180 < result["seconds"] < 260


def test_an_outage_longer_than_the_setting_ends_the_run() -> None:
    faults = {"outage": [{"from": "1s", "for": "1h"}]}
    result, _ = run_order(make_order(cvms=30, faults=faults, settings={"settle": {"cloud_down": 120}}))
    assert (result["exit_code"], result["ended_by"]["name"]) == (8, "settle.cloud_down")


def test_an_outage_during_the_plan_is_foretold_as_an_unreachable_cloud() -> None:
    result, _ = run_order(make_order(faults={"outage": [{"from": 0, "for": "1h"}]}))
    assert (result["exit_code"], result["counts"], result["requests"]["changing"]) == (5, {}, 0)
    assert result["ended_by"]["name"] == "cloud"


def test_a_key_refused_in_the_middle_ends_the_run() -> None:
    result, _ = run_order(make_order(cvms=30, faults={"key_refused_at": "2s"}))
    assert (result["exit_code"], result["ending"]) == (8, "key_refused")
    assert 0 < result["requests"]["changing"] < 30


def test_a_key_refused_at_a_resume_ends_the_run() -> None:
    faults = {"key_refused_at": "2s", "kill_at": ["1.9s", "1.95s"]}
    result, _ = run_order(make_order(cvms=30, faults=faults))
    assert (result["exit_code"], result["ending"], result["kills"]) == (8, "key_refused", 2)
    assert result["seconds"] < 60


def test_kills_during_an_outage_are_caught_up() -> None:
    faults = {"kill_at": ["2s", "5s", "6s"], "outage": [{"from": "1s", "for": "3m"}]}
    result, _ = run_order(make_order(cvms=30, faults=faults))
    assert (result["exit_code"], result["kills"]) == (0, 3)


def test_a_run_that_never_ends_is_cut_at_the_longest_time_of_a_run() -> None:
    steps = [{**STOP, "settle": {"timeout": "90d"}}]
    faults = {"cvms": {"stuck": 0.1}, "kill_at": "5s"}
    result, _ = run_order(make_order(steps, faults=faults, settings={"settle": {"whole_run": "1h"}}))
    assert (result["ending"], result["exit_code"]) == ("timed_out", 8)
    assert result["ended_by"]["name"] == "settle.whole_run"
    assert result["seconds"] == pytest.approx(3600, abs=60)


def test_an_outage_over_a_resume_is_waited_for_until_the_longest_time_of_a_run() -> None:
    faults = {"kill_at": "2s", "outage": [{"from": "2s", "for": "30d"}]}
    result, _ = run_order(make_order(cvms=30, faults=faults, settings={"settle": {"whole_run": "1h"}}))
    assert (result["ending"], result["exit_code"], result["ended_by"]["name"]) == ("timed_out", 8, "settle.whole_run")
    assert result["seconds"] == pytest.approx(3600, abs=60)


def test_cvms_of_a_teepod_that_hangs_do_not_settle() -> None:
    steps = [{**STOP, "settle": {"timeout": "5m"}}]
    result, _ = run_order(make_order(steps, cvms=12, faults={"teepod_down": ["prod-1"]}))
    assert (result["exit_code"], result["counts"]) == (7, {"settled": 8, "unsettled": 4})
    assert result["down"]["p50"] is not None
    assert result["down"]["p90"] is None


def test_faults_of_cvms_show_in_the_outcomes() -> None:
    steps = [{**STOP, "settle": {"timeout": "5m"}}]
    faults = {"cvms": {"stuck": 0.1, "returns": 0.1, "vanishes": 0.1}}
    result, _ = run_order(make_order(steps, cvms=20, faults=faults))
    assert result["counts"] == {"settled": 14, "unsettled": 2, "failed": 2, "gone": 2}


def test_a_low_limit_of_the_api_slows_the_run_down() -> None:
    faults = {"limit": {"requests_per_second": 1, "burst": 1}}
    result, _ = run_order(make_order(cvms=20, faults=faults))
    assert result["counts"] == {"settled": 20}
    assert result["seconds"] > 20


def test_a_refused_plan_is_a_result_and_sends_nothing() -> None:
    result, _ = run_order(make_order(playbook={"guards": {"max_targets": 3}}))
    assert (result["exit_code"], result["ended_by"]["name"], result["counts"]) == (3, "max_targets", {})
    assert (result["seconds"], result["requests"]["changing"], result["waves"]) == (None, 0, [])


def test_selectors_without_a_match_are_an_error() -> None:
    with pytest.raises(NoMatchError):
        run_order(make_order([{"action": "stop", "select": {"name": "nothing-*"}}]))


def test_a_missed_deadline_is_measured() -> None:
    playbook = {"deadline": "5s", "limits": {"requests_per_second": 1, "burst": 1}}
    result, _ = run_order(make_order(cvms=20, playbook=playbook))
    assert result["deadline"]["met"] is False
    assert result["deadline"]["late"] > 0
    assert result["deadline"]["over_s"] == pytest.approx(result["requests"]["last_s"] - 5, abs=0.1)


def test_the_adaptive_rate_finds_the_limit_of_the_api() -> None:
    playbook = {"limits": {"requests_per_second": "auto"}}
    faults = {"limit": {"requests_per_second": 4, "burst": 4}}
    result, _ = run_order(make_order(cvms=60, playbook=playbook, faults=faults))
    assert result["counts"] == {"settled": 60}
    assert 14 < result["seconds"] < 60


def test_the_plan_is_that_of_an_offline_plan() -> None:
    unknown = replace(make_cvm(100), uptime=None)
    young = make_cvm(101, created_at=READ_AT - timedelta(days=3), uptime=60.0, gpus=2)
    old = make_cvm(102, created_at=READ_AT - timedelta(days=300), uptime=86_400.0, creator="ann")
    down = make_cvm(103, status="stopped")
    saved = SavedInventory((unknown, young, old, down), READ_AT, "wks_1")
    select = {"any": [{"up_longer_than": "1h"}, {"gpus": ">1"}], "exclude": {"creator": "bob", "name": "x-*"}}
    order = make_order(
        [{"action": "stop", "select": select}], fleet=Fleet(saved.facts_at(READ_AT), READ_AT, "wks_1", "x")
    )
    result, found = run_order(order)
    plan = anyio.run(plan_offline, order.settings, order.loaded, saved)
    assert found.plan is not None
    assert [(each.cvm.ref, each.note) for each in found.plan.targets] == [
        (each.cvm.ref, each.note) for each in plan.targets
    ]
    assert [(each.cvm.ref, each.why) for each in found.plan.skipped] == [
        (each.cvm.ref, each.why) for each in plan.skipped
    ]
    assert found.plan.warnings == plan.warnings
    assert result["counts"] == {"settled": 2}


def test_notices_are_not_sent_and_the_profile_is_not_learnt(tmp_path: Any) -> None:  # noqa: ANN401
    settings = {"audit": {"state_dir": tmp_path}, "notify": {"webhook_url": "https://hook.invalid/x"}}
    order = make_order(settings=settings)
    assert order.settings.notify.has_receivers
    assert run_order(order)[0]["exit_code"] == 0
    assert list(tmp_path.iterdir()) == []


def test_exempted_cvms_are_left_up() -> None:
    order = make_order()
    entry = KeepEntry("name", "api-1*", READ_AT + timedelta(days=1), "ann", "a demo", "a file")
    result, _ = run_order(replace(order, fleet=replace(order.fleet, exemptions=(entry,))))
    assert result["counts"] == {"settled": 9}


def test_gpu_rentals_refuse_their_stop() -> None:
    order = make_order()
    first, *rest = order.fleet.cvms
    rented = replace(order.fleet, cvms=(replace(first, gpu_rental=True), *rest))
    result, _ = run_order(replace(order, fleet=rented))
    assert (result["exit_code"], result["counts"]) == (6, {"settled": 11, "refused": 1})
