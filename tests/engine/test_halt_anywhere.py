"""A run that is told to end at any of its awaits ends soon, leaves a whole log, and can be resumed from that log."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import CoroutineType
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock

from orchestrator.action import Action
from orchestrator.audit.replay import RunState
from orchestrator.cvm import CvmRef
from orchestrator.engine.context import SettleSettings
from orchestrator.engine.protocols import Answer
from orchestrator.outcome import Ending, Exit, Outcome
from orchestrator.playbook.resolved_steps import AnyPlanned, FollowUp, PlannedStep, Question
from orchestrator.reply import Page, Reply, StatusRead
from orchestrator.runs.records import rebuild_jobs, step_fields, steps_from
from orchestrator.times import timestamp
from tests.engine.fakes import EPOCH, FakeCloud, Fleet, work_of
from tests.engine.test_escalation import stubborn

STEPS: Sequence[AnyPlanned] = (
    PlannedStep("ask", Action.SHUTDOWN, 20),
    Question("look", "Go on?", 600.0),
    PlannedStep("pull", Action.STOP, 60, follows=FollowUp("ask", frozenset({Outcome.UNSETTLED}))),
    PlannedStep("rest", Action.SHUTDOWN, 60, escalate_after=10),
)
"""Two waves with a canary, a question, a step that takes up what the first left, and an escalation."""
TARGETS = [("ask", 1), ("ask", 2), ("ask", 2), ("rest", 1), ("rest", 1)]
STUBBORN = ("web-2", "web-4")
SETTLE = SettleSettings(poll_min=1.0, cloud_down=60, refresh_after=60)
LONGEST_END, LONGEST_END_OF_AN_OUTAGE = 61.0, 300.0
"""Seconds in which a halted run has to end: its longest settle timeout; and until the breaker opens and gives up."""
LAST_ANSWERS = 6.0
"""Seconds in which a run cancelled at once has to end."""


class SlowPerson:
    """Says yes after a while in which what is known of the CVMs grows old."""

    async def wait_for_answer(self, step: str, question: str, expires_at: datetime) -> Answer | None:
        del step, question, expires_at
        await anyio.sleep(100)
        return Answer(approved=True, by="ann@desk", via="terminal")

    def find_answer(self) -> Answer | None:
        return None


class FragileCloud(FakeCloud):
    """A cloud that is down while `is_down`: no request gets an answer of its own."""

    is_down = False

    def __init__(self) -> None:
        super().__init__(len(TARGETS), seconds=3, latency=0.05)
        stubborn(self, *STUBBORN)
        self.stop_script = lambda _ref, _attempt: self._fault()
        self.batch = lambda _uuids: self._fault()

    def _fault(self) -> Reply[Any] | None:
        return Reply(http_status=502, problem="bad gateway") if self.is_down else None

    async def read_state(self, ref: CvmRef) -> Reply[StatusRead]:
        return self._fault() or await super().read_state(ref)

    async def list_page(self, page: int, page_size: int) -> Reply[Page]:
        return self._fault() or await super().list_page(page, page_size)


class AtStep(trio.abc.Instrument):
    """Does something before the n-th step that any task takes: a step goes from one await to the next.

    Attributes:
        awaits: for every step, the lines of the engine's code at which its task waited; empty unless `number` is 0.
    """

    def __init__(self, number: int) -> None:
        self.awaits: list[tuple[tuple[str, int], ...]] = []
        self.do: Callable[[], None] = lambda: None
        self._number, self._steps = number, 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._steps += 1
        if self._number == 0:
            self.awaits.append(tuple(_lines(task.coro)))
        elif self._steps == self._number:
            self.do()


def _lines(coroutine: object) -> Iterator[tuple[str, int]]:
    while isinstance(coroutine, CoroutineType):
        frame = coroutine.cr_frame
        if frame is not None and "/orchestrator/engine/" in frame.f_code.co_filename:
            yield frame.f_code.co_filename, frame.f_lineno
        coroutine = coroutine.cr_await


def every_await() -> list[int]:
    """For each await of the engine in an undisturbed run: the first step and the last at which a task waits there."""
    awaits = play(0)
    first = {lines: number for number, lines in reversed([*enumerate(awaits, start=1)])}
    last = {lines: number for number, lines in enumerate(awaits, start=1)}
    return sorted({*first.values(), *last.values()})


@pytest.fixture(params=["a third", pytest.param("all", marks=pytest.mark.soak)])
def awaits(request: pytest.FixtureRequest) -> list[int]:
    """Steps to halt before: the first and the last at all awaits of the engine, or a third of these steps."""
    return every_await()[:: 1 if request.param == "all" else 3]


def begin(cloud: FakeCloud, settle: SettleSettings) -> Fleet:
    waves = zip(cloud.refs, TARGETS, strict=True)
    jobs = [work_of(ref, Action.SHUTDOWN, step=step, wave=wave) for ref, (step, wave) in waves]
    fleet = Fleet(cloud, jobs=jobs, approver=SlowPerson(), settle=settle, rate=20, burst=1)
    fleet.steps = list(STEPS)  # type: ignore[arg-type] # steps of any kind
    return fleet


def state_of(fleet: Fleet) -> RunState:
    """What a log with these records says."""
    targets = [
        {
            "step": job.step,
            "action": Action.SHUTDOWN.value,
            "cvm": job.document,
            "status": "running",
            "billing": job.note.plan_fields(),
            "wave": job.wave,
        }
        for job in fleet.jobs
    ]
    head: list[dict[str, object]] = [
        {"event": "run.started", "at": 0.0, "run_id": "20261123T080000Z-4f2a"},
        {"event": "run.planned", "at": 0.0, "steps": [step_fields(step) for step in STEPS], "targets": targets},
    ]
    state = RunState()
    for record in [*head, *fleet.trail.records]:
        state.apply_record(record | {"ts": timestamp(EPOCH + timedelta(seconds=record["at"]))})
    return state


async def resume(cloud: FakeCloud, interrupted: Fleet) -> Fleet:
    state = state_of(interrupted)
    jobs = rebuild_jobs(state, now=interrupted.clock.now(), wall=interrupted.clock.wall())
    fleet = Fleet(cloud, jobs=jobs, approver=SlowPerson(), settle=SETTLE, passed=state.passed, refused=state.is_refused)
    fleet.steps = list(steps_from(state.planned.steps))  # type: ignore[arg-type] # steps of any kind
    fresh = await fleet.run.reader.read_statuses([job.ref for job in jobs if job.outcome is None])
    fleet.run.apply_statuses(fresh)
    await fleet.go()
    return fleet


def play(
    number: int,
    ending: Ending | None = None,
    *,
    outage: bool = False,
    terminate_after: float | None = None,
    settle: SettleSettings = SETTLE,
    cancel_at_once: bool | None = None,
) -> list[tuple[tuple[str, int], ...]]:
    """Run, halt at the n-th step, hold the run to its promises, and resume it.

    Args:
        number: the step of any task before which it happens; 0 for never.
        ending: what the run is halted with; None for nothing.
        outage: whether the API goes down for good.
        terminate_after: seconds after which SIGTERM arrives as well; None for never.
        settle: how the run watches.
        cancel_at_once: whether to cancel the run at once, or gracefully; None for no cancelling.

    Returns:
        The awaits of all steps that tasks took.
    """
    cloud, instrument = FragileCloud(), AtStep(number)
    halted = anyio.Event()

    async def story() -> None:
        fleet = begin(cloud, settle)
        halted_at = float("inf")

        def halt() -> None:
            nonlocal halted_at
            halted_at, cloud.is_down = anyio.current_time(), outage
            halted.set()
            if ending is not None:
                fleet.run.interrupt(ending)
            if cancel_at_once is not None:
                fleet.run.cancel("ann@desk", at_once=cancel_at_once)

        async def terminate() -> None:
            await halted.wait()
            await anyio.sleep(terminate_after or 0)
            fleet.run.interrupt(Ending.SIGTERM)

        instrument.do = halt
        async with anyio.create_task_group() as group:
            if terminate_after is not None:
                group.start_soon(terminate)
            result = await fleet.go()
            group.cancel_scope.cancel()
        assert number or result.exit_code is Exit.OK
        assert anyio.current_time() - halted_at < (LONGEST_END_OF_AN_OUTAGE if outage else LONGEST_END)
        assert fleet.trail.durable == len(fleet.trail.records)
        assert fleet.trail.records[-1]["event"] == ("run.interrupted" if result.ending.resumable else "run.finished")
        cloud.is_down = False
        if result.ending.resumable:
            fleet = await resume(cloud, fleet)
        _hold_to_the_promises(fleet, outage=outage or cancel_at_once is not None)
        if cancel_at_once is not None and result.ending is not Ending.COMPLETED:  # it had ended already
            last = fleet.trail.records[-1]
            assert (last["ending"], last["exit_code"], last["cancelled_by"]) == ("cancelled", 8, "ann@desk")
            assert not cancel_at_once or anyio.current_time() - halted_at < LAST_ANSWERS

    options = {"clock": MockClock(autojump_threshold=0), "instruments": [instrument]}
    anyio.run(story, backend="trio", backend_options=options)
    return instrument.awaits


def _hold_to_the_promises(fleet: Fleet, *, outage: bool) -> None:
    """The run is finished, each CVM has an outcome, and none was asked for the same twice."""
    assert fleet.trail.records[-1]["event"] == "run.finished"
    assert all(job.outcome is not None for job in fleet.run.ledger.jobs)
    for ref in fleet.cloud.refs:
        done = fleet.cloud.did[ref.name]
        wanted = {Action.SHUTDOWN, Action.STOP} if ref.name in STUBBORN else {Action.SHUTDOWN}
        assert len(done) == len(set(done)), f"{ref.name} had {done}"
        assert outage or set(done) == wanted, f"{ref.name} had {done}"


def test_the_run_of_these_tests_waits_in_every_part_of_the_engine() -> None:
    files = {file.rpartition("/")[2] for lines in play(0) for file, _ in lines}
    parts = {"run", "run_control", "wave", "questions", "follow_up"}
    parts |= {"dispatcher", "watcher", "status"}
    assert {f"{part}.py" for part in parts} <= files


@pytest.mark.parametrize("ending", [Ending.SIGTERM, Ending.TIMED_OUT, Ending.KEY_REFUSED], ids=str)
def test_a_halt_at_any_await_ends_the_run_soon_and_leaves_it_resumable(awaits: list[int], ending: Ending) -> None:
    for number in awaits:
        play(number, ending)


@pytest.mark.parametrize("at_once", [False, True], ids=["gracefully", "at once"])
def test_a_run_cancelled_at_any_await_ends_soon_and_for_good(awaits: list[int], at_once: bool) -> None:
    for number in awaits:
        play(number, cancel_at_once=at_once)


@pytest.mark.parametrize("terminate_after", [None, 5.0], ids=["outage alone", "SIGTERM during the outage"])
def test_an_api_that_goes_down_for_good_at_any_await_ends_the_run_in_bounded_time(
    awaits: list[int], terminate_after: float | None
) -> None:
    for number in awaits:
        play(number, outage=True, terminate_after=terminate_after)


def test_whole_run_bounds_a_run_wherever_an_outage_without_end_begins(awaits: list[int]) -> None:
    settle = replace(SETTLE, cloud_down=float("inf"), whole_run=200)
    for number in awaits:
        play(number, outage=True, settle=settle)
