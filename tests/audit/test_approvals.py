"""Answers that are left for a question: the first one stays, and none is to any other question than its own."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.audit.approvals import ApprovalStore, Left

RUN = "20261123T080000Z-4f2a"
YES = Left(5, "ab" * 32, "look", approved=True, by="ann@desk", at="2026-11-23T08:00:00.000000Z", comment="wörks \ud800")


@pytest.fixture
def answers(tmp_path: Path) -> ApprovalStore:
    (tmp_path / "runs").mkdir()
    return ApprovalStore(tmp_path / "runs" / f"{RUN}.jsonl")


def only_file(answers: ApprovalStore) -> Path:
    (file,) = answers.folder.iterdir()
    return file


def test_an_answer_is_found_by_its_question_and_readable_by_its_owner_alone(answers: ApprovalStore) -> None:
    assert answers.to(YES.seq, YES.hash) is None
    assert answers.leave(YES)
    assert answers.to(YES.seq, YES.hash) == YES
    assert only_file(answers).stat().st_mode & 0o777 == 0o600
    assert answers.folder.stat().st_mode & 0o777 == 0o700


def test_the_first_answer_stays(answers: ApprovalStore) -> None:
    assert answers.leave(YES)
    assert not answers.leave(replace(YES, approved=False, by="bob@desk"))
    assert answers.to(YES.seq, YES.hash) == YES
    assert only_file(answers).is_file(), "and nothing of the second is left behind"


@pytest.mark.parametrize("other", [{"hash": "cd" * 32}, {"seq": 6}, {"hash": "ab" * 8 + "00" * 24}])
def test_no_answer_is_to_a_question_of_another_number_or_hash(answers: ApprovalStore, other: dict[str, object]) -> None:
    """Not even where the hashes begin alike, as their files' names do."""
    assert answers.leave(YES)
    later = replace(YES, **other)  # type: ignore[arg-type] # fields of it
    assert answers.to(later.seq, later.hash) is None


def test_no_answer_is_to_another_run(answers: ApprovalStore, tmp_path: Path) -> None:
    assert answers.leave(YES)
    other = ApprovalStore(tmp_path / "runs" / "20261123T080000Z-0000.jsonl")
    only_file(answers).rename(answers.folder / f"20261123T080000Z-0000.{YES.hash[:16]}.json")
    assert other.to(YES.seq, YES.hash) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"true",
        b'{"v": 1, "run_id": "20261123T080000Z-4f2a"}',
        b"change",
        b" " * 70_000,
    ],
    ids=["empty", "no text", "nested", "no mapping", "half", "approved is text", "huge"],
)
def test_what_is_no_answer_is_none_and_does_not_stand_in_the_way_of_one(answers: ApprovalStore, content: bytes) -> None:
    assert answers.leave(YES)
    file = only_file(answers)
    whole = json.loads(file.read_bytes())
    file.write_bytes(json.dumps({**whole, "approved": "true"}).encode() if content == b"change" else content)
    assert answers.to(YES.seq, YES.hash) is None
    assert answers.leave(YES)
    assert answers.to(YES.seq, YES.hash) == YES


def test_a_link_to_somewhere_else_is_not_followed(answers: ApprovalStore, tmp_path: Path) -> None:
    assert answers.leave(YES)
    file = only_file(answers)
    file.rename(tmp_path / "elsewhere.json")
    file.symlink_to(tmp_path / "elsewhere.json")
    assert answers.to(YES.seq, YES.hash) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_no_answer(answers: ApprovalStore) -> None:
    assert answers.leave(YES)
    os.chown(only_file(answers), 54321, -1)
    assert answers.to(YES.seq, YES.hash) is None


def test_an_answer_can_be_taken_back_by_who_left_it_and_by_nobody_else(answers: ApprovalStore) -> None:
    assert answers.leave(YES)
    answers.withdraw(replace(YES, by="bob@desk"))
    assert answers.to(YES.seq, YES.hash) == YES
    answers.withdraw(YES)
    assert answers.to(YES.seq, YES.hash) is None


def test_once_an_answer_is_on_record_nothing_is_left_of_that_run_and_all_of_others(
    answers: ApprovalStore, tmp_path: Path
) -> None:
    other = ApprovalStore(tmp_path / "runs" / f"{RUN}0.jsonl")
    for each in (answers, other):
        assert each.leave(YES)
    answers.heard({"event": "approval.requested"})
    assert answers.to(YES.seq, YES.hash) == YES
    answers.heard({"event": "approval.answered"})
    assert answers.to(YES.seq, YES.hash) is None
    assert other.to(YES.seq, YES.hash) == YES


def test_where_there_is_no_folder_there_is_nothing_to_clear(answers: ApprovalStore) -> None:
    answers.clear()
    assert not answers.folder.exists()


def test_a_folder_that_can_not_be_used_is_an_error_of_the_system(answers: ApprovalStore) -> None:
    answers.folder.write_text("")
    with pytest.raises(FileExistsError):
        answers.leave(YES)
    answers.clear()
