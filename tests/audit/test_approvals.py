"""Answers that are left for a question: the first one stays, and none is to any other question than its own."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.audit.approvals import ApprovalAnswer, FileApprovalStore
from orchestrator.errors import SettingsError

RUN = "20261123T080000Z-4f2a"
YES = ApprovalAnswer(
    5, "ab" * 32, "look", approved=True, by="ann@desk", at="2026-11-23T08:00:00.000000Z", comment="wörks \ud800"
)


@pytest.fixture
def answers(tmp_path: Path) -> FileApprovalStore:
    return store_of(tmp_path, RUN)


def store_of(folder: Path, run_id: str) -> FileApprovalStore:
    log = folder / "runs" / f"{run_id}.jsonl"
    log.parent.mkdir(exist_ok=True)
    log.touch()
    return FileApprovalStore(log)


def log_of(answers: FileApprovalStore) -> Path:
    return answers.folder.parent / "runs" / f"{RUN}.jsonl"


def only_file(answers: FileApprovalStore) -> Path:
    (file,) = answers.folder.iterdir()
    return file


def test_an_answer_is_found_by_its_question_and_readable_by_its_owner_alone(answers: FileApprovalStore) -> None:
    assert answers.find_answer(YES.seq, YES.hash) is None
    assert answers.submit_answer(YES)
    assert answers.find_answer(YES.seq, YES.hash) == YES
    assert only_file(answers).stat().st_mode & 0o777 == 0o600
    assert answers.folder.stat().st_mode & 0o777 == 0o700


def test_the_first_answer_stays(answers: FileApprovalStore) -> None:
    assert answers.submit_answer(YES)
    assert not answers.submit_answer(replace(YES, approved=False, by="bob@desk"))
    assert answers.find_answer(YES.seq, YES.hash) == YES
    assert only_file(answers).is_file(), "and nothing of the second is left behind"


@pytest.mark.parametrize("other", [{"hash": "cd" * 32}, {"seq": 6}, {"hash": "ab" * 8 + "00" * 24}])
def test_no_answer_is_to_a_question_of_another_number_or_hash(
    answers: FileApprovalStore, other: dict[str, object]
) -> None:
    """Not even where the hashes begin alike, as their files' names do."""
    assert answers.submit_answer(YES)
    later = replace(YES, **other)  # type: ignore[arg-type] # fields of it
    assert answers.find_answer(later.seq, later.hash) is None


def test_no_answer_is_to_another_run(answers: FileApprovalStore, tmp_path: Path) -> None:
    assert answers.submit_answer(YES)
    other = store_of(tmp_path, "20261123T080000Z-0000")
    only_file(answers).rename(answers.folder / f"20261123T080000Z-0000.{YES.hash[:16]}.json")
    assert other.find_answer(YES.seq, YES.hash) is None


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
def test_what_is_no_answer_is_none_and_does_not_stand_in_the_way_of_one(
    answers: FileApprovalStore, content: bytes
) -> None:
    assert answers.submit_answer(YES)
    file = only_file(answers)
    whole = json.loads(file.read_bytes())
    file.write_bytes(json.dumps({**whole, "approved": "true"}).encode() if content == b"change" else content)
    assert answers.find_answer(YES.seq, YES.hash) is None
    assert answers.submit_answer(YES)
    assert answers.find_answer(YES.seq, YES.hash) == YES


