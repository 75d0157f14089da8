"""The index is a cache: whatever becomes of it, the logs tell the same."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from orchestrator.audit.store import FileRun, FileRunStore, StoredRun
from orchestrator.history.entry import Entry, Json, read_entry
from orchestrator.history.index import Index
from orchestrator.history.logs import read_entries, read_rows, select_named_within
from orchestrator.history.time_range import TimeRange
from tests.logs import LogBuilder, build_stop

BEGUN = datetime(2026, 11, 1, 8, tzinfo=UTC)


def much_later() -> int:
    return time.time_ns() + 10**18


class Site:
    """A state folder, looked at by one command after the other, each long after any log has changed.

    Attributes:
        state: the folder.
        read: the names of the logs that were read.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self.read: list[str] = []

    @property
    def path(self) -> Path:
        """The index."""
        return self.state / "history.sqlite3"

    def _read(self, run: StoredRun) -> Entry:
        self.read.append(f"{run.run_id}.jsonl")
        return read_entry(run)

    def open(self) -> Index:
        return Index(self.state, patience=0.0, now_ns=much_later)

    def listed(self) -> list[Json]:
        with self.open() as index:
            return [row for _, row in read_rows(FileRunStore(self.state).list_runs(), index, self._read)]

    def kept(self) -> list[tuple[str, Entry]]:
        with self.open() as index:
            return [
                (f"{run.run_id}.jsonl", entry)
                for run, entry in read_entries(FileRunStore(self.state).list_runs(), index, self._read)
            ]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_log_is_read_once_and_both_times_it_tells_the_same(site: Site) -> None:
    path = build_stop(BEGUN, 1, 2).write(site.state)
    assert site.kept() == site.kept() == [(path.name, read_entry(FileRun(path)))]
    assert site.listed()[0]["counts"] == {"settled": 2}
    assert site.read == [path.name]


def test_a_new_log_and_one_that_grew_are_seen_at_once(site: Site) -> None:
    made = LogBuilder.start(BEGUN).plan((1, "stop", "running"))
    made.write(site.state)
    assert [row["exit_code"] for row in site.listed()] == [None]
    made.end(1).finish().write(site.state)
    build_stop(BEGUN + timedelta(days=1), 2).write(site.state)
    assert [row["exit_code"] for row in site.listed()] == [0, 0]
    assert len(site.read) == 3


