"""A step may take up what an earlier one left: it chooses its CVMs when its turn comes, and puts that on record."""

from decimal import Decimal

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.billing.rates import BillingNote, Rates
from orchestrator.cvm import CvmRef
from orchestrator.outcome import Ending, Exit, Outcome
from orchestrator.playbook.resolved_steps import FollowUp, OwnLimits, PlannedStep
from orchestrator.playbook.value_types import Order, Share
from orchestrator.reply import StatusRead
from tests.engine.fakes import FakeCloud, Fleet, failed, work_of

pytestmark = pytest.mark.anyio

BAD = frozenset({Outcome.FAILED, Outcome.REFUSED, Outcome.UNSETTLED, Outcome.RESURRECTED})


def shut_down_then(cloud: FakeCloud, *steps: PlannedStep, timeout: float = 60.0) -> Fleet:
    """A run whose first step shuts the fleet down."""
    fleet = Fleet(cloud, jobs=[work_of(ref, Action.SHUTDOWN, step="ask") for ref in cloud.refs])
    fleet.steps = [PlannedStep("ask", Action.SHUTDOWN, timeout), *steps]
    return fleet


def pull(outcomes: frozenset[Outcome] = BAD, *, step: str = "ask", name: str = "pull") -> PlannedStep:
    """A step that stops what another left."""
    return PlannedStep(name, Action.STOP, 60.0, follows=FollowUp(step, outcomes))


def hang(cloud: FakeCloud, *names: str) -> None:
    """CVMs that do not follow a shutdown, but a stop."""

    def script(ref: CvmRef, since: float | None) -> StatusRead | None:
        if ref.name not in names or since is None:
            return None
        return StatusRead("stopped") if Action.STOP in cloud.did[ref.name] else StatusRead("shutting_down", True)

    cloud.status_script = script


async def test_only_what_the_earlier_step_did_not_settle_is_stopped() -> None:
    cloud = FakeCloud(5)
    hang(cloud, "web-1", "web-3")
    fleet = shut_down_then(cloud, pull())
    result = await fleet.go()
    assert sorted(name for _, kind, name in cloud.requests if kind == "stop") == ["web-1", "web-3"]
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 5})


async def test_what_was_chosen_is_durable_before_the_first_of_its_requests() -> None:
    cloud = FakeCloud(3)
    hang(cloud, "web-1")
    fleet = shut_down_then(cloud, pull())
    cloud.on_stop = lambda _ref: seen.append(fleet.trail.records[: fleet.trail.durable])
    seen: list[list[dict[str, object]]] = []
    await fleet.go()
    (planned,) = fleet.trail.of("step.planned")
    assert planned in seen[-1]
    assert [(each["step"], each["action"], each["cvm"]["name"]) for each in planned["targets"]] == [
        ("pull", "stop", "web-1")
    ]


async def test_a_cvm_that_went_down_in_the_meantime_is_neither_asked_again_nor_billed_again() -> None:
    cloud = FakeCloud(2)
    late = {"web-1": 62.0}
    cloud.seconds = lambda ref: late.get(ref.name, 3.0)
    cloud.lag = 3.0
    fleet = shut_down_then(cloud, pull())
    result = await fleet.go()
    assert cloud.count("stop") <= 1
    assert result.exit_code is Exit.OK


async def test_when_nothing_is_left_the_step_has_nothing_to_do() -> None:
    cloud = FakeCloud(3)
    fleet = shut_down_then(cloud, pull())
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes(), cloud.count("stop")) == (Exit.OK, {"settled": 3}, 0)
    assert fleet.trail.of("step.planned")[0]["targets"] == []


