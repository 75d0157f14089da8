"""Records about a finished run: appended under the lock, and whole whatever happens."""

from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.audit.log import AuditLog, write_inline
from orchestrator.audit.record import Record
from orchestrator.audit.verify import Reading, Verdict, read_log
from orchestrator.errors import AuditError
from tests.logs import RUN_ID, START, STORY, check_log, log, records_in

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def written(folder: Path, data: bytes) -> Path:
    path = folder / f"{RUN_ID}.jsonl"
    path.write_bytes(data)
    return path


def ignore(record: Record) -> None:
    """Take nothing of it."""


async def reconcile(path: Path, times: int = 1) -> Reading:
    again, reading = AuditLog.reopen(path, ignore, sync=write_inline)
    with closing(again):
        for number in range(times):
            again.record_about(reading, "billing.reconciled", number=number)
        await again.flush()
    return reading


async def test_records_about_a_finished_run_follow_on_and_leave_the_log_whole(tmp_path: Path) -> None:
    path = written(tmp_path, log())
    await reconcile(path, 2)
    await reconcile(path)
    assert read_log(path).verdict is Verdict.WHOLE
    assert [record["event"] for record in records_in(path)[-4:]] == ["run.finished", *["billing.reconciled"] * 3]
    assert path.read_bytes().startswith(log())


@pytest.mark.parametrize("cut", [1, 30, 200])
async def test_one_that_was_cut_off_is_named_by_the_next_and_the_run_stays_finished(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path, log())
    await reconcile(path)
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    for _ in range(2):
        reading = await reconcile(path, 2)
        assert (reading.verdict, reading.finished) == (Verdict.TORN, True)
        path.write_bytes(path.read_bytes()[:-cut])
    await reconcile(path)
    assert read_log(path).verdict is Verdict.WHOLE
    assert path.read_bytes().startswith(data[:-cut])


async def test_a_finish_that_lost_its_newline_alone_is_finished(tmp_path: Path) -> None:
    path = written(tmp_path, log()[:-1])
    reading = await reconcile(path)
    assert (reading.verdict, reading.finished, reading.torn) == (Verdict.TORN, True, None)
    assert read_log(path).verdict is Verdict.WHOLE


async def test_nothing_is_recorded_about_a_run_that_did_not_finish(tmp_path: Path) -> None:
    for data in (log(STORY[:-1]), log()[:-20], log().replace(b'"exit_code":6', b'"exit_code":0')):
        path = written(tmp_path, data)
        with pytest.raises(AuditError, match="did not finish"):
            await reconcile(path)
        assert path.read_bytes() == data


def test_a_line_torn_after_the_finish_is_named_by_a_record_about_the_run_alone() -> None:
    torn = b'{"at":"2026'
    reading = check_log(log() + torn)
    assert reading.torn is not None
    names = {"torn": reading.torn.document()}
    about = reading.chain.append("run.sealed", names, START)[1]
    assert check_log(log() + torn + b"\n" + about).verdict is Verdict.WHOLE
    assert check_log(log() + torn + b"#\n" + about).verdict is Verdict.ALTERED
    resumed = check_log(log()).chain.append("run.resumed", names, START)[1]
    assert check_log(log() + torn + b"\n" + resumed).verdict is Verdict.ALTERED
    early = check_log(log(STORY[:4]) + torn)
    assert early.torn is not None
    about = early.chain.append("billing.reconciled", {"torn": early.torn.document()}, START)[1]
    assert check_log(log(STORY[:4]) + torn + b"\n" + about).verdict is Verdict.ALTERED
