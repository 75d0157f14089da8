"""Writing a log: durable, locked, private, and whole whatever happens."""

import errno
import fcntl
import stat
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from orchestrator.audit import log as log_module
from orchestrator.audit.log import AuditLog, write_inline
from orchestrator.audit.record import Record, clean_value
from orchestrator.audit.store import is_held
from orchestrator.audit.verify import Reading, Verdict, read_log
from orchestrator.errors import AuditError, RunHeldError, SettingsError
from tests.logs import RUN_ID, START, STORY, check_log, log_path, records_in, write_by

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def ignore(record: Record) -> None:
    """Take nothing of a log that is opened again."""


def create(folder: Path, observers: Any = (), sync: Any = write_inline) -> AuditLog:  # noqa: ANN401 - as the log takes them
    return AuditLog.create(folder / "runs" / f"{RUN_ID}.jsonl", RUN_ID, STORY[:2], observers=observers, sync=sync)


async def test_a_new_log_is_private_and_holds_its_first_records(tmp_path: Path) -> None:
    log = create(tmp_path / "new" / "state")
    assert stat.S_IMODE(log_path(log).stat().st_mode) == 0o600
    assert stat.S_IMODE(log_path(log).parent.stat().st_mode) == 0o700
    records = records_in(log_path(log))
    assert [record["event"] for record in records] == ["run.started", "run.planned"]
    assert all(fields.items() <= record.items() for record, (_, fields) in zip(records, STORY[:2], strict=True))
    log.observers.append(records.append)
    log.close()


async def test_what_was_recorded_is_on_disk_once_flush_returns(tmp_path: Path) -> None:
    log = create(tmp_path)
    for event, fields in STORY[2:]:
        log.record(event, **fields)
    await log.flush()
    log.close()
    assert read_log(log_path(log)).verdict is Verdict.WHOLE


async def test_those_who_wait_share_one_sync_and_order_is_kept(tmp_path: Path) -> None:
    syncs, seen = 0, list[Record]()

    async def slow(write: Callable[[], None]) -> None:
        nonlocal syncs
        syncs += 1
        await anyio.lowlevel.checkpoint()
        write()

    log = create(tmp_path, observers=[seen.append], sync=slow)

    async def one(number: int) -> None:
        log.record("action.intent", number=number)
        await log.flush()

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(one, number)
    log.close()
    assert syncs < 5
    assert [record["number"] for record in seen[2:]] == list(range(50))
    assert read_log(log_path(log)).verdict is Verdict.UNFINISHED


async def test_a_record_that_is_made_while_a_thread_writes_is_not_lost(tmp_path: Path) -> None:
    go, done = threading.Event(), threading.Event()

    def wall() -> datetime:
        if writing:  # The record is half made here: let the thread write, and wait until it has.
            go.set()
            done.wait(10)
        return START

    async def in_the_middle(write: Callable[[], None]) -> None:
        def when_told() -> None:
            go.wait(10)
            write()
            done.set()

        await anyio.to_thread.run_sync(when_told)

    writing = False
    path = tmp_path / f"{RUN_ID}.jsonl"
    log = AuditLog.create(path, RUN_ID, STORY[:2], wall=wall, sync=in_the_middle)
    async with anyio.create_task_group() as group:
        log.record("action.intent")
        group.start_soon(log.flush)
        await anyio.wait_all_tasks_blocked()
        writing = True
        log.record("action.accepted")
    await log.flush()
    log.close()
    assert read_log(path).verdict is Verdict.UNFINISHED
    assert [record["event"] for record in records_in(path)[2:]] == ["action.intent", "action.accepted"]


async def test_a_disk_that_is_full_stops_everything_and_leaves_a_torn_line(tmp_path: Path) -> None:
    log = create(tmp_path)
    size = log_path(log).stat().st_size

    async def full(write: Callable[[], None]) -> None:
        del write
        with log_path(log).open("ab") as file:
            file.write(b'{"event":"action.int')
        raise OSError(errno.ENOSPC, "No space left on device")

    write_by(log, full)
    log.record("action.intent")
    with pytest.raises(AuditError, match="No space left"):
        await log.flush()
    with pytest.raises(AuditError):
        log.record("action.intent")
    with pytest.raises(AuditError):
        await log.flush()
    log.close()
    assert log_path(log).stat().st_size == size + 20
    assert read_log(log_path(log)).verdict is Verdict.TORN


