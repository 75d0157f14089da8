"""Coordinate a fleet run over many workers: the checks of all plans together, the verdicts, the last record."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.fleet_store import FileFleetStore
from orchestrator.audit.log import AuditLog
from orchestrator.audit.verify import Verdict, read_log
from orchestrator.errors import CloudError, GuardError, NoMatchError, NotConfirmedError
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.load import load_source
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.source import parse_source
from orchestrator.playbook.value_types import Share
from orchestrator.runs.fleet.coordinate import (
    GO,
    REFUSE,
    FleetOrder,
    Member,
    check_order,
    choose_verdicts,
    coordinate_fleet,
    is_over,
    is_planned,
)
from orchestrator.runs.fleet.plan import PlanTotals
from tests.logs import log_path, write_by

pytestmark = pytest.mark.anyio
FLEET = "F20261126T080000Z-4f2a"
PLANNED = PlanTotals(targets=10, up=20, starts=0, whole_of_starts=40, has_matches=True)


def order(
    *, first: str | None = None, guards: str = "", expect: int | None = None, skip: Collection[str] = ()
) -> FleetOrder:
    text = "name: nightly\nsteps: [{action: stop, select: {name: web-*}}]\n"
    if first is not None:
        text += f"fleet: {{first: {first}}}\n"
    if guards:
        text += f"guards: {guards}\n"
    loaded = load_source(parse_source(text.encode(), Path("nightly.yaml")), {})
    return FleetOrder(loaded, Guards(), expect, skip)


def member(workspace: str, state: str = "planning", totals: PlanTotals | None = PLANNED, **fields: object) -> Member:
    return Member(workspace, f"20261126T080000Z-000{'abcdef'.index(workspace)}", state, totals, **fields)  # type: ignore[arg-type] # as given


def finished(workspace: str, ending: Ending = Ending.COMPLETED, code: Exit = Exit.OK) -> Member:
    end = {"ending": ending.value, "hash": "f" * 64, "counts": {"settled": 10}}
    return member(workspace, "finished", exit_code=int(code), verdict=GO, end=end)


def test_an_order_waits_for_the_plan_of_every_member() -> None:
    assert is_planned([member("a"), member("b", "void", None)])
    assert not is_planned([member("a"), member("b", totals=None)])


def test_the_guards_hold_for_the_total_of_all_members() -> None:
    with pytest.raises(GuardError, match="20 targets in 2 workspaces, at most 15 allowed"):
        check_order(order(guards="{max_targets: 15}"), [member("a"), member("b")])
    checked = check_order(order(guards="{max_targets: 20}"), [member("a"), member("b")])
    assert sum(checked.targets.values()) == 20


def test_an_unreadable_workspace_refuses_the_order_unless_left_out_on_purpose() -> None:
    members = [member("a"), member("b", "void", None, exit_code=5, reason="the API refuses the key")]
    with pytest.raises(CloudError, match="workspace b: the API refuses the key"):
        check_order(order(), members)
    checked = check_order(order(skip=["b"]), members)
    assert [each.name for each in checked.left_out] == ["b"]
    with pytest.raises(CloudError):
        check_order(order(skip=["b"], first="b"), members)


def test_a_member_refused_by_its_own_guard_refuses_the_order() -> None:
    with pytest.raises(GuardError, match="workspace b: 9 of 9"):
        check_order(order(skip=["b"]), [member("a"), member("b", "void", None, exit_code=3, reason="9 of 9")])


def test_an_order_without_any_match_or_with_another_number_of_targets_is_refused() -> None:
    nothing = replace(PLANNED, targets=0, has_matches=False)
    with pytest.raises(NoMatchError):
        check_order(order(), [member("a", totals=nothing), member("b", totals=nothing)])
    with pytest.raises(NotConfirmedError, match="the plan has 20 targets"):
        check_order(order(expect=10), [member("a"), member("b")])


def verdicts(members: Sequence[Member], first: str | None = None, limit: str | None = None) -> dict[str, str]:
    share = None if limit is None else Share.parse(limit)
    found = choose_verdicts(members, first=first, limit=share, targets=10 * len(members))
    names = {each.run_id: each.workspace for each in members}
    return {names[run_id]: verdict for verdict, run_ids in found.items() for run_id in run_ids}


def test_all_members_go_at_once_without_a_canary() -> None:
    assert verdicts([member("a"), member("b")]) == {"a": GO, "b": GO}
    assert verdicts([member("a", verdict=GO), member("b", verdict=GO)]) == {}


def test_the_others_wait_for_the_canary_and_begin_after_its_success() -> None:
    assert verdicts([member("a"), member("b"), member("c")], first="b") == {"b": GO}
    assert verdicts([member("a"), member("b", "ready", verdict=GO)], first="b") == {}
    assert verdicts([member("a"), finished("b")], first="b") == {"a": GO}


def test_after_a_failed_canary_the_others_end_without_a_request() -> None:
    assert verdicts([member("a"), finished("b", code=Exit.FAILED)], first="b") == {"a": Ending.CANARY_FAILED.value}


def test_a_canary_left_for_a_person_leaves_the_order_open() -> None:
    members = [member("a"), member("b", "left", verdict=GO)]
    assert verdicts(members, first="b") == {}
    assert is_over(members, "b")
    assert not is_over(members, None)


def test_too_many_failures_in_all_members_end_every_member() -> None:
    members = [member("a", "ready", verdict=GO, failed=2), member("b", "ready", verdict=GO, failed=1), finished("c")]
    assert verdicts(members, limit="3") == {}
    assert verdicts(members, limit="2") == {"a": Ending.MAX_FAILURES.value, "b": Ending.MAX_FAILURES.value}


class Board:
    """A store in memory: the members answer each verdict as workers do."""

    def __init__(self, folder: Path, members: Sequence[Member], results: Mapping[str, Exit] | None = None) -> None:
        self.members = {each.run_id: each for each in members}
        self.given: list[tuple[str, str]] = []
        self.log: AuditLog | None = None
        self._store = FileFleetStore(folder)
        self._results = results or {}

    async def list_members(self) -> Sequence[Member]:
        return sorted(self.members.values(), key=lambda each: each.workspace)

    async def give_verdict(self, run_ids: Collection[str], verdict: str) -> None:
        for run_id in run_ids:
            each = self.members[run_id]
            self.given.append((each.workspace, verdict))
            code = self._results.get(each.workspace, Exit.OK) if verdict == GO else Exit.ENDED_EARLY
            ending = Ending.COMPLETED if verdict == GO else Ending(verdict) if verdict != REFUSE else None
            self.members[run_id] = (
                replace(each, state="void", verdict=verdict)
                if ending is None
                else finished(each.workspace, ending, code)
            )

    async def open_log(self, first: Mapping[str, object]) -> tuple[AuditLog, FleetState]:
        state = FleetState()
        if self.log is None:
            self.log = self._store.create_log(FLEET, [("fleet.started", dict(first))], [state.apply_record])
        else:
            self.log, _ = self._store.get_fleet(FLEET).open_log(state.apply_record)
            self.log.observers.append(state.apply_record)
        write_by(self.log, _write_now)
        return self.log, state


async def _write_now(write: object) -> None:
    write()  # type: ignore[operator] # as a log calls


async def test_a_fleet_run_ends_with_the_hash_of_every_member(tmp_path: Path) -> None:
    board = Board(tmp_path, [member("a"), member("b")])
    end = await coordinate_fleet(board, order(first="b"), has_log=False)
    assert (end.exit_code, end.has_finished) == (Exit.OK, True)
    assert board.given == [("b", GO), ("a", GO)]
    assert board.log is not None
    state = FleetState()
    assert read_log(log_path(board.log), state.apply_record).verdict is not Verdict.ALTERED
    assert state.finished is not None
    assert [run.hash for run in state.finished.runs] == ["f" * 64] * 2
    assert state.finished.counts == {"settled": 20}
    assert state.planned.targets == 20


async def test_a_failed_canary_ends_the_order_early(tmp_path: Path) -> None:
    board = Board(tmp_path, [member("a"), member("b")], {"b": Exit.FAILED})
    end = await coordinate_fleet(board, order(first="b"), has_log=False)
    assert end.exit_code is Exit.ENDED_EARLY
    assert board.given == [("b", GO), ("a", Ending.CANARY_FAILED.value)]


@pytest.mark.parametrize("first", [None, "a"])
async def test_a_member_cancelled_before_its_log_does_not_keep_the_fleet_run_open(
    tmp_path: Path, first: str | None
) -> None:
    board = Board(tmp_path, [member("a"), member("b")])
    cancelled = member("a", "void", verdict=GO, exit_code=8, reason="cancelled by ann@host before the first request")
    give = board.give_verdict

    async def end_the_first_at_once(run_ids: Collection[str], verdict: str) -> None:
        await give(run_ids, verdict)
        if cancelled.run_id in run_ids:
            board.members[cancelled.run_id] = cancelled

    board.give_verdict = end_the_first_at_once  # type: ignore[method-assign] # as the run waits for another run
    end = await coordinate_fleet(board, order(first=first), has_log=False)
    assert (end.exit_code, end.has_finished) == (Exit.ENDED_EARLY, True)
    assert dict(board.given)["b"] == (GO if first is None else Ending.CANARY_FAILED.value)
    assert board.log is not None
    state = FleetState()
    read_log(log_path(board.log), state.apply_record)
    assert [run.workspace for run in state.runs] == ["b"]
    assert state.left_out == [{"workspace": "a", "reason": "cancelled by ann@host before the first request"}]
    assert state.finished is not None
    assert state.finished.ending == Ending.CANCELLED


async def test_a_member_without_a_log_is_not_resumed_with_the_others(tmp_path: Path) -> None:
    left = member("b", "left", verdict=GO, exit_code=8)
    board = Board(tmp_path, [member("a", "void", verdict=GO, exit_code=8), left])
    assert not (await coordinate_fleet(board, order(), has_log=False)).has_finished
    assert board.log is not None
    state = FleetState()
    read_log(log_path(board.log), state.apply_record)
    assert [run.workspace for run in state.runs] == ["b"]
    assert state.left_out == [{"workspace": "a", "reason": "the run did not begin"}]


async def test_a_refused_order_has_no_log_and_ends_all_members(tmp_path: Path) -> None:
    board = Board(tmp_path, [member("a"), member("b")])
    with pytest.raises(GuardError, match="20 targets"):
        await coordinate_fleet(board, order(guards="{max_targets: 1}"), has_log=False)
    assert board.log is None
    assert board.given == [("a", REFUSE), ("b", REFUSE)]


async def test_another_coordinator_continues_from_the_log_and_does_not_check_again(tmp_path: Path) -> None:
    board = Board(tmp_path, [member("a"), member("b")])

    class CrashError(Exception):
        pass

    async def crash(_: float) -> None:
        raise CrashError

    async def hold(run_ids: Collection[str], verdict: str) -> None:
        for run_id in run_ids:
            board.members[run_id] = replace(board.members[run_id], state="ready", verdict=verdict)

    give, board.give_verdict = board.give_verdict, hold  # type: ignore[method-assign] # the workers are slow at first
    with pytest.raises(CrashError):
        await coordinate_fleet(board, order(), has_log=False, sleep=crash)
    assert board.log is not None
    board.log.close()
    board.give_verdict = give  # type: ignore[method-assign] # as before
    for run_id in board.members:
        board.members[run_id] = finished(board.members[run_id].workspace)
    end = await coordinate_fleet(board, order(guards="{max_targets: 1}"), has_log=True)
    assert (end.exit_code, end.has_finished) == (Exit.OK, True)