async def test_a_cvm_that_a_step_took_up_is_that_steps_from_then_on() -> None:
    cloud = FakeCloud(3)
    cloud.stop_script = lambda ref, _attempt: failed(403) if ref.name == "web-1" else None
    again = pull(step="pull", name="again")
    fleet = shut_down_then(cloud, pull(), pull(name="the same once more"), again)
    result = await fleet.go()
    chosen = {r["step"]: [each["cvm"]["name"] for each in r["targets"]] for r in fleet.trail.of("step.planned")}
    assert chosen == {"pull": ["web-1"], "the same once more": [], "again": ["web-1"]}
    assert (result.exit_code, fleet.outcomes()) == (Exit.FAILED, {"settled": 2, "refused": 1})


async def test_what_was_stopped_may_be_started_by_a_later_step() -> None:
    cloud = FakeCloud(2)
    cloud.status_script = lambda ref, _: StatusRead("running") if Action.START in cloud.did[ref.name] else None
    start = PlannedStep("up", Action.START, 60.0, follows=FollowUp("ask", frozenset({Outcome.SETTLED})))
    fleet = shut_down_then(cloud, start)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 2})
    assert [cloud.did[ref.name] for ref in cloud.refs] == [[Action.SHUTDOWN, Action.START]] * 2
    assert fleet.trail.of("run.finished")[0]["money"]["starts"]["accepted"] == 2


async def test_the_rest_of_the_select_holds_as_well() -> None:
    cloud = FakeCloud(4)
    hang(cloud, "web-1", "web-3")
    among = FollowUp("ask", BAD, among=frozenset({cloud.refs[3].key}))
    fleet = shut_down_then(cloud, PlannedStep("pull", Action.STOP, 60.0, follows=among))
    result = await fleet.go()
    assert [name for _, kind, name in cloud.requests if kind == "stop"] == ["web-3"]
    assert (result.exit_code, fleet.outcomes()) == (Exit.UNSETTLED, {"settled": 3, "unsettled": 1})


@pytest.mark.parametrize(
    ("order", "waves", "chosen"),
    [
        ("name", ("1", "3"), [("web-0", 1), ("web-1", 2), ("web-2", 2), ("web-3", 3)]),
        ("cost", ("50%",), [("web-1", 1), ("web-3", 1), ("web-0", 2), ("web-2", 2)]),
        (None, None, [("web-3", 1), ("web-1", 1), ("web-2", 1), ("web-0", 1)]),
    ],
    ids=["by name", "by cost", "as in the earlier step"],
)
async def test_the_chosen_targets_have_the_order_and_the_waves_of_the_step(
    order: Order | None, waves: tuple[str, ...] | None, chosen: list[tuple[str, int]]
) -> None:
    cloud = FakeCloud(4)
    cloud.stop_script = lambda _ref, _attempt: failed(403) if cloud.requests[-1][1] == "shutdown" else None
    cloud.refs = [cloud.refs[number] for number in (3, 1, 2, 0)]
    sizes = None if waves is None else tuple(map(Share.parse, waves))
    step = PlannedStep("pull", Action.STOP, 60.0, follows=FollowUp("ask", BAD), order_by=order, waves=sizes)
    fleet = shut_down_then(cloud, step)
    for job in fleet.jobs:
        rate = Decimal(int(job.ref.name in {"web-1", "web-3"}) + 1)
        job.note = BillingNote(Rates(rate, None, None), (), triggered=True)
    await fleet.go()
    (planned,) = fleet.trail.of("step.planned")
    assert [(each["cvm"]["name"], each["wave"]) for each in planned["targets"]] == chosen
    assert fleet.run.ledger.counts[Outcome.SETTLED] == 4


async def test_a_cvm_running_again_at_the_beginning_of_the_step_is_chosen() -> None:
    cloud = FakeCloud(2)
    cloud.status_script = lambda ref, _since: (
        StatusRead("running")
        if ref.name == "web-1" and anyio.current_time() > 20 and Action.STOP not in cloud.did[ref.name]
        else None
    )
    cloud.seconds = lambda ref: 30 if ref.name == "web-0" else 3
    fleet = shut_down_then(cloud, pull())
    await fleet.go()
    assert [each["cvm"]["name"] for each in fleet.trail.of("step.planned")[0]["targets"]] == ["web-1"]


