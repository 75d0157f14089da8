"""Runs in files: the contract of the stores of runs, names of runs, and unusable folders and logs."""

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from orchestrator.audit.approvals import FileApprovalStore
from orchestrator.audit.store import (
    FileRun,
    FileRunStore,
    LogVersion,
    is_run_id,
    new_run_id,
    new_run_ids,
    open_run_file,
    read_sound_run,
    seal_file,
)
from orchestrator.audit.verify import ignore_record
from orchestrator.errors import SettingsError, UsageError
from orchestrator.state_files import PLAN_FORMAT
from tests.run_store_contract import OpenStore, RunStoreContract

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough here."""
    return "asyncio"


@pytest.fixture
def open_store(tmp_path: Path) -> OpenStore:
    """Open the same folder."""

    def open_folder() -> FileRunStore:
        store = FileRunStore(tmp_path)
        store.prepare()
        return store

    return open_folder


class TestFileRunStore(RunStoreContract):
    """The contract over files."""


OLD, NEW = "20261122T080000Z-0001", "20261123T080000Z-4f2a"


@pytest.fixture
def store(tmp_path: Path) -> FileRunStore:
    store = FileRunStore(tmp_path)
    store.prepare()
    return store


def add_logs(store: FileRunStore, *names: str) -> None:
    for name in names:
        store.path_of(name).write_bytes(b"")


def refuse(store: FileRunStore, name: str) -> tuple[str, str | None]:
    with pytest.raises(UsageError) as caught:
        store.find_log(name)
    return caught.value.message, caught.value.hint


async def test_ids_of_runs_sort_by_utc_time_and_are_all_different() -> None:
    moment = datetime(2026, 11, 23, 10, tzinfo=timezone(timedelta(hours=2)))
    assert new_run_id(moment).startswith("20261123T080000Z-")
    assert len(new_run_id(moment)) == len(NEW)
    ids = new_run_ids(moment, 100)
    assert len(set(ids)) == len(ids) == 100
    assert all(is_run_id(each) and each.startswith("20261123T080000Z-") for each in ids)
    assert not is_run_id(f"{NEW}0g")


async def test_a_log_is_found_by_path_id_prefix_and_last(store: FileRunStore, tmp_path: Path) -> None:
    add_logs(store, OLD, NEW, "copy")
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"")
    assert store.find_log(str(other)) == other
    assert store.find_log(NEW) == store.find_log("20261123") == store.find_log("last") == store.path_of(NEW)
    assert [run.run_id for run in store.list_runs()] == ["copy", NEW, OLD]
    assert store.find_log("cop") == store.path_of("copy")


async def test_an_unknown_or_ambiguous_name_is_an_error_with_candidates(store: FileRunStore) -> None:
    folder = store.folder
    assert refuse(store, "last") == ("there is no last run", f"there are no runs in {folder}")
    assert refuse(store, OLD) == (f"there is no run {OLD!r}", f"there are no runs in {folder}")
    add_logs(store, "copy")
    assert refuse(store, "last")[0] == "there is no last run", "a copy has no time"
    add_logs(store, OLD, NEW)
    newest = f"the newest are: copy, {NEW}, {OLD}"
    assert refuse(store, "2026112") == ("2 run ids begin with '2026112'", f"give more of the id: {NEW}, {OLD}")
    assert refuse(store, "nothing") == ("there is no run 'nothing'", newest)
    assert refuse(store, "") == ("there is no run ''", newest)
    assert refuse(store, f"{NEW[:-1]}b") == (f"there is no run {NEW[:-1] + 'b'!r}", f"did you mean {NEW}? {newest}")


async def test_a_pruned_run_is_named_with_the_time_of_its_removal(store: FileRunStore, tmp_path: Path) -> None:
    assert store.pruned_at(OLD) is None
    lines = [
        b"\xff\n",
        b'{"run_id": "%s", "ts": "\n' % OLD.encode(),
        b'["%s"]\n' % OLD.encode(),
        json.dumps({"run_id": OLD, "ts": "first"}).encode() + b"\n",
        json.dumps({"run_id": NEW, "ts": "other", "copy_of": OLD}).encode() + b"\n",
        b"[" * 100_000 + b'"%s"\n' % OLD.encode(),
    ]
    (tmp_path / "pruned.jsonl").write_bytes(b"".join(lines))
    assert store.pruned_at(OLD) == "first"
    with pytest.raises(UsageError, match=f"run {OLD} was pruned at first") as caught:
        store.find_log(OLD)
    assert (caught.value.file, caught.value.hint) == (str(tmp_path / "pruned.jsonl"), "that file has its digest")


async def test_a_state_folder_in_the_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(SettingsError) as caught:
        FileRunStore(tmp_path).prepare()
    assert caught.value.message == "the state folder can't be used: File exists"
    assert caught.value.file == str(tmp_path / "runs")
    assert caught.value.hint == "set ORCHESTRATOR_STATE_DIR to a folder of yours"
    assert list(FileRunStore(tmp_path)) == []
    assert list(FileRunStore(tmp_path / "missing")) == []


async def test_only_regular_files_with_the_suffix_are_logs(store: FileRunStore) -> None:
    add_logs(store, NEW, ".hidden")
    store.folder.joinpath(f"{NEW}.seal.json").write_text("{}")
    os.mkfifo(store.path_of(OLD))
    assert list(store) == [store.path_of(NEW)]


async def test_a_run_in_a_file_names_its_places_and_its_version(store: FileRunStore) -> None:
    add_logs(store, NEW)
    run = store.get_run(NEW)
    path = store.path_of(NEW)
    assert (run.run_id, run.location, store.location) == (NEW, str(path), str(store.folder))
    assert seal_file(path) == store.folder / f"{NEW}.seal.json"
    assert not run.is_continued()
    approvals = run.open_approvals()
    assert isinstance(approvals, FileApprovalStore)
    assert approvals.folder == store.folder.with_name("answers")
    found = path.stat()
    stamp = f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
    assert run.read_version() == LogVersion(stamp, max(found.st_mtime_ns, found.st_ctime_ns))


async def test_a_plan_file_is_no_log(tmp_path: Path) -> None:
    log, plan = tmp_path / "log.jsonl", tmp_path / "plan.json"
    log.write_text("")
    assert open_run_file(log).path == log
    plan.write_text(f'{{ "format": "{PLAN_FORMAT}"')
    with pytest.raises(UsageError, match="this is a plan file, not the audit log of a run") as caught:
        open_run_file(plan)
    assert caught.value.file == str(plan)
    assert f"orchestrator run --plan {plan}" in (caught.value.hint or "")


async def test_an_altered_or_unreadable_log_is_refused_with_its_line(store: FileRunStore) -> None:
    taken = list[object]()
    path = store.path_of(NEW)
    log = store.create_log(NEW, [("run.started", {"n": 1}), ("run.planned", {"n": 2})])
    await log.flush()
    log.close()
    assert read_sound_run(FileRun(path), lambda record: taken.append(record["event"])).records == 2
    assert taken == ["run.started", "run.planned"]
    path.write_bytes(path.read_bytes().replace(b'"n":2', b'"n":3'))
    with pytest.raises(SettingsError, match="the audit log was altered: its content does not match its hash") as caught:
        read_sound_run(FileRun(path), ignore_record, "look")
    assert (caught.value.file, caught.value.line, caught.value.hint) == (str(path), 2, "look")
    path.unlink()
    with pytest.raises(SettingsError, match="the audit log can't be read: No such file or directory") as missing:
        read_sound_run(FileRun(path), ignore_record)
    assert missing.value.file == str(path)


async def test_last_is_never_a_file_with_this_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "last").touch()
    store = FileRunStore(tmp_path)
    with pytest.raises(UsageError, match="there is no last run"):
        store.find_log("last")
    assert store.find_log("./last") == Path("last")
