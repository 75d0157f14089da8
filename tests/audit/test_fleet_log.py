"""The log of a fleet run: chain, verdicts and state."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.audit.fleet_log import FleetEvent, FleetState
from orchestrator.audit.fleet_store import FileFleetStore, is_fleet_id, new_fleet_id
from orchestrator.audit.log import AuditLog
from orchestrator.audit.store import read_run
from orchestrator.audit.verify import Verdict
from orchestrator.errors import UsageError

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
RUNS = [
    {"workspace": "prod", "run_id": "20261126T120000Z-aaaa", "targets": 2},
    {"workspace": "test", "run_id": "20261126T120000Z-bbbb", "targets": 0},
]
STARTED: tuple[str, dict[str, object]] = (
    FleetEvent.FLEET_STARTED,
    {"actor": "a@b", "workspaces": ["prod", "test"], "first": "test"},
)
pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> FileFleetStore:
    return FileFleetStore(tmp_path)


def create(store: FileFleetStore, moment: datetime = NOON) -> AuditLog:
    return store.create_log(new_fleet_id(moment), [STARTED])


def replay(store: FileFleetStore, fleet_id: str) -> tuple[Verdict, FleetState]:
    state = FleetState()
    return read_run(store.get_fleet(fleet_id), state.apply_record).verdict, state


async def test_the_state_names_the_runs_once_they_are_planned(store: FileFleetStore) -> None:
    with_plan = create(store)
    assert not replay(store, with_plan.run_id)[1].has_plan
    with_plan.record(FleetEvent.FLEET_PLANNED, runs=RUNS)
    await with_plan.flush()
    verdict, state = replay(store, with_plan.run_id)
    assert (verdict, state.has_plan, state.fleet_id) == (Verdict.UNFINISHED, True, with_plan.run_id)
    assert [(run.workspace, run.targets) for run in state.runs] == [("prod", 2), ("test", 0)]
    assert (state.started.first, state.planned.targets) == ("test", 2)


async def test_a_finished_fleet_log_is_whole_and_takes_no_further_record(store: FileFleetStore) -> None:
    log = create(store)
    log.record(FleetEvent.FLEET_FINISHED, exit_code=6, runs=[], counts={"settled": 2})
    await log.flush()
    verdict, state = replay(store, log.run_id)
    assert verdict is Verdict.WHOLE
    assert state.finished is not None
    assert (state.finished.exit_code, state.finished.counts) == (6, {"settled": 2})
    log.record(FleetEvent.FLEET_RESUMED)
    await log.flush()
    assert replay(store, log.run_id)[0] is Verdict.ALTERED


async def test_a_torn_line_is_named_by_the_resume(store: FileFleetStore) -> None:
    log = create(store)
    log.record(FleetEvent.FLEET_INTERRUPTED, reason="sigint", exit_code=130)
    await log.flush()
    log.close()
    fleet = store.get_fleet(log.run_id)
    with fleet.path.open("ab") as file:
        file.write(b'{"event":"fleet.fin')
    state = FleetState()
    again, reading = fleet.open_log(state.apply_record)
    assert (reading.verdict, state.interrupted is not None) == (Verdict.TORN, True)
    again.record_resumed(reading.torn, FleetEvent.FLEET_RESUMED, unterminated=reading.unterminated)
    await again.flush()
    verdict, state = replay(store, log.run_id)
    assert (verdict, state.interrupted) == (Verdict.UNFINISHED, None)


def test_a_fleet_run_is_found_by_a_unique_prefix(store: FileFleetStore) -> None:
    first, second = create(store), create(store, NOON.replace(hour=13))
    assert [each.run_id for each in store.list_fleets()] == [second.run_id, first.run_id]
    assert store.find_fleet("fleet-20261126T13").run_id == second.run_id
    assert is_fleet_id(first.run_id)
    with pytest.raises(UsageError, match="2 fleet run ids begin with"):
        store.find_fleet("fleet-")
    with pytest.raises(UsageError, match="no fleet run 'fleet-x'") as caught:
        store.find_fleet("fleet-x")
    assert second.run_id in (caught.value.hint or "")


def fold(*records: tuple[str, dict[str, Any]]) -> FleetState:
    """The state after these events; each record has the number of its second as its time."""
    state = FleetState()
    for number, (event, fields) in enumerate(records):
        state.apply_record({"event": event, "run_id": "fleet-x", "ts": f"12:00:0{number}", **fields})
    return state


OUT = {"workspace": "down", "reason": "no connection"}
PLANNED = (FleetEvent.FLEET_PLANNED, {"runs": RUNS, "guards": [{"name": "max_targets"}]})


def test_an_empty_log_has_no_runs_no_end_and_no_facts() -> None:
    state = fold()
    assert (state.fleet_id, state.last_ts, state.ended_at, state.was_resumed) == ("", "", None, False)
    assert (state.has_plan, state.runs, state.left_out, state.finished) == (False, (), [], None)
    assert (state.started.playbook, state.started.workspaces, state.started.left_out) == ({}, [], [])
    assert (list(state.planned.runs), state.planned.guards, state.planned.targets) == ([], [], 0)


def test_a_log_has_the_facts_of_its_start_and_of_its_plan() -> None:
    playbook, workspaces = {"name": "stop"}, ["prod", "test"]
    started = (FleetEvent.FLEET_STARTED, {"playbook": playbook, "workspaces": workspaces, "left_out": [OUT]})
    state = fold(started, PLANNED)
    assert (state.fleet_id, state.last_ts) == ("fleet-x", "12:00:01")
    assert (state.started.playbook, state.started.workspaces, state.left_out) == (playbook, workspaces, [OUT])
    assert state.planned.guards == [{"name": "max_targets"}]


def test_a_fleet_run_ends_with_its_last_interruption_or_with_its_end() -> None:
    interrupted = (FleetEvent.FLEET_INTERRUPTED, {"reason": "sigint"})
    resumed: tuple[str, dict[str, Any]] = (FleetEvent.FLEET_RESUMED, {})
    finished = (FleetEvent.FLEET_FINISHED, {"exit_code": 0})
    assert fold(PLANNED, interrupted).ended_at == "12:00:01"
    again = fold(PLANNED, interrupted, resumed)
    assert (again.ended_at, again.interrupted, again.was_resumed) == (None, None, True)
    assert fold(PLANNED, interrupted, resumed, interrupted).ended_at == "12:00:03"
    assert fold(PLANNED, interrupted, finished).ended_at == "12:00:02"
    assert fold(finished).finished is not None


def test_the_workspaces_left_out_are_those_of_the_order_and_of_the_last_resume() -> None:
    started, others = (FleetEvent.FLEET_STARTED, {"left_out": [OUT]}), [{"workspace": name} for name in ("a", "b")]
    first, second = ((FleetEvent.FLEET_RESUMED, {"left_out": [each]}) for each in others)
    assert fold(started, first).left_out == [OUT, others[0]]
    assert fold(started, first, second).left_out == [OUT, others[1]]
    assert fold(started, first, (FleetEvent.FLEET_RESUMED, {})).left_out == [OUT]


def test_without_a_plan_the_runs_are_those_abandoned_at_the_end() -> None:
    ended = [{"workspace": "prod", "run_id": "20261126T120000Z-cccc", "hash": "ab", "exit_code": 8}]
    finished = (FleetEvent.FLEET_FINISHED, {"exit_code": 8, "runs": ended})
    assert [run.run_id for run in fold(finished).runs] == ["20261126T120000Z-cccc"]
    assert [run.workspace for run in fold(PLANNED, finished).runs] == ["prod", "test"]


def test_an_event_of_a_later_version_changes_nothing_but_the_time() -> None:
    later = fold(PLANNED, ("fleet.rested", {"reason": "night"}))
    assert (later.last_ts, later.ended_at) == ("12:00:01", None)
    assert len(later.runs) == 2
