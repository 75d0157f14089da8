"""`approve` and the run agree about what counted: whenever the answer comes, and whenever the run is killed."""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from trio.testing import MockClock

from orchestrator.audit.approvals import ApprovalAnswer, FileApprovalStore
from orchestrator.audit.events import ApprovalRequested
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import FileRun
from orchestrator.audit.verify import read_log
from orchestrator.errors import NotAskedError
from orchestrator.outcome import Ending
from orchestrator.playbook.resolved_steps import Question
from orchestrator.runs.answer import AskedRun, choose_by_step, leave_answer
from orchestrator.runs.approval import LeftAnswers
from orchestrator.runs.session import RunObserver
from tests.engine.fakes import EPOCH, FakeCloud, Fleet

RUN_ID = "20261123T080000Z-4f2a"
TIMEOUT = 10.0
FIRST: list[tuple[str, dict[str, object]]] = [
    ("run.started", {"playbook": {"name": "ask"}}),
    ("run.planned", {"steps": [], "targets": []}),
]


async def at_once(write: Callable[[], None]) -> None:
    """Write in the loop's own thread, so that virtual time stands still meanwhile."""
    write()


def asked_run(
    folder: Path, during: Callable[[Path, RunState, Fleet], Coroutine[Any, Any, None]]
) -> tuple[Path, Ending]:
    """A run that asks one question and has nothing else to do, with something beside it."""
    path = folder / "runs" / f"{RUN_ID}.jsonl"

    async def story() -> Ending:
        def wall() -> Any:  # noqa: ANN401 - a moment
            return EPOCH + timedelta(seconds=anyio.current_time())

        state = RunState()
        log = AuditLog.create(path, RUN_ID, FIRST, observers=[state.apply_record], wall=wall, sync=at_once)
        answers = FileApprovalStore(path)
        log.observers.append(answers.observe_record)
        fleet = Fleet(FakeCloud(0), approver=LeftAnswers(answers, state, RunObserver(), wall), sink=log)
        fleet.steps = [Question("look", "Go on?", TIMEOUT)]  # type: ignore[list-item] # steps of any kind
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(during, path, state, fleet)
                result = await fleet.go()
                group.cancel_scope.cancel()
        finally:
            log.close()
        return result.ending

    ending = anyio.run(story, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})
    return path, ending


def yes_to(state: RunState) -> ApprovalAnswer:
    asked = state.question
    assert asked is not None
    return ApprovalAnswer(asked.seq, asked.hash, asked.step, approved=True, by="ann@desk", at="")


def state_of(path: Path) -> RunState:
    state = RunState()
    read_log(path, state.apply_record)
    return state


async def nothing() -> None:
    """Do nothing beside `approve`."""


def counts(path: Path, answer: ApprovalAnswer, beside: Callable[[], Coroutine[Any, Any, None]] = nothing) -> bool:
    """Whether `approve` says that the answer counted; on virtual time."""

    async def approve() -> bool:
        is_recorded = False
        async with anyio.create_task_group() as group:
            group.start_soon(beside)
            with suppress(NotAskedError):
                is_recorded = await leave_answer(FileRun(path), answer)
        return is_recorded

    return anyio.run(approve, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})


@pytest.mark.parametrize("offset", [-0.75, -0.5, -0.25, -0.001, 0.0, 0.001, 0.25])
def test_an_answer_around_the_time_out_counts_for_both_or_for_neither(tmp_path: Path, offset: float) -> None:
    given: list[ApprovalAnswer] = []

    async def answer(path: Path, state: RunState, fleet: Fleet) -> None:
        del fleet
        await anyio.sleep(TIMEOUT + offset)
        if state.question is not None:
            given.append(yes_to(state))
            assert FileApprovalStore(path).submit_answer(given[0])

    path, ending = asked_run(tmp_path, answer)
    approved = "look" in state_of(path).passed
    assert (ending is Ending.COMPLETED) is approved
    assert approved or offset >= 0
    for each in given:
        FileApprovalStore(path).withdraw_answer(each)
        assert counts(path, each) is approved