async def test_a_log_that_is_deleted_while_the_run_goes_on_ends_it(tmp_path: Path) -> None:
    log = create(tmp_path)
    log_path(log).unlink()
    log.record("action.intent")
    with pytest.raises(AuditError, match="deleted"):
        await log.flush()
    log.close()


async def test_a_folder_that_cannot_be_used_is_a_matter_of_settings(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match="can't be written"):
        create(tmp_path / "file")


async def test_two_processes_never_hold_the_same_run(tmp_path: Path) -> None:
    log = create(tmp_path)
    assert is_held(log_path(log))
    with pytest.raises(RunHeldError):
        AuditLog.reopen(log_path(log), ignore)
    log.close()
    log.close()
    assert not is_held(log_path(log))


@pytest.mark.parametrize("cut", [1, 30, 200])
async def test_a_resume_seals_a_torn_line_and_the_log_is_whole_again(tmp_path: Path, cut: int) -> None:
    log = create(tmp_path)
    log.record("action.intent", **STORY[2][1])
    await log.flush()
    log.close()
    data = log_path(log).read_bytes()
    log_path(log).write_bytes(data[:-cut])
    again, reading = AuditLog.reopen(log_path(log), ignore, sync=write_inline)
    assert reading.verdict is Verdict.TORN
    again.record_resumed(reading.torn, unterminated=reading.unterminated)
    again.record("run.finished", exit_code=0)
    await again.flush()
    again.close()
    assert read_log(log_path(log)).verdict is Verdict.WHOLE
    assert log_path(log).read_bytes().startswith(data[:-cut])
    assert (records_in(log_path(log))[-2].get("torn") is None) is (cut == 1)


async def test_a_resume_that_is_cut_off_itself_can_be_resumed(tmp_path: Path) -> None:
    log = create(tmp_path)
    log.close()
    path = log_path(log)
    path.write_bytes(path.read_bytes()[:-10])
    for _ in range(3):
        again, reading = AuditLog.reopen(path, ignore, sync=write_inline)
        assert reading.verdict is Verdict.TORN
        again.record_resumed(reading.torn, unterminated=reading.unterminated)
        await again.flush()
        again.close()
        path.write_bytes(path.read_bytes()[:-10])
    again, reading = AuditLog.reopen(path, ignore, sync=write_inline)
    again.record_resumed(reading.torn, unterminated=reading.unterminated)
    await again.flush()
    again.close()
    assert read_log(path).verdict is Verdict.UNFINISHED


async def test_a_clock_that_is_set_back_does_not_take_later_records_before_earlier_ones(tmp_path: Path) -> None:
    moments = iter([START.replace(hour=9), START.replace(hour=9), START.replace(hour=7), START.replace(hour=10)])
    path = tmp_path / f"{RUN_ID}.jsonl"
    log = AuditLog.create(path, RUN_ID, STORY[:2], wall=lambda: next(moments), sync=write_inline)
    log.record("action.intent")
    log.record("action.intent")
    await log.flush()
    log.close()
    stamps = [record["ts"] for record in records_in(path)]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize("text", ["\x1b[31m", "a\nb", "\x00", "\ud800 half", "<b>", "\u202e", "x" * 1_000_000, "=1+1"])
async def test_whatever_others_wrote_is_logged_whole_on_one_line(tmp_path: Path, text: str) -> None:
    log = create(tmp_path)
    log.record("action.failed", reason=text)
    await log.flush()
    log.close()
    records: list[Record] = []
    assert check_log(log_path(log).read_bytes(), records.append).verdict is Verdict.UNFINISHED
    assert records[-1]["reason"] == clean_value(text)
    assert len(str(records[-1]["reason"])) >= len(text)


def test_who_only_asks_whether_a_log_is_held_keeps_nobody_from_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.touch()
    with path.open("rb") as asking, path.open("rb") as mine:
        fcntl.flock(asking, fcntl.LOCK_SH)
        log_module._lock_file(mine.fileno(), path, lambda _: fcntl.flock(asking, fcntl.LOCK_UN))
        with pytest.raises(BlockingIOError):
            fcntl.flock(asking, fcntl.LOCK_SH | fcntl.LOCK_NB)