def test_a_log_altered_in_place_with_its_size_and_times_put_back_is_read_again(site: Site) -> None:
    path = build_stop(BEGUN, 1).write(site.state)
    before = path.stat()
    assert site.listed()[0]["verdict"] == "whole"
    path.write_bytes(path.read_bytes().replace(b'"web-1"', b'"web-2"', 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert [row["verdict"] for row in site.listed()] == ["altered"]
    assert len(site.read) == 2


def test_a_log_that_has_just_changed_is_not_kept_since_it_may_change_again_unseen(tmp_path: Path) -> None:
    path = build_stop(BEGUN, 1).write(tmp_path)
    changed = path.stat().st_ctime_ns
    for age_s, known in ((1, False), (3, True)):
        with Index(tmp_path, now_ns=partial(int, changed + age_s * 10**9)) as index:
            list(read_rows([FileRun(path)], index))
        with Index(tmp_path) as index:
            assert (index.row(path.stem, FileRun(path).read_version().stamp) is not None) is known


def test_logs_that_are_gone_are_forgotten(site: Site) -> None:
    first, second = build_stop(BEGUN, 1).write(site.state), build_stop(BEGUN + timedelta(days=1), 1).write(site.state)
    site.listed()
    stamp = FileRun(first).read_version().stamp
    with Index(site.state) as index:
        assert index.row(first.stem, stamp) is not None
        index.delete_missing([second.stem])
        assert index.row(first.stem, stamp) is None
        assert index.row(second.stem, FileRun(second).read_version().stamp) is not None


def overwritten(path: Path) -> None:
    path.write_bytes(b"this is no index" * 1000)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def scribbled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(4096, len(data), 97):
        data[place] ^= 0xFF
    path.write_bytes(data)


def of_another_version(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("UPDATE maker SET made_by = '0 0.0.1'")
        file.execute("UPDATE entry SET row = '{}'")
    file.close()


def of_another_shape(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("DROP TABLE entry")
    file.close()


def told_otherwise(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("""UPDATE entry SET row = replace(row, '"settled"', '"failed"')""")
    file.close()


def of_other_types(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("UPDATE entry SET lists = 17, row = x'ff'")
    file.close()


DAMAGE = [overwritten, emptied, cut, scribbled, of_another_version, of_another_shape, told_otherwise, of_other_types]


@pytest.mark.parametrize("damage", [*DAMAGE, Path.unlink], ids=lambda damage: damage.__name__)
def test_an_index_that_is_not_what_was_written_is_made_anew_and_changes_nothing(
    site: Site, damage: Callable[[Path], None]
) -> None:
    for day in range(12):
        build_stop(BEGUN + timedelta(days=day), 1, 2, 3).write(site.state)
    truth = site.kept()
    damage(site.path)
    assert site.kept() == truth
    assert len(site.read) == 24 or damage is scribbled  # that one leaves some rows as they were
    site.read.clear()
    assert site.kept() == truth
    assert site.read == []


def test_an_index_that_another_command_holds_is_done_without_and_left_as_it_is(site: Site) -> None:
    build_stop(BEGUN, 1).write(site.state)
    truth = site.kept()
    holder = sqlite3.connect(site.path)
    holder.execute("BEGIN EXCLUSIVE")
    assert site.kept() == truth
    assert len(site.read) == 2
    holder.rollback()
    holder.close()
    assert site.kept() == truth
    assert len(site.read) == 2


def test_an_index_that_can_only_be_read_is_read(site: Site) -> None:
    first = build_stop(BEGUN, 1).write(site.state)
    site.listed()
    build_stop(BEGUN + timedelta(days=1), 1).write(site.state)
    with Index(site.state, patience=0.0) as index:
        assert index._file is not None
        index._file.execute("PRAGMA query_only = ON")
        assert len(list(read_rows(FileRunStore(site.state).list_runs(), index))) == 2
    assert site.read.count(first.name) == 1
    assert len(site.listed()) == 2


def test_a_folder_in_the_place_of_the_index_is_done_without(site: Site) -> None:
    build_stop(BEGUN, 1).write(site.state)
    (site.path).mkdir()
    assert site.kept() == site.kept() != []
    assert len(site.read) == 2


def test_the_index_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    Index(tmp_path).close()
    assert (tmp_path / "history.sqlite3").stat().st_mode & 0o777 == 0o600


def test_commands_side_by_side_all_see_every_run(site: Site) -> None:
    for day in range(40):
        build_stop(BEGUN + timedelta(days=day), 1).write(site.state)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(site.listed()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [40] * 6
    site.read.clear()
    assert len(site.listed()) == 40


def test_a_log_that_vanishes_while_it_is_listed_is_left_out(tmp_path: Path) -> None:
    path = build_stop(BEGUN, 1).write(tmp_path)
    stored = FileRun(path)
    with Index(tmp_path) as index:
        assert list(read_rows([FileRun(path.with_name("20261101T080000Z-ffff.jsonl")), stored], index)) == [
            (stored, read_entry(stored).row)
        ]


def test_a_strange_name_is_a_name(site: Site) -> None:
    path = build_stop(BEGUN, 1).write(site.state)
    path.rename(os.fsdecode(os.fsencode(path.parent) + b"/copy-\xff.jsonl"))
    assert len(site.listed()) == len(site.listed()) == 1
    assert len(site.read) == 1


def test_only_logs_whose_names_rule_it_out_are_not_even_looked_at() -> None:
    names = ["20261101T080000Z-0000.jsonl", "20261110T080000Z-0000.jsonl", "20261120T080000Z-0000.jsonl", "copy.jsonl"]
    asked = TimeRange(BEGUN + timedelta(days=8), BEGUN + timedelta(days=10))
    assert [f"{run.run_id}.jsonl" for run in select_named_within((FileRun(Path(name)) for name in names), asked)] == [
        names[1],
        names[3],
    ]