def test_a_run_that_is_killed_in_the_middle_of_its_log_and_its_approver_agree(tmp_path: Path) -> None:
    given: list[ApprovalAnswer] = []

    async def answer(path: Path, state: RunState, fleet: Fleet) -> None:
        del fleet
        await anyio.sleep(3)
        given.append(yes_to(state))
        assert FileApprovalStore(path).submit_answer(given[0])

    path, ending = asked_run(tmp_path, answer)
    assert ending is Ending.COMPLETED
    whole = path.read_bytes()
    said: set[bool] = set()
    for length in range(whole.index(b"approval.requested"), len(whole) + 1):
        if length % 11 and b"\n" not in whole[length - 2 : length + 2]:
            continue  # every byte near the end of a record, and some within
        path.write_bytes(whole[:length])
        if state_of(path).question is None and not state_of(path).answers:
            continue  # killed before the question was on record, so nobody was asked
        approved = counts(path, given[0])
        assert approved is ("look" in state_of(path).passed)
        said.add(approved)
        FileApprovalStore(path).clear_answers()
    assert said == {True, False}


@pytest.mark.parametrize("looks", [0, 1, 8, 9, 10, 11, 50, 98, 99])
@pytest.mark.parametrize("recorded", [True, False])
def test_a_run_that_ends_between_two_looks_and_its_approver_agree(tmp_path: Path, looks: int, recorded: bool) -> None:
    async def interrupt(_path: Path, _state: RunState, fleet: Fleet) -> None:
        await anyio.sleep(3)
        fleet.run.interrupt(Ending.SIGTERM)

    path, _ = asked_run(tmp_path, interrupt)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    state = RunState()
    log, _ = AuditLog.reopen(path, state.apply_record, sync=at_once)
    ended = False

    async def end() -> None:
        nonlocal ended
        await anyio.sleep((looks + 0.5) * 0.1)
        if recorded:
            said = {"answer": "approved", "by": "ann@desk", "via": "approve"}
            log.record("approval.answered", step="look", **said)
            await log.flush()
        log.close()
        ended = True

    assert counts(path, yes_to(state), end) is recorded is ("look" in state_of(path).passed)
    assert ended


def asked_at(step: str) -> AskedRun:
    question = ApprovalRequested({"step": step, "question": "Green?"})
    return AskedRun(FileRun(Path("none")), RunState(), question)


def test_the_runs_at_the_same_step_are_answered_together() -> None:
    found = {"a": asked_at("look"), "b": asked_at("look")}
    assert choose_by_step(found, None) == found
    found["c"] = asked_at("check")
    with pytest.raises(NotAskedError, match="several steps: 'look', 'check'"):
        choose_by_step(found, None)
    assert list(choose_by_step(found, "check")) == ["c"]
    with pytest.raises(NotAskedError, match="no run waits at step 'rest'"):
        choose_by_step(found, "rest")


class ContinuedRun(FileRun):
    """A run of a team store: the next worker continues the run."""

    def is_continued(self) -> bool:
        return state_of(self.path).finished is None


@pytest.mark.parametrize("is_same", [True, False])
def test_an_answer_at_the_death_of_a_worker_goes_to_the_next_worker_with_the_same_question(
    tmp_path: Path, is_same: bool
) -> None:
    path = tmp_path / "runs" / f"{RUN_ID}.jsonl"
    question = {"question": "Go on?", "expires_at": "2030-01-01T00:00:00.000000Z"}

    async def take_over(first: AuditLog) -> None:
        await anyio.sleep(15.25)
        first.close()
        await anyio.sleep(5)
        state = RunState()
        log, _ = AuditLog.reopen(path, state.apply_record, sync=at_once)
        log.observers.append(state.apply_record)
        log.record_resumed(None, unterminated=False)
        await log.flush()
        await anyio.sleep(5)
        log.record("approval.requested", step="look" if is_same else "other", **question)
        await log.flush()
        for _ in range(20):
            await anyio.sleep(0.5)
            asked = state.question
            assert asked is not None
            if (found := FileApprovalStore(path).find_answer(asked.seq, asked.hash)) is not None:
                log.record("approval.answered", step="look", answer="approved", by=found.by, via="approve")
                await log.flush()
                break
        log.close()

    async def approve() -> bool:
        log = AuditLog.create(path, RUN_ID, FIRST, sync=at_once)
        state = RunState()
        log.observers.append(state.apply_record)
        log.record("approval.requested", step="look", **question)
        await log.flush()
        async with anyio.create_task_group() as group:
            group.start_soon(take_over, log)
            with suppress(NotAskedError):
                return await leave_answer(ContinuedRun(path), yes_to(state), takeover=90.0)
        return False

    on_record = anyio.run(approve, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})
    assert on_record is is_same is ("look" in state_of(path).passed)
