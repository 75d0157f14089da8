"""The journal survives a torn last line, and its size is bounded."""

import json
from pathlib import Path

import pytest

from orchestrator.audit.log import write_inline
from orchestrator.errors import SettingsError
from orchestrator.service import journal as the_journal
from orchestrator.service import service_state
from orchestrator.service.journal import FileJournal, FileJournalStore
from orchestrator.state_files import write_all
from orchestrator.times import timestamp
from tests.journal_contract import ABOUT, JournalContract, OpenJournal
from tests.service.host import MONDAY

pytestmark = pytest.mark.anyio
CLAIM = {
    "playbook": "a",
    "planned": timestamp(MONDAY),
    "moment": timestamp(MONDAY),
    "run_id": "20270301T000000Z-0001",
    "missed": 0,
    "run_once": False,
    "queued": False,
}


def opened(state: Path) -> FileJournal:
    return FileJournalStore(state, wall=lambda: MONDAY, sync=write_inline).open_journal()


def file_of(state: Path) -> Path:
    return state / "service" / "journal.jsonl"


async def a_claim(state: Path) -> None:
    journal = opened(state)
    await journal.write("schedule.enabled", **ABOUT)
    await journal.write("firing.claimed", **CLAIM)
    journal.close()


class TestFileJournal(JournalContract):
    """The contract over a file."""

    @pytest.fixture
    def few_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(the_journal, "_LINES", 10)

    @pytest.fixture
    def open_journal(self, tmp_path: Path) -> OpenJournal:
        before: list[FileJournal] = []

        async def open_one() -> FileJournal:
            for each in before:
                each.close()
            before.append(opened(tmp_path))
            return before[-1]

        return open_one


async def test_a_new_process_begins_with_a_snapshot_that_others_may_not_read(tmp_path: Path) -> None:
    await a_claim(tmp_path)
    opened(tmp_path).close()
    assert json.loads(file_of(tmp_path).read_bytes())["event"] == "snapshot"
    assert file_of(tmp_path).stat().st_mode & 0o777 == 0o600


async def test_a_line_that_was_cut_off_counts_for_nothing_and_is_not_in_the_way(tmp_path: Path) -> None:
    await a_claim(tmp_path)
    whole = file_of(tmp_path).read_bytes()
    for end in range(0, len(whole), 5):
        file_of(tmp_path).write_bytes(whole[:end])
        assert FileJournalStore(tmp_path).read_state().claims == {}
    file_of(tmp_path).write_bytes(whole + b'{"v":1,"ev')
    journal = opened(tmp_path)
    await journal.write("firing.ended", **CLAIM, result="ran", exit_code=0, reason=None)
    journal.close()
    assert FileJournalStore(tmp_path).read_state().claims == {}
    assert FileJournalStore(tmp_path).read_state().playbooks["a"].last_success == MONDAY


async def test_a_write_that_failed_half_way_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path)
    await journal.write("schedule.enabled", **ABOUT)
    whole = write_all

    def half(fd: int, data: bytes) -> None:
        whole(fd, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(the_journal, "write_all", half)
    with pytest.raises(OSError, match="No space"):
        await journal.write("firing.claimed", **CLAIM)
    assert (journal.state.claims, journal.failure) == ({}, "No space left on device")
    monkeypatch.undo()
    await journal.write("firing.claimed", **CLAIM)
    assert journal.failure is None
    journal.close()
    assert len(FileJournalStore(tmp_path).read_state().claims) == 1


async def test_it_is_replaced_by_what_it_says_when_it_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(the_journal, "_LINES", 10)
    monkeypatch.setattr(service_state, "REMEMBERED", 40)
    journal = opened(tmp_path)
    await journal.write("schedule.enabled", **ABOUT)
    for number in range(60):
        planned = timestamp(MONDAY.replace(hour=number % 24, minute=number // 24))
        claim = {**CLAIM, "planned": planned}
        await journal.write("firing.claimed", **claim)
        await journal.write("firing.ended", **claim, result="ran", exit_code=0, reason=None)
    assert len(file_of(tmp_path).read_bytes().splitlines()) <= 10
    known = journal.state.playbooks["a"]
    assert (len(known.decided), journal.state.claims) == (40, {})
    assert known.forgotten is not None
    journal.close()
    assert FileJournalStore(tmp_path).read_state().playbooks["a"] == known
    assert file_of(tmp_path).stat().st_size < 3_000


@pytest.mark.parametrize("line", ["{}", "[]", "nonsense", '{"v":1,"ts":"x","event":"of no kind"}', '{"v":1}'])
async def test_a_journal_that_is_not_what_a_service_wrote_is_refused(tmp_path: Path, line: str) -> None:
    await a_claim(tmp_path)
    file_of(tmp_path).write_text(line + "\n")
    with pytest.raises(SettingsError, match="journal is damaged") as refused:
        opened(tmp_path)
    assert refused.value.line == 1
    file_of(tmp_path).unlink()
    opened(tmp_path).close()  # nor does it keep the lock


async def test_a_journal_of_a_later_version_is_left_to_it(tmp_path: Path) -> None:
    await a_claim(tmp_path)
    file_of(tmp_path).write_text('{"v":3,"event":"snapshot"}\n')
    with pytest.raises(SettingsError, match="later version"):
        opened(tmp_path)
