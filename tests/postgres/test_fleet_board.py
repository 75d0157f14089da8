"""Fleet runs in the team store: submission of all members at once, plans, verdicts under the fence, cancelling."""

import json
import uuid
from collections.abc import Mapping

import anyio
import pytest

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.log import AuditLog
from orchestrator.errors import AuditError
from orchestrator.postgres.lease import Fence as RunFence
from orchestrator.postgres.link import Link
from orchestrator.runs.fleet.board import MemberVerdict, StoreBoard, read_membership, report_plan
from orchestrator.runs.fleet.plan import PlanTotals
from tests.postgres.cluster import Cluster
from tests.postgres.conftest import Connect
from tests.postgres.holder import Fence, Holder, require

FLEET, ONE, TWO = "F20261126T080000Z-4f2a", "20261126T080000Z-0001", "20261126T080000Z-0002"
TOTALS = PlanTotals(3, 9, 0, 12, has_matches=True)


@pytest.fixture
def worker(connect: Connect) -> Holder:
    """A worker, with a submitted fleet run of two members."""
    holder = Holder(connect("wes_worker"))
    for workspace in ("prod", "test"):
        holder.call("set_budget", workspace, 50.0, 10, False, "ann@host")
    assert submit(holder)
    return holder


def submit(holder: Holder, *, fleet: str = FLEET, planned: object = None) -> bool:
    runs = [ONE, TWO] if fleet == FLEET else [f"{ONE}x", f"{TWO}x"]
    ((is_new,),) = holder.call(
        "submit_fleet", fleet, "nightly", planned, "{}", 1, 0, "ann@host", runs, ["prod", "test"]
    )
    return bool(is_new)


def members(holder: Holder) -> dict[str, tuple[str, object, str | None]]:
    rows = holder.call("list_members", FLEET)
    return {workspace: (state, plan, verdict) for _, workspace, state, plan, verdict, *_ in rows}


def give(holder: Holder, fence: Fence, verdict: str, *runs: str) -> bool:
    ((is_held,),) = holder.call("give_verdict", *fence, list(runs), verdict)
    return bool(is_held)


def test_a_fleet_run_is_submitted_with_all_members_or_not_at_all(worker: Holder) -> None:
    assert members(worker) == {"prod": ("planning", None, None), "test": ("planning", None, None)}
    assert not submit(worker)
    with pytest.raises(Exception, match="runs_workspace_fkey"):
        worker.call("submit_fleet", "F2", "nightly", None, "{}", 1, 0, "ann@host", ["r1"], ["unknown"])


def test_a_firing_makes_one_fleet_run(worker: Holder) -> None:
    moment = "2026-11-26T20:00:00Z"
    assert submit(worker, fleet="F1", planned=moment)
    assert not submit(worker, fleet="F2", planned=moment)


def test_any_worker_may_coordinate_and_only_a_worker_with_the_key_takes_a_member(worker: Holder) -> None:
    rows = worker.call("list_free_runs", ["test"], 1)
    assert {(run_id, workspace) for run_id, workspace, _ in rows} == {(FLEET, None), (TWO, "test")}
    assert worker.call("queue_free_runs", [], 1) == [(FLEET,)]


def test_only_the_holder_of_the_fleet_run_gives_verdicts(worker: Holder) -> None:
    fence = require(worker.take(FLEET))
    assert give(worker, fence, "go", ONE)
    assert members(worker)["prod"][2] == "go"
    other = Fence(FLEET, fence.epoch + 1, fence.lease_id)
    assert not give(worker, other, "refuse", ONE)
    assert members(worker)["prod"][2] == "go"


def test_an_ending_replaces_go_and_nothing_replaces_an_ending(worker: Holder) -> None:
    fence = require(worker.take(FLEET))
    for verdict in ("go", "max_failures", "go", "refuse"):
        give(worker, fence, verdict, ONE)
    assert members(worker)["prod"] == ("planning", None, "max_failures")


def test_a_refused_member_without_a_holder_ends_at_once_and_a_held_one_hears_of_it(worker: Holder) -> None:
    fence, held = require(worker.take(FLEET)), require(worker.take(ONE))
    give(worker, fence, "refuse", ONE, TWO)
    assert members(worker) == {"prod": ("planning", None, "refuse"), "test": ("void", None, "refuse")}
    assert worker.let_go(held, "void", 3)
    assert members(worker)["prod"][0] == "void"


def test_cancelling_a_fleet_run_cancels_every_member(worker: Holder, connect: Connect) -> None:
    held = require(worker.take(ONE))
    assert Holder(connect("oli_operator")).call("cancel_run", FLEET, False, "ann@host") == [(True,)]
    assert members(worker)["test"][0] == "void"
    assert worker.renew(held) == [(ONE, "gracefully")]


