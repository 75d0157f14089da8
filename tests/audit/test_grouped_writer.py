"""The writes of many logs go to the disk in groups."""

import threading
from pathlib import Path

import anyio
import pytest

from orchestrator.audit.grouped_writer import GroupedWriter, write_in_groups
from orchestrator.audit.log import AuditLog, FileBacking, PendingWrite
from orchestrator.audit.verify import read_log
from orchestrator.errors import AuditError
from tests.logs import STORY, log_path, write_by

pytestmark = pytest.mark.anyio


class SlowWrite(PendingWrite):
    """A write that notes its steps, and may wait or fail."""

    def __init__(
        self, name: str, steps: list[str], wait: threading.Event | None = None, *, fails: bool = False
    ) -> None:
        self._name, self._steps, self._wait, self._fails = name, steps, wait, fails

    def write(self) -> None:
        if self._wait is not None:
            self._wait.wait(10)
        if self._fails:
            raise OSError(28, "no space")
        self._steps.append(f"write {self._name}")

    def sync(self) -> None:
        self._steps.append(f"sync {self._name}")


async def test_writes_that_gather_during_a_group_are_all_written_before_the_first_sync() -> None:
    writer, steps, may_go_on = GroupedWriter(), list[str](), threading.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(writer, SlowWrite("a", steps, may_go_on))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(writer, SlowWrite("b", steps))
        group.start_soon(writer, SlowWrite("c", steps))
        await anyio.wait_all_tasks_blocked()
        may_go_on.set()
    assert steps == ["write a", "sync a", "write b", "write c", "sync b", "sync c"]


async def test_a_failed_write_fails_its_own_log_only() -> None:
    writer, steps, may_go_on, failed = GroupedWriter(), list[str](), threading.Event(), list[OSError]()

    async def fail() -> None:
        try:
            await writer(SlowWrite("b", steps, fails=True))
        except OSError as error:
            failed.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(writer, SlowWrite("a", steps, may_go_on))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(fail)
        group.start_soon(writer, SlowWrite("c", steps))
        await anyio.wait_all_tasks_blocked()
        may_go_on.set()
    assert (steps, [error.strerror for error in failed]) == (["write a", "sync a", "write c", "sync c"], ["no space"])


async def test_logs_with_one_writer_are_sound_and_complete(tmp_path: Path) -> None:
    writer = GroupedWriter()

    async def write(run_id: str) -> Path:
        log = AuditLog.create(tmp_path / f"{run_id}.jsonl", run_id, STORY[:2])
        write_by(log, writer)
        for event, fields in STORY[2:]:
            log.record(event, **fields)
            await log.flush()
        log.close()
        return log_path(log)

    names = [f"20260101T000000Z-{number:06x}" for number in range(8)]
    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(write, name)
    for name in names:
        records = list[object]()
        reading = read_log(tmp_path / f"{name}.jsonl", records.append)
        assert (len(records), reading.torn) == (len(STORY), None)


async def test_a_log_without_its_file_stops_alone(tmp_path: Path) -> None:
    writer = GroupedWriter()
    gone = AuditLog.create(tmp_path / "gone.jsonl", "20260101T000000Z-000001", STORY[:2])
    left = AuditLog.create(tmp_path / "left.jsonl", "20260101T000000Z-000002", STORY[:2])
    log_path(gone).unlink()
    for log in (gone, left):
        write_by(log, writer)
        log.record(STORY[2][0], **STORY[2][1])
    with pytest.raises(AuditError):
        await gone.flush()
    await left.flush()
    assert read_log(log_path(left), lambda _record: None).records == 3
    gone.close()
    left.close()


async def test_logs_in_files_are_written_together(tmp_path: Path) -> None:
    logs = [
        AuditLog.create(tmp_path / f"{number}.jsonl", f"20260101T000000Z-00000{number}", STORY[:2]) for number in (1, 2)
    ]
    write_in_groups(logs)
    (writer,) = {log.backing._sync for log in logs if isinstance(log.backing, FileBacking)}
    assert isinstance(writer, GroupedWriter)
    for log in logs:
        log.close()