async def test_a_resumed_run_keeps_to_what_was_chosen() -> None:
    cloud = FakeCloud(4)
    hang(cloud, "web-1", "web-3")
    fleet = shut_down_then(cloud, pull())
    cloud.on_stop = lambda _ref: fleet.run.interrupt(Ending.SIGINT) if cloud.requests[-1][1] == "stop" else None
    await fleet.go()
    again = Fleet(cloud, jobs=fleet.run.ledger.jobs)
    again.run._control.passed = {"pull"}
    again.steps = fleet.steps
    cloud.on_stop = lambda _ref: None
    result = await again.go()
    assert not again.trail.of("step.planned")
    assert (result.exit_code, again.outcomes()) == (Exit.OK, {"settled": 4})


async def test_an_early_end_is_one_while_a_later_step_would_have_had_something_to_take_up() -> None:
    cloud = FakeCloud(2)
    cloud.stop_script = lambda ref, _attempt: failed(403) if ref.name == "web-1" else None
    first = PlannedStep("ask", Action.SHUTDOWN, 60.0, on_failure="stop")
    fleet = shut_down_then(cloud, pull())
    fleet.steps[0] = first
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.STEP_FAILED, Exit.ENDED_EARLY)


async def test_a_step_goes_as_fast_as_its_own_limit_says_and_the_next_one_as_the_run_does() -> None:
    cloud = FakeCloud(40)
    half = [work_of(ref, step="slow") for ref in cloud.refs[:20]]
    fleet = Fleet(cloud, jobs=[*half, *(work_of(ref, step="fast") for ref in cloud.refs[20:])], rate=50)
    fleet.steps = [
        PlannedStep("slow", Action.STOP, 60.0, limits=OwnLimits(requests_per_second=2)),
        PlannedStep("fast", Action.STOP, 60.0),
    ]
    await fleet.go()
    at = {name: when for when, kind, name in cloud.requests if kind == "stop"}
    slow = sorted(at[ref.name] for ref in cloud.refs[:20])
    fast = sorted(at[ref.name] for ref in cloud.refs[20:])
    assert slow[-1] - slow[0] >= (20 - 5) / 2
    assert fast[-1] - fast[0] < 1


async def test_a_step_has_no_more_under_way_than_its_own_limit_says() -> None:
    cloud = FakeCloud(12, latency=1.0)
    fleet = Fleet(cloud, rate=1000, max_in_flight=10)
    fleet.steps = [PlannedStep("stop", Action.STOP, 60.0, limits=OwnLimits(max_in_flight=2))]
    await fleet.go()
    stops = sorted(at for at, kind, _ in cloud.requests if kind == "stop")
    assert max(sum(at <= when < at + 1 for when in stops) for at in stops) <= 2
    assert fleet.gate.max_in_flight == 10


async def test_a_steps_own_max_failures_ends_the_run() -> None:
    cloud = FakeCloud(10)
    cloud.stop_script = lambda _ref, _attempt: failed(403)
    fleet = Fleet(cloud, rate=1, burst=1, max_in_flight=1)
    fleet.steps = [PlannedStep("stop", Action.STOP, 60.0, limits=OwnLimits(max_failures=Share.parse("20%")))]
    result = await fleet.go()
    assert result.ending is Ending.MAX_FAILURES
    assert 3 <= cloud.count("stop") <= 5


async def test_cancelling_while_a_step_has_its_own_limits_gives_the_run_its_own_back() -> None:
    cloud = FakeCloud(5, latency=5.0)
    fleet = Fleet(cloud, rate=50)
    fleet.steps = [PlannedStep("stop", Action.STOP, 60.0, limits=OwnLimits(requests_per_second=1, max_in_flight=1))]
    with anyio.move_on_after(2):
        await fleet.go()
    assert (fleet.gate.budget.rate, fleet.gate.max_in_flight) == (50, 20)
