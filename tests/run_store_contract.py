"""Contract of the stores of runs: logs as exact bytes, one holder for each run, and the ways to find a run.

A subclass in a test module provides the fixture `open_store`: it opens the same store as another process does.
"""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.audit.events import Event
from orchestrator.audit.log import AuditLog
from orchestrator.audit.record import Record
from orchestrator.audit.store import RunStore, read_run
from orchestrator.audit.verify import Verdict, ignore_record
from orchestrator.errors import RunHeldError, SettingsError, UsageError

OpenStore = Callable[[], RunStore]
ONE, TWO = "20261123T080000Z-0001", "20261123T090000Z-0002"
FIRST: list[tuple[str, dict[str, Any]]] = [
    (Event.RUN_STARTED, {"playbook": {"name": "nächtlich"}}),
    (Event.RUN_PLANNED, {"targets": []}),
]


def read_all(store: RunStore, run_id: str = ONE) -> list[bytes]:
    return list(store.get_run(run_id).read_lines())


async def add(log: AuditLog, event: str, **fields: object) -> None:
    log.record(event, **fields)
    await log.flush()


async def finish(store: RunStore, run_id: str = ONE) -> None:
    """Create a log, and finish its run."""
    log = store.create_log(run_id, FIRST)
    await add(log, Event.RUN_FINISHED, ending="completed", exit_code=6)
    log.close()


class RunStoreContract:
    """Tests of every store of runs."""

    async def test_every_process_reads_the_exact_lines_once_they_are_durable(self, open_store: OpenStore) -> None:
        mine, other = open_store(), open_store()
        seen: list[Record] = []
        log = mine.create_log(ONE, FIRST, observers=[seen.append])
        assert [record["event"] for record in seen] == ["run.started", "run.planned"]
        assert len(read_all(other)) == 2
        log.record(Event.NOTICE, text="é\u2028 \x7f")
        assert len(read_all(other)) == 2
        await log.flush()
        log.close()
        assert [record["seq"] for record in seen] == [1, 2, 3]
        lines = read_all(other)
        assert lines == read_all(mine)
        assert b"\xc3\xa9\xe2\x80\xa8" in lines[2]
        assert all(line.endswith(b"\n") for line in lines)
        reading = read_run(other.get_run(ONE))
        assert (reading.verdict, reading.chain.seq) == (Verdict.UNFINISHED, 3)

    async def test_a_run_has_one_holder_until_the_log_is_closed(self, open_store: OpenStore) -> None:
        mine, other = open_store(), open_store()
        log = mine.create_log(ONE, FIRST)
        assert other.get_run(ONE).is_locked()
        with pytest.raises(RunHeldError, match="another process executes this run"):
            other.get_run(ONE).open_log(ignore_record)
        log.close()
        log.close()
        assert not other.get_run(ONE).is_locked()
        again, _ = other.get_run(ONE).open_log(ignore_record)
        with pytest.raises(RunHeldError):
            mine.get_run(ONE).open_log(ignore_record)
        again.close()

    async def test_another_process_continues_the_chain(self, open_store: OpenStore) -> None:
        mine, other = open_store(), open_store()
        mine.create_log(ONE, FIRST).close()
        records: list[Record] = []
        log, reading = other.get_run(ONE).open_log(records.append)
        assert [record["event"] for record in records] == ["run.started", "run.planned"]
        log.record_resumed(reading.torn, unterminated=reading.unterminated, open=0)
        await log.flush()
        await add(log, Event.RUN_FINISHED, ending="completed", exit_code=0)
        log.close()
        assert read_run(mine.get_run(ONE)).verdict is Verdict.WHOLE

    async def test_a_finished_run_takes_records_about_the_run(self, open_store: OpenStore) -> None:
        mine, other = open_store(), open_store()
        await finish(mine)
        for store in (other, mine):
            log, reading = store.get_run(ONE).open_log(ignore_record)
            log.record_about(reading, Event.BILLING_RECONCILED, charged="1.00")
            await log.flush()
            log.close()
        assert len(read_all(other)) == 5
        assert read_run(other.get_run(ONE)).verdict is Verdict.WHOLE

    async def test_runs_are_listed_newest_first_and_found_by_id_prefix_and_last(self, open_store: OpenStore) -> None:
        mine, other = open_store(), open_store()
        assert list(other.list_runs()) == []
        log = mine.create_log(ONE, FIRST)
        await finish(mine, TWO)
        listed = list(other.list_runs())
        assert [(run.run_id, run.is_locked()) for run in listed] == [(TWO, False), (ONE, True)]
        assert [len(list(run.read_lines())) for run in listed] == [3, 2]
        names = {ONE: ONE, ONE[:11]: ONE, "last": TWO, TWO: TWO}
        assert {name: other.find_run(name).run_id for name in names} == names
        for name in ("2026", "20270101", ""):
            with pytest.raises(UsageError):
                other.find_run(name)
        log.close()

    async def test_the_version_of_a_log_changes_with_every_record(self, open_store: OpenStore) -> None:
        mine, other = open_store(), open_store()
        log = mine.create_log(ONE, FIRST)
        before = other.get_run(ONE).read_version()
        assert other.get_run(ONE).read_version() == before
        await add(log, Event.NOTICE)
        assert other.get_run(ONE).read_version() != before
        log.close()

    async def test_a_run_without_a_log_cannot_be_read(self, open_store: OpenStore) -> None:
        run = open_store().get_run(ONE)
        for read in (lambda: list(run.read_lines()), run.is_locked, run.read_version):
            with pytest.raises(FileNotFoundError):
                read()
        with pytest.raises(SettingsError):
            run.open_log(ignore_record)

    async def test_a_run_is_created_once(self, open_store: OpenStore) -> None:
        mine, other = open_store(), open_store()
        await finish(mine)
        with pytest.raises(SettingsError):
            other.create_log(ONE, FIRST)
        assert len(read_all(mine)) == 3
