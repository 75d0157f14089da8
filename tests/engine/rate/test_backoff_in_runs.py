"""When nothing is left to send, a CVM is seen soon after it settled, with few requests. On virtual time."""

from dataclasses import dataclass
from random import Random

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.outcome import Ending
from orchestrator.playbook.resolved_steps import PlannedStep
from tests.engine.fakes import FakeCloud, Fleet, failed, work_of

pytestmark = pytest.mark.anyio


@dataclass
class Run:
    """The result of a run.

    Attributes:
        lags: of each CVM, the seconds from settling (or from the last request of its wave, if later) until it was seen.
        passed: of each, the seconds from that last request until it settled.
        requests: requests per CVM, the page of the list included.
    """

    lags: list[float]
    passed: list[float]
    requests: float

    @property
    def late(self) -> list[float]:
        """The lags beyond a tenth of the time that had passed, or 1.5 seconds where that is more."""
        return [lag for lag, passed in zip(self.lags, self.passed, strict=True) if lag > max(1.5, passed / 10)]


async def watch(
    count: int,
    *,
    rate: float = 10,
    slowest: float = 15,
    waves: int = 1,
    seed: int = 1,
    action: Action = Action.STOP,
    escalate_after: float | None = None,
) -> Run:
    cloud, rng, seconds = FakeCloud(count, latency=0.02), Random(seed), dict[str, float]()
    cloud.seconds = lambda ref: seconds.setdefault(ref.name, rng.uniform(0, slowest))
    jobs = [work_of(ref, action, wave=1 + n * waves // count) for n, ref in enumerate(cloud.refs)]
    fleet = Fleet(cloud, rate=rate, burst=3, jobs=jobs, action=action)
    fleet.steps = [PlannedStep("stop", action, 600, escalate_after=escalate_after)]
    await fleet.go()
    assert fleet.outcomes() == {"settled": count}
    assert set(cloud.posts.values()) == {1}
    last = {job.wave: max(cloud.effects[w.ref.name][0] for w in jobs if w.wave == job.wave) for job in jobs}
    lags, passed = [], []
    for job in jobs:
        settled = cloud.effects[job.ref.name][0] + seconds[job.ref.name]
        (seen,) = (r["at"] for r in fleet.trail.of("target.settled", job.ref.name))
        lags.append(seen - max(settled, last[job.wave]))
        passed.append(max(settled, last[job.wave]) - last[job.wave])
    return Run(lags, passed, (len(cloud.requests) + 1) / count)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 8))])
@pytest.mark.parametrize(("count", "requests"), [(40, 1.6), (300, 1.2)])
async def test_every_cvm_is_seen_within_1_5_seconds_with_few_requests(count: int, requests: float, seed: int) -> None:
    run = await watch(count, seed=seed)
    assert max(run.lags) <= 1.5
    assert run.requests <= requests


@pytest.mark.parametrize("seed", range(8))
async def test_the_cvms_of_each_wave_are_seen_as_soon(seed: int) -> None:
    run = await watch(40, waves=4, seed=seed)
    assert max(run.lags) <= 1.5


@pytest.mark.parametrize(("count", "slowest"), [(40, 60), (40, 300), (300, 120), (3, 600)])
async def test_beyond_that_within_a_tenth_of_the_time_that_has_passed(count: int, slowest: float) -> None:
    run = await watch(count, slowest=slowest)
    assert not run.late


@pytest.mark.parametrize("rate", [1, 5, 10])
@pytest.mark.parametrize("count", [1, 5, 40])
async def test_the_time_that_a_guest_has_to_shut_down_is_watched_too(count: int, rate: float) -> None:
    run = await watch(count, rate=rate, slowest=1, action=Action.SHUTDOWN, escalate_after=120)
    assert max(run.lags) <= 1.5 + 1 / rate  # a read that is due just after the last request waits for its turn
    assert anyio.current_time() <= count / rate + 5


async def test_a_wave_whose_last_target_was_refused_is_watched_as_closely() -> None:
    cloud = FakeCloud(10, seconds=1)
    cloud.stop_script = lambda _ref, _attempt: failed(403) if sum(cloud.posts.values()) == 10 else None
    fleet = Fleet(cloud, rate=1, burst=1, action=Action.SHUTDOWN)
    fleet.steps = [PlannedStep("stop", Action.SHUTDOWN, 600, escalate_after=120)]
    await fleet.go()
    last = max(at for at, kind, _ in cloud.requests if kind == "shutdown")
    assert anyio.current_time() <= last + 5


async def test_after_an_interruption_the_cvms_that_were_stopped_are_seen_soon() -> None:
    cloud, rng, seconds = FakeCloud(930, latency=0.02), Random(3), dict[str, float]()
    cloud.seconds = lambda ref: seconds.setdefault(ref.name, rng.uniform(0, 15))
    fleet = Fleet(cloud, rate=5, burst=3)
    interrupted_at = 14.0

    async def interrupt() -> None:
        await anyio.sleep(interrupted_at)
        fleet.run.interrupt(Ending.SIGINT)

    async with anyio.create_task_group() as group:
        group.start_soon(interrupt)
        result = await fleet.go()
    assert result.ending is Ending.SIGINT
    seen_at = {record["cvm"]["name"]: record["at"] for record in fleet.trail.of("target.settled")}
    settled_at = {name: cloud.effects[name][0] + seconds[name] for name in seen_at}
    assert len(seen_at) == sum(cloud.posts.values())
    assert max(seen_at[name] - max(interrupted_at, settled_at[name]) for name in seen_at) <= 1.6
