"""The agreement of a fleet log with the logs of its runs."""

import pytest

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.fleet_verify import find_disagreements
from orchestrator.audit.replay import RunState
from tests.logs import START, LogBuilder, replay

FLEET_ID = "fleet-20261123T080000Z-4f2a"


def run_log(fleet: str | None = FLEET_ID, *, finished: bool = True) -> LogBuilder:
    log = LogBuilder.start(START, fleet=fleet).plan((0, "stop", "running"))
    return log.finish() if finished else log


def fleet_state(run: LogBuilder, *, finished: bool = True) -> FleetState:
    log, state = LogBuilder(START, FLEET_ID), FleetState()
    log.record("fleet.started", playbook={})
    entry = {"workspace": "prod", "run_id": run.run_id, "targets": 1}
    log.record("fleet.planned", runs=[entry], guards=[])
    if finished:
        log.record("fleet.finished", exit_code=0, counts={}, runs=[{**entry, "hash": run.records[-1]["hash"]}])
    for record in log.records:
        state.apply_record(record)
    return state


def reasons(fleet: FleetState, run: LogBuilder, state: RunState | None) -> list[str]:
    return [each.reason for each in find_disagreements(fleet, {run.run_id: state})]


def test_a_fleet_log_agrees_with_the_run_that_it_names() -> None:
    run = run_log()
    assert reasons(fleet_state(run), run, replay(run.records)) == []


def test_an_unfinished_fleet_log_needs_no_end_of_its_runs() -> None:
    run = run_log(finished=False)
    assert reasons(fleet_state(run, finished=False), run, replay(run.records)) == []


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (None, "the log is missing"),
        (run_log(fleet=None), "the log belongs to another fleet run, or to none"),
        (run_log(finished=False), "the fleet run is finished, but the log has no end"),
        (run_log().finish(6), "the end of the run is not the end on record in the fleet log"),
    ],
)
def test_a_missing_or_replaced_log_is_named(other: LogBuilder | None, reason: str) -> None:
    run = run_log()
    assert reasons(fleet_state(run), run, None if other is None else replay(other.records)) == [reason]


def test_the_log_of_another_run_of_the_fleet_run_is_named_before_the_end() -> None:
    run, other = run_log(finished=False), LogBuilder.start(START, suffix="beef", fleet=FLEET_ID)
    found = reasons(fleet_state(run, finished=False), run, replay(other.records))
    assert found == ["the log is the log of another run"]


def test_a_pruned_run_is_no_disagreement() -> None:
    assert list(find_disagreements(fleet_state(run_log()), {})) == []


def test_each_run_is_compared_whatever_became_of_the_others_and_a_difference_names_its_run() -> None:
    run, log, state = run_log(), LogBuilder(START, FLEET_ID), FleetState()
    entries = [
        {"workspace": name, "run_id": run_id} for name, run_id in (("a", "20260101T000000Z-0001"), ("b", run.run_id))
    ]
    log.record("fleet.planned", runs=entries, guards=[])
    for record in log.records:
        state.apply_record(record)
    (found,) = find_disagreements(state, {run.run_id: None})
    assert found.document() == {"workspace": "b", "run_id": run.run_id, "reason": "the log is missing"}