async def test_a_held_log_is_an_error_with_its_file_and_the_way_out(tmp_path: Path) -> None:
    log = create(tmp_path)
    with pytest.raises(RunHeldError) as caught:
        AuditLog.reopen(log_path(log), ignore)
    log.close()
    assert caught.value.message == "another process executes this run"
    assert (caught.value.file, caught.value.hint) == (
        str(log_path(log)),
        "wait for the end of that process, or stop the process first",
    )


async def test_an_unusable_folder_or_a_missing_log_is_an_error_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError) as caught:
        create(tmp_path / "file")
    assert caught.value.message == "the audit log can't be written: File exists"
    assert caught.value.file == str(tmp_path / "file" / "runs" / f"{RUN_ID}.jsonl")
    assert caught.value.hint == "nothing was sent; set ORCHESTRATOR_STATE_DIR to a folder that can be written"
    with pytest.raises(SettingsError) as missing:
        AuditLog.reopen(tmp_path / "no.jsonl", ignore)
    assert missing.value.message == "the audit log can't be continued: No such file or directory"
    assert missing.value.file == str(tmp_path / "no.jsonl")


def test_a_log_without_its_first_records_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(log_module, "sync_file", refuse)
    before = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(SettingsError, match="the audit log can't be written: No space left on device"):
        create(tmp_path)
    assert list((tmp_path / "runs").iterdir()) == []
    assert len(list(Path("/dev/fd").iterdir())) == before


async def test_a_failed_write_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    log = create(tmp_path)

    async def full(_write: Callable[[], None]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_by(log, full)
    log.record("action.intent")
    with pytest.raises(AuditError) as caught:
        await log.flush()
    log.close()
    assert (caught.value.message, caught.value.file) == (
        "the audit log can't be written: No space left on device",
        str(log_path(log)),
    )
    assert caught.value.hint == log_module._REPAIR


async def test_a_continued_log_gives_its_records_and_ends_with_its_file(tmp_path: Path) -> None:
    create(tmp_path).close()
    records = list[Record]()
    path = tmp_path / "runs" / f"{RUN_ID}.jsonl"
    log, _ = AuditLog.reopen(path, records.append, wall=lambda: START)
    assert [record["event"] for record in records] == ["run.started", "run.planned"]
    assert log.run_id == RUN_ID
    log.record("run.resumed")
    await log.flush()
    assert records_in(path)[-1]["event"] == "run.resumed"
    path.unlink()
    log.record("action.intent")
    with pytest.raises(AuditError, match="the log file was deleted while the run was going on") as caught:
        await log.flush()
    log.close()
    assert (caught.value.file, caught.value.hint) == (str(path), log_module._GONE)


async def test_a_failure_of_the_place_of_a_log_ends_every_later_record(tmp_path: Path) -> None:
    log = create(tmp_path)

    async def lose(_batch: object) -> None:
        raise AuditError("the lease was lost")

    log.backing.write = lose  # type: ignore[assignment,method-assign]
    log.record("action.intent")
    with pytest.raises(AuditError, match="the lease was lost"):
        await log.flush()
    with pytest.raises(AuditError, match="the lease was lost"):
        log.record("action.intent")
    log.close()


async def test_records_about_a_finished_run_keep_their_fields_and_an_open_run_has_none(tmp_path: Path) -> None:
    log = create(tmp_path)
    for event, fields in STORY[2:]:
        log.record(event, **fields)
    await log.flush()
    log.close()
    log, reading = AuditLog.reopen(log_path(log), ignore)
    for number in (1, 2):
        log.record_about(reading, "billing.reconciled", number=number)
    await log.flush()
    log.close()
    assert [record.get("number") for record in records_in(log_path(log))[-2:]] == [1, 2]
    open_log = AuditLog.create(tmp_path / "open.jsonl", RUN_ID, STORY[:2], sync=write_inline)
    with pytest.raises(AuditError, match="the run did not finish, so billing\\.reconciled can't be recorded") as caught:
        open_log.record_about(Reading(), "billing.reconciled")
    open_log.close()
    assert caught.value.file == str(tmp_path / "open.jsonl")