def test_the_board_shows_plans_and_ends_and_refuses_an_old_coordinator(
    worker: Holder, cluster: Cluster, database: str
) -> None:
    fleet, one = require(worker.take(FLEET)), require(worker.take(ONE))
    finish = {"event": "run.finished", "ending": "completed", "hash": "f" * 64, "counts": {"settled": 3}}

    async def check() -> None:
        link = Link(f"postgresql://wes_worker@/{database}?host={cluster.folder}&port={cluster.port}")
        board = StoreBoard(link.query, RunFence(*fleet), no_log)
        await report_plan(link.query, RunFence(*one), TOTALS)
        prod, test = await board.list_members()
        assert (prod.totals, test.totals) == (TOTALS, None)
        assert await read_membership(link.query, ONE) == MemberVerdict(FLEET, None)
        await board.give_verdict([ONE], "go")
        assert await read_membership(link.query, ONE) == MemberVerdict(FLEET, "go")
        assert await read_membership(link.query, FLEET) is None
        append_line(worker, one, finish)
        assert worker.let_go(one, "finished", 0)
        prod, _ = await board.list_members()
        assert (prod.state, prod.exit_code, prod.end) == ("finished", 0, finish)
        with pytest.raises(AuditError):
            await report_plan(link.query, RunFence(*one), TOTALS)
        worker.let_go(fleet, "ready")
        with pytest.raises(AuditError):
            await board.give_verdict([TWO], "go")
        await link.close()

    anyio.run(check)


async def no_log(first: Mapping[str, object]) -> tuple[AuditLog, FleetState]:
    raise AssertionError(first)


def append_line(holder: Holder, fence: Fence, record: Mapping[str, object]) -> None:
    line = json.dumps(record).encode() + b"\n"
    columns = [[fence.run_id], [fence.epoch], [fence.lease_id], [0], ["0" * 64], [1], ["f" * 64]]
    holder.call("append_records", "60 s", *columns, [fence.run_id], [1], [str(record["event"])], [line])


MEMBERS = {"prod": {"run_id": "m1", "rate": 5.0, "burst": 2}, "test": {"run_id": "m2", "rate": 5.0, "burst": 2}}


@pytest.fixture
def leader(connect: Connect) -> Holder:
    """The leader of the schedules, with nothing submitted."""
    return Holder(connect("wes_worker"))


def fire(leader: Holder, epoch: int, lease_id: uuid.UUID, fleet: str = FLEET) -> str:
    spec = json.dumps({"members": MEMBERS})
    facts = (None, 5.0, 2, "nightly", "2026-11-26T20:00:00Z", spec, 1, None, "serve@w1")
    ((verdict,),) = leader.call("submit_firing", epoch, lease_id, fleet, *facts)
    return str(verdict)


def take_duty(leader: Holder) -> tuple[int, uuid.UUID]:
    lease_id = uuid.uuid4()
    ((epoch,),) = leader.call("take_duty", "schedules", lease_id, "w1", "60 s")
    return epoch, lease_id


def test_a_firing_in_several_workspaces_is_one_fleet_run_with_all_members(leader: Holder) -> None:
    epoch, lease_id = take_duty(leader)
    assert fire(leader, epoch, uuid.uuid4()) == "fenced"
    assert [fire(leader, epoch, lease_id), fire(leader, epoch, lease_id), fire(leader, epoch, lease_id, "F2")] == [
        "submitted",
        "exists",
        "exists",
    ]
    assert members(leader) == {"prod": ("planning", None, None), "test": ("planning", None, None)}
    assert {run_id for (run_id,) in leader.call("queue_free_runs", ["prod", "test"], 1)} == set(), (
        "all are queued already"
    )


def test_a_late_firing_is_given_up_with_its_members_and_tried_again_with_them(leader: Holder) -> None:
    epoch, lease_id = take_duty(leader)
    fire(leader, epoch, lease_id)
    held = require(leader.take("m1"))
    assert leader.call("give_up_firing", epoch, lease_id, FLEET, 5, "late") == [(True,)]
    assert members(leader) == {"prod": ("planning", None, "refuse"), "test": ("void", None, "refuse")}
    assert leader.call("retry_firing", epoch, lease_id, FLEET) == [(False,)], "a member is still held"
    leader.let_go(held, "void", 5)
    assert leader.call("retry_firing", epoch, lease_id, FLEET) == [(True,)]
    assert members(leader) == {"prod": ("planning", None, None), "test": ("planning", None, None)}
