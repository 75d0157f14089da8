"""Answers to a run's questions: the same claims over files and over the team store, and the team store's own."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.audit.approvals import ApprovalAnswer, ApprovalStore, FileApprovalStore
from orchestrator.audit.events import ApprovalRequested
from orchestrator.audit.replay import RunState
from orchestrator.engine.protocols import Answer
from orchestrator.errors import SettingsError, StoreDownError
from orchestrator.postgres.approvals import StartQuery, StoreApprovals
from orchestrator.runs.approval import LeftAnswers
from orchestrator.runs.session import RunObserver
from tests.postgres.conftest import Connect, Start
from tests.postgres.holder import RUN, Holder

YES = ApprovalAnswer(
    5, "ab" * 32, "look", approved=True, by="ann@desk", at="2026-11-23T08:00:00.000000Z", comment="wörks\0 \ud800"
)


@pytest.fixture(params=["files", "postgres"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], ApprovalStore]:
    """Open the answers of a run, in files or in the database."""
    if request.param == "files":

        def open_files(run_id: str) -> ApprovalStore:
            log = tmp_path / "runs" / f"{run_id}.jsonl"
            log.parent.mkdir(exist_ok=True)
            log.touch()
            return FileApprovalStore(log)

        return open_files
    connect: Connect = request.getfixturevalue("connect")
    query: StartQuery = request.getfixturevalue("start")("oli_operator")

    def open_rows(run_id: str) -> ApprovalStore:
        Holder(connect("wes_worker")).submit(run_id)
        return StoreApprovals(run_id, query)

    return open_rows


@pytest.fixture
def answers(open_store: Callable[[str], ApprovalStore]) -> ApprovalStore:
    return open_store(RUN)


def find(answers: ApprovalStore, answer: ApprovalAnswer) -> ApprovalAnswer | None:
    """Find an answer, without the facts that only the database knows."""
    found = answers.find_answer(answer.seq, answer.hash)
    return None if found is None else replace(found, at=YES.at, db_user=None)


def test_an_answer_is_found_by_its_question(answers: ApprovalStore) -> None:
    assert find(answers, YES) is None
    assert answers.submit_answer(YES)
    assert find(answers, YES) == YES
    assert find(answers, YES) == YES


@pytest.mark.parametrize("other", [{"hash": "cd" * 32}, {"seq": 6}, {"hash": "ab" * 8 + "00" * 24}])
def test_no_answer_is_to_a_question_of_another_number_or_hash(answers: ApprovalStore, other: dict[str, Any]) -> None:
    assert answers.submit_answer(YES)
    assert find(answers, replace(YES, **other)) is None


def test_no_answer_is_to_another_run(open_store: Callable[[str], ApprovalStore]) -> None:
    assert open_store(RUN).submit_answer(YES)
    assert find(open_store(f"{RUN}0"), YES) is None


def test_the_first_answer_stays(answers: ApprovalStore) -> None:
    assert answers.submit_answer(YES)
    assert not answers.submit_answer(replace(YES, approved=False, by="bob@desk"))
    assert find(answers, YES) == YES


def test_an_answer_is_withdrawn_by_its_author_alone(answers: ApprovalStore) -> None:
    assert answers.submit_answer(YES)
    answers.withdraw_answer(replace(YES, by="bob@desk"))
    assert find(answers, YES) == YES
    found = answers.find_answer(YES.seq, YES.hash)
    assert found is not None
    answers.withdraw_answer(found)
    assert find(answers, YES) is None


def test_a_recorded_answer_changes_nothing_for_later_questions(answers: ApprovalStore) -> None:
    assert answers.submit_answer(YES)
    answers.observe_record({"event": "approval.answered"})
    later = replace(YES, seq=9, hash="cd" * 32, approved=False)
    assert find(answers, later) is None
    assert answers.submit_answer(later)
    assert find(answers, later) == later


@pytest.fixture
def submitted(connect: Connect) -> None:
    """A run in the store."""
    Holder(connect("wes_worker")).submit()


@pytest.mark.usefixtures("submitted")
def test_the_database_attests_the_author(start: Start) -> None:
    assert StoreApprovals(RUN, start("oli_operator")).submit_answer(YES)
    found = StoreApprovals(RUN, start("wes_worker")).find_answer(YES.seq, YES.hash)
    assert found is not None
    assert (found.by, found.db_user) == ("ann@desk", "oli_operator")
    assert abs(datetime.fromisoformat(found.at) - datetime.now(UTC)) < timedelta(minutes=5)
    StoreApprovals(RUN, start("ann_owner")).withdraw_answer(found)
    assert find(StoreApprovals(RUN, start("wes_worker")), YES) == YES, "withdrawn by no other user of the database"


@pytest.mark.usefixtures("submitted")
@pytest.mark.parametrize("user", ["wes_worker", "vic_viewer"])
def test_neither_a_worker_nor_a_viewer_answers(start: Start, user: str) -> None:
    with pytest.raises(SettingsError, match="no rights"):
        StoreApprovals(RUN, start(user)).submit_answer(YES)


@pytest.mark.usefixtures("submitted")
def test_a_lost_result_of_my_own_answer_is_no_answer_of_another_person(start: Start) -> None:
    query, lost = start("oli_operator"), False

    def lose_first_result(statement: str, arguments: Sequence[object]) -> "Future[list[tuple[Any, ...]]]":
        nonlocal lost
        result = query(statement, arguments)
        if lost:
            return result
        lost = True
        result.result()
        broken: Future[list[tuple[Any, ...]]] = Future()
        broken.set_exception(StoreDownError("the connection broke"))
        return broken

    assert StoreApprovals(RUN, lose_first_result).submit_answer(YES)
    lost = False
    assert not StoreApprovals(RUN, lose_first_result).submit_answer(replace(YES, by="bob@desk"))


def test_a_slow_or_unreachable_database_blocks_no_look_for_long() -> None:
    pending: Future[list[tuple[Any, ...]]] = Future()
    begun: list[object] = []

    def begin(_: str, arguments: Sequence[object]) -> "Future[list[tuple[Any, ...]]]":
        begun.append(arguments)
        return pending

    answers, begin_at = StoreApprovals(RUN, begin), time.monotonic()
    assert [answers.find_answer(YES.seq, YES.hash) for _ in range(3)] == [None, None, None]
    assert time.monotonic() - begin_at < 5
    assert len(begun) == 1, "a look that is on its way is not begun again"
    pending.set_result([(5, YES.hash, "look", True, "ann@desk", datetime.now(UTC), None, "oli")])
    assert answers.find_answer(YES.seq, YES.hash) is not None
    pending = Future()
    pending.set_exception(StoreDownError("down"))
    assert answers.find_answer(YES.seq, YES.hash) is None


@pytest.mark.usefixtures("submitted")
def test_an_answer_from_another_machine_reaches_a_waiting_run(start: Start) -> None:
    state = RunState()
    state.question = ApprovalRequested(
        {"event": "approval.requested", "seq": YES.seq, "hash": YES.hash, "step": "look", "question": "Go on?"}
    )
    waiting = LeftAnswers(StoreApprovals(RUN, start("wes_worker")), state, RunObserver())
    elsewhere = StoreApprovals(RUN, start("oli_operator"))

    async def wait() -> Answer | None:
        answer = asyncio.create_task(waiting.wait(waiting.find_answer, datetime.now(UTC) + timedelta(seconds=30), 0.05))
        await asyncio.sleep(0.1)
        assert not answer.done()
        assert await asyncio.to_thread(elsewhere.submit_answer, YES)
        return await answer

    assert asyncio.run(wait()) == Answer(True, "ann@desk", "approve", YES.comment, "oli_operator")


def signed(name: str, *, approved: bool = True) -> ApprovalAnswer:
    """An answer with the signature of a key."""
    fields = {"key_name": name, "at": YES.at, "expires_at": "2026-11-23T09:00:00.123456Z", "signature": f"{name}=="}
    return replace(YES, approved=approved, by=f"{name}@desk", signature=fields)


def test_each_key_leaves_one_signed_answer_beside_the_unsigned_one(answers: ApprovalStore) -> None:
    assert answers.submit_answer(signed("ann"))
    assert answers.submit_answer(signed("bob \u00e9"))
    assert not answers.submit_answer(signed("ann", approved=False))
    assert find(answers, YES) is None
    assert answers.submit_answer(YES)
    assert find(answers, YES) == YES
    found = answers.find_signed_answers(YES.seq, YES.hash)
    told = {each.by: (each.approved, each.comment, {**(each.signature or {}), "at": YES.at}) for each in found}
    assert told == {each.by: (True, YES.comment, each.signature) for each in (signed("ann"), signed("bob \u00e9"))}
    assert answers.find_signed_answers(YES.seq, "cd" * 32) == []
    assert answers.find_signed_answers(YES.seq + 1, YES.hash) == []