def test_a_link_to_somewhere_else_is_not_followed(answers: FileApprovalStore, tmp_path: Path) -> None:
    assert answers.submit_answer(YES)
    file = only_file(answers)
    file.rename(tmp_path / "elsewhere.json")
    file.symlink_to(tmp_path / "elsewhere.json")
    assert answers.find_answer(YES.seq, YES.hash) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_no_answer(answers: FileApprovalStore) -> None:
    assert answers.submit_answer(YES)
    os.chown(only_file(answers), 54321, -1)
    assert answers.find_answer(YES.seq, YES.hash) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_answer_that_the_run_could_not_read_is_refused_and_taken_back(answers: FileApprovalStore) -> None:
    os.chown(log_of(answers), 54321, -1)
    with pytest.raises(SettingsError, match="the run can't read answers in this folder") as caught:
        answers.submit_answer(YES)
    assert caught.value.file == str(answers.folder)
    assert caught.value.hint == (
        f"give the folder to the user of the run: chown -R --reference={log_of(answers)} {answers.folder}"
    )
    assert list(answers.folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_answer_of_the_owner_of_the_log_is_read_by_another_user(answers: FileApprovalStore) -> None:
    assert answers.submit_answer(YES)
    for path in (log_of(answers), only_file(answers)):
        os.chown(path, 54321, -1)
    assert answers.find_answer(YES.seq, YES.hash) == YES


OWNER = 54321


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(
    ("rights", "author", "is_readable"),
    [
        ((0o711, 0o604), 0, True),
        ((0o711, 0o600), 0, False),
        ((0o701, 0o604), 0, True),
        ((0o710, 0o604), 0, False),
        ((0o711, 0o604), 1, False),
        ((0o711, 0o400), OWNER, True),
        ((0o711, 0o004), OWNER, False),
    ],
    ids=[
        "readable",
        "private",
        "reachable by others",
        "closed folder",
        "third user",
        "own file",
        "no right of the owner",
    ],
)
def test_an_answer_counts_only_if_the_owner_of_the_log_can_read_it(
    answers: FileApprovalStore,
    monkeypatch: pytest.MonkeyPatch,
    rights: tuple[int, int],
    author: int,
    is_readable: bool,
) -> None:
    os.chown(log_of(answers), OWNER, -1)
    link = os.link

    def link_with_rights(source: Path, target: Path) -> None:
        """Put an answer with these rights in its place, as another umask or another user would."""
        link(source, target)
        target.chmod(rights[1])
        os.chown(target, author, -1)
        answers.folder.chmod(rights[0])

    monkeypatch.setattr(os, "link", link_with_rights)
    if is_readable:
        assert answers.submit_answer(YES)
    else:
        with pytest.raises(SettingsError, match="can't read answers"):
            answers.submit_answer(YES)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_answer_that_the_run_has_read_already_counts(
    answers: FileApprovalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(log_of(answers), OWNER, -1)
    link = os.link

    def link_and_read(source: Path, target: Path) -> None:
        link(source, target)
        target.unlink()

    monkeypatch.setattr(os, "link", link_and_read)
    assert answers.submit_answer(YES)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_answer_in_the_own_folder_of_the_owner_of_the_log_counts(
    answers: FileApprovalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.folder.mkdir(mode=0o700)
    for path in (log_of(answers), answers.folder):
        os.chown(path, OWNER, -1)
    link = os.link

    def link_for_owner(source: Path, target: Path) -> None:
        link(source, target)
        os.chown(target, OWNER, -1)

    monkeypatch.setattr(os, "link", link_for_owner)
    assert answers.submit_answer(YES)


def test_an_answer_of_this_user_is_found_without_the_log_too(answers: FileApprovalStore) -> None:
    assert answers.submit_answer(YES)
    log_of(answers).unlink()
    assert answers.find_answer(YES.seq, YES.hash) == YES


def test_a_folder_without_a_log_takes_no_answer(answers: FileApprovalStore) -> None:
    log_of(answers).unlink()
    with pytest.raises(SettingsError, match="can't be written: No such file or directory"):
        answers.submit_answer(YES)


def test_an_answer_in_a_file_is_text_for_people_without_the_users_of_a_database(answers: FileApprovalStore) -> None:
    assert answers.submit_answer(YES)
    text = only_file(answers).read_text(encoding="ascii")
    assert "db_user" not in json.loads(text)
    assert text.startswith('{\n  "v": 1,\n')


def test_answers_are_in_a_folder_beside_the_logs(answers: FileApprovalStore) -> None:
    assert answers.folder == log_of(answers).parent.parent / "answers"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_answer_of_root_is_read_by_every_user(answers: FileApprovalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answers.submit_answer(YES)
    os.chown(log_of(answers), OWNER, -1)
    monkeypatch.setattr(os, "geteuid", lambda: OWNER)
    assert answers.find_answer(YES.seq, YES.hash) == YES


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads every file")
def test_a_run_of_root_reads_an_answer_in_a_closed_folder(answers: FileApprovalStore) -> None:
    assert answers.submit_answer(replace(YES, hash="cd" * 32))
    answers.folder.chmod(0)
    assert answers.submit_answer(YES)


@pytest.mark.parametrize(("size", "is_read"), [(65_536, True), (70_000, False)])
def test_a_file_above_the_largest_size_is_no_answer(answers: FileApprovalStore, size: int, is_read: bool) -> None:
    assert answers.submit_answer(YES)
    file = only_file(answers)
    text = file.read_text()
    file.write_text("{" + " " * (size - len(text)) + text[1:])
    assert (answers.find_answer(YES.seq, YES.hash) == YES) is is_read


def test_an_answer_stays_if_its_file_cannot_be_deleted(
    answers: FileApprovalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answers.submit_answer(YES)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        answers.withdraw_answer(YES)
    assert answers.find_answer(YES.seq, YES.hash) == YES


@pytest.mark.parametrize(
    "change",
    [{"v": 2}, {"run_id": "20261123T080000Z-0000"}, {"comment": 7}, {"seq": True}, {"by": None}, {"at": None}],
    ids=["later version", "another run", "comment is no text", "number is no number", "no author", "no time"],
)
def test_an_answer_with_a_wrong_field_is_none(answers: FileApprovalStore, change: dict[str, object]) -> None:
    assert answers.submit_answer(YES)
    file = only_file(answers)
    file.write_text(json.dumps(json.loads(file.read_bytes()) | change))
    assert answers.find_answer(YES.seq, YES.hash) is None


def test_an_answer_needs_no_comment(answers: FileApprovalStore) -> None:
    plain = replace(YES, comment=None)
    assert answers.submit_answer(plain)
    assert answers.find_answer(YES.seq, YES.hash) == plain


def test_an_answer_can_be_taken_back_by_who_left_it_and_by_nobody_else(answers: FileApprovalStore) -> None:
    assert answers.submit_answer(YES)
    answers.withdraw_answer(replace(YES, by="bob@desk"))
    assert answers.find_answer(YES.seq, YES.hash) == YES
    answers.withdraw_answer(YES)
    assert answers.find_answer(YES.seq, YES.hash) is None


def test_once_an_answer_is_on_record_nothing_is_left_of_that_run_and_all_of_others(
    answers: FileApprovalStore, tmp_path: Path
) -> None:
    other = store_of(tmp_path, f"{RUN}0")
    for each in (answers, other):
        assert each.submit_answer(YES)
    answers.observe_record({"event": "approval.requested"})
    assert answers.find_answer(YES.seq, YES.hash) == YES
    answers.observe_record({"event": "approval.answered"})
    assert answers.find_answer(YES.seq, YES.hash) is None
    assert other.find_answer(YES.seq, YES.hash) == YES


def test_where_there_is_no_folder_there_is_nothing_to_clear(answers: FileApprovalStore) -> None:
    answers.clear_answers()
    assert not answers.folder.exists()


def test_a_folder_that_cannot_be_used_is_an_error_with_its_name(answers: FileApprovalStore) -> None:
    answers.folder.write_text("")
    with pytest.raises(SettingsError, match="can't be written: File exists") as caught:
        answers.submit_answer(YES)
    assert caught.value.file == str(answers.folder)
    answers.clear_answers()
