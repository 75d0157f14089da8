"""Pruning: the logs that may be removed, and the record of every removed log."""

import fcntl
import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.audit.keys import key_id
from orchestrator.audit.pruning import Found, KeepReason, PrunePolicy, inspect_log, keep_fleets_whole, remove_logs
from orchestrator.audit.record import Chain, compute_hash
from orchestrator.audit.seal_create import seal_elsewhere
from orchestrator.audit.store import FileRunStore, seal_file
from orchestrator.audit.verify import Verdict
from orchestrator.errors import UsageError
from tests.audit.test_seal_format import KEY, KEYS, LATER, OTHER, SEALED, reconciled, sealed
from tests.logs import RUN_ID, START, STORY, check_log, log

LONG_AFTER = START + timedelta(days=100)
OLD = PrunePolicy(before=START + timedelta(days=10))


@pytest.fixture
def store(tmp_path: Path) -> FileRunStore:
    found = FileRunStore(tmp_path)
    found.folder.mkdir()
    return found


def kept(store: FileRunStore, data: bytes, terms: PrunePolicy = OLD, run_id: str = RUN_ID) -> KeepReason | None:
    path = store.path_of(run_id)
    path.write_bytes(data)
    return inspect_log(path, terms).kept


def remove(store: FileRunStore, *found: Found, at: datetime = LONG_AFTER) -> list[KeepReason | None]:
    return [why for _, why in remove_logs(found, store.pruned_file, by="me@here", at=at)]


def test_an_old_finished_log_that_is_sealed_to_its_end_may_go(store: FileRunStore) -> None:
    assert kept(store, SEALED) is None
    assert kept(store, LATER) is None


@pytest.mark.parametrize("sealed_too", [True, False])
def test_a_log_goes_by_the_time_of_its_last_record_and_not_by_that_of_its_file(
    store: FileRunStore, *, sealed_too: bool
) -> None:
    data = SEALED if sealed_too else log()
    assert kept(store, data, PrunePolicy(before=START, unsealed=True)) is KeepReason.YOUNG
    assert (
        kept(store, reconciled(data), PrunePolicy(before=START + timedelta(minutes=59), unsealed=True))
        is KeepReason.YOUNG
    )
    assert kept(store, reconciled(data), PrunePolicy(before=START + timedelta(minutes=61), unsealed=True)) is None


def test_what_is_not_sealed_to_its_end_goes_only_when_told(store: FileRunStore) -> None:
    for data in (log(), reconciled(SEALED), SEALED[:-1], SEALED[:-30]):
        assert kept(store, data) is KeepReason.UNSEALED
        assert kept(store, data, PrunePolicy(OLD.before, unfinished=True)) is KeepReason.UNSEALED
        assert kept(store, data, PrunePolicy(OLD.before, unsealed=True)) is None


def test_what_did_not_finish_goes_only_when_told(store: FileRunStore) -> None:
    for data in (log(STORY[:-1]), log(STORY[:1]), log()[:-20], b""):
        assert kept(store, data) is KeepReason.UNFINISHED
        assert kept(store, data, PrunePolicy(OLD.before, unsealed=True)) is KeepReason.UNFINISHED
        assert kept(store, data, PrunePolicy(OLD.before, unfinished=True)) is None


def test_what_was_altered_or_is_of_another_run_never_goes(store: FileRunStore) -> None:
    anything = PrunePolicy(OLD.before, unsealed=True, unfinished=True)
    assert kept(store, SEALED.replace(b'"exit_code":6', b'"exit_code":0'), anything) is KeepReason.ALTERED
    assert kept(store, SEALED, anything, "20261123T080000Z-ffff") is KeepReason.FOREIGN
    assert kept(store, SEALED, anything, "my-notes") is KeepReason.FOREIGN


def test_with_a_public_key_only_good_seals_by_it_count(store: FileRunStore) -> None:
    by_key = PrunePolicy(OLD.before, keys=KEYS)
    assert kept(store, SEALED, by_key) is None
    assert kept(store, sealed(log(), OTHER), by_key) is KeepReason.UNSEALED
    assert kept(store, reconciled(SEALED), by_key) is KeepReason.UNSEALED
    assert kept(store, forged()) is None
    assert kept(store, forged(), by_key) is KeepReason.ALTERED


def forged() -> bytes:
    """A log with a seal that says to be by the key, and is not."""
    chain: Chain = check_log(log()).chain
    name = key_id(KEY.public_key())
    return log() + chain.append("run.sealed", {"algorithm": "ed25519", "key_id": name, "signature": ""}, START)[1]


def test_a_seal_beside_the_log_counts_when_it_is_of_all_of_it(store: FileRunStore) -> None:
    path = store.path_of(RUN_ID)
    path.write_bytes(log())
    seal_elsewhere(path, seal_file(path), KEY, by="me@here")
    assert inspect_log(path, OLD).kept is None
    assert inspect_log(path, PrunePolicy(OLD.before, keys=KEYS)).kept is None
    path.write_bytes(reconciled(log()))
    assert inspect_log(path, OLD).kept is KeepReason.UNSEALED


@pytest.fixture
def old(store: FileRunStore) -> Found:
    path = store.path_of(RUN_ID)
    path.write_bytes(SEALED)
    return inspect_log(path, OLD)


def test_what_is_removed_is_on_record_with_its_digest_and_its_seal(store: FileRunStore, old: Found) -> None:
    seal_elsewhere(old.path, seal_file(old.path), KEY, by="me@here")
    assert remove(store, old) == [None]
    assert list(store.folder.iterdir()) == []
    (line,) = store.pruned_file.read_text().splitlines()
    record = json.loads(line)
    last = json.loads(SEALED.splitlines()[-1])
    assert (record["run_id"], record["digest"], record["bytes"]) == (RUN_ID, compute_hash(last), len(SEALED))
    assert record == {
        "v": 1,
        "ts": "2027-03-03T08:00:00.000000Z",
        "event": "run.pruned",
        "run_id": RUN_ID,
        "by": "me@here",
        "ended_at": last["ts"],
        "verdict": "whole",
        "records": len(STORY) + 1,
        "bytes": len(SEALED),
        "digest": compute_hash(last),
        "sha256": hashlib.sha256(SEALED).hexdigest(),
        "seal": {key: last[key] for key in ("key_id", "sealed_at", "by", "covers", "signature")},
    }
    assert store.pruned_file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="was pruned at 2027-03-03"):
        store.find_log(RUN_ID)
    with pytest.raises(UsageError, match="there is no run"):
        store.find_log("20261123T080000Z-0000")


def test_what_somebody_holds_or_changed_meanwhile_is_kept(store: FileRunStore, old: Found) -> None:
    with old.path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert inspect_log(old.path, OLD).kept is KeepReason.HELD
        assert remove(store, old) == [KeepReason.HELD]
    old.path.write_bytes(reconciled(SEALED))
    assert remove(store, old) == [KeepReason.CHANGED]
    assert old.path.exists()
    old.path.unlink()
    assert remove(store, old) == [KeepReason.CHANGED]
    assert store.pruned_file.read_bytes() == b""


def test_a_record_that_was_cut_off_is_ended_and_stays(store: FileRunStore, old: Found) -> None:
    store.pruned_file.write_bytes(b'{"run_id":"2026')
    assert remove(store, old) == [None]
    torn, line = store.pruned_file.read_bytes().splitlines()
    assert torn == b'{"run_id":"2026'
    assert json.loads(line)["run_id"] == RUN_ID


def test_records_of_removed_logs_stand_in_lines_of_their_own(store: FileRunStore, old: Found) -> None:
    for number in range(2):
        path = store.path_of(f"20261123T080000Z-000{number}")
        path.write_bytes(b"")
        empty = inspect_log(path, PrunePolicy(OLD.before, unfinished=True, unsealed=True))
        assert remove(store, empty) == [None]
    first, second = map(json.loads, store.pruned_file.read_text().splitlines())
    assert [each["run_id"][-4:] for each in (first, second)] == ["0000", "0001"]
    assert (first["digest"], first["records"], first["seal"]) == (None, 0, None)
    assert first["sha256"] == hashlib.sha256(b"").hexdigest()
    assert first["ended_at"] == "2026-11-23T08:00:00.000000Z"
    assert first["verdict"] == "unfinished"
    assert old.path.exists()


def test_the_seal_beside_an_unsealed_log_stays_on_record(store: FileRunStore) -> None:
    path = store.path_of(RUN_ID)
    path.write_bytes(log())
    seal_elsewhere(path, seal_file(path), KEY, by="me@here")
    seal = json.loads(seal_file(path).read_text())
    assert remove(store, inspect_log(path, OLD)) == [None]
    record = json.loads(store.pruned_file.read_text())
    assert record["seal"]["signature"] == seal["signature"]
    assert record["by"] == "me@here"


def test_the_facts_of_a_log_are_those_of_its_records(store: FileRunStore) -> None:
    path = store.path_of(RUN_ID)
    path.write_bytes(SEALED)
    found = inspect_log(path, OLD)
    assert (found.run_id, found.fleet, found.verdict, found.finished) == (RUN_ID, None, Verdict.WHOLE, True)
    assert (found.records, found.sealed, found.size) == (len(STORY) + 1, True, len(SEALED))
    assert found.ended_at == START + timedelta(hours=1)
    path.write_bytes(log(STORY[:1]))
    found = inspect_log(path, OLD)
    assert (found.verdict, found.finished, found.sealed, found.seal) == (Verdict.UNFINISHED, False, False, None)


def test_a_run_of_a_fleet_run_names_the_fleet_run_and_a_log_of_a_fleet_run_may_go_too(store: FileRunStore) -> None:
    fleet_id = f"fleet-{RUN_ID}"
    path = store.path_of(RUN_ID)
    path.write_bytes(log([("run.started", {**STORY[0][1], "fleet": fleet_id}), *STORY[1:]]))
    assert inspect_log(path, OLD).fleet == fleet_id
    fleet_log = store.folder / f"{fleet_id}.jsonl"
    chain = Chain(fleet_id)
    fleet_log.write_bytes(b"".join(chain.append(f"fleet.{event}", {}, START)[1] for event in ("started", "finished")))
    assert inspect_log(fleet_log, PrunePolicy(OLD.before, unsealed=True)).kept is None
    fleet_log.write_bytes(b"")
    empty = inspect_log(fleet_log, PrunePolicy(OLD.before, unfinished=True))
    assert (empty.kept, empty.ended_at) == (None, START), "without records, the start in the name counts"
    other = store.path_of("my-notes")
    other.write_bytes(b"")
    assert inspect_log(other, PrunePolicy(OLD.before, unfinished=True)).kept is KeepReason.FOREIGN


def test_a_log_of_exactly_the_age_is_kept(store: FileRunStore) -> None:
    end = START + timedelta(seconds=len(STORY) - 1)
    assert kept(store, log(), PrunePolicy(end, unsealed=True)) is KeepReason.YOUNG
    assert kept(store, log(), PrunePolicy(end + timedelta(seconds=1), unsealed=True)) is None


def test_with_a_public_key_a_sealed_log_that_did_not_finish_is_not_finished(store: FileRunStore) -> None:
    assert kept(store, log(STORY[:-1]), PrunePolicy(OLD.before, keys=KEYS)) is KeepReason.UNFINISHED
    assert kept(store, log(), PrunePolicy(OLD.before, keys=KEYS)) is KeepReason.UNSEALED


def test_a_seal_beside_the_log_that_is_none_counts_only_with_a_key(store: FileRunStore) -> None:
    path = store.path_of(RUN_ID)
    path.write_bytes(SEALED)
    seal_file(path).write_text("{}")
    assert inspect_log(path, OLD).kept is None
    assert inspect_log(path, PrunePolicy(OLD.before, keys=KEYS)).kept is KeepReason.ALTERED
    seal_file(path).unlink()
    seal_elsewhere(path, seal_file(path), OTHER, by="me@here")
    assert inspect_log(path, PrunePolicy(OLD.before, keys=KEYS)).kept is None, "a person named no file"


def test_without_a_record_nothing_is_removed(store: FileRunStore, old: Found) -> None:
    store.pruned_file.mkdir()
    with pytest.raises(IsADirectoryError):
        remove(store, old)
    assert old.path.exists()


def test_a_log_kept_at_the_last_moment_keeps_the_log_of_its_fleet_run(store: FileRunStore, old: Found) -> None:
    fleet_id = f"fleet-{RUN_ID}"
    member, fleet = replace(old, fleet=fleet_id), replace(old, run_id=fleet_id)
    assert [each.run_id for each in keep_fleets_whole([fleet, member])] == [RUN_ID, fleet_id]
    old.path.write_bytes(LATER)
    assert remove(store, member, fleet) == [KeepReason.CHANGED, KeepReason.FLEET]


@pytest.mark.parametrize("number", [0, 1])
def test_a_kept_log_keeps_its_whole_fleet_run_and_no_other_log(old: Found, number: int) -> None:
    fleet_id = f"fleet-{RUN_ID}"
    logs = [replace(old, fleet=fleet_id), replace(old, run_id=fleet_id), old]
    logs[number] = replace(logs[number], kept=KeepReason.ALTERED)
    assert [each.kept is None for each in keep_fleets_whole(logs)] == [False, True, False]


def test_fleet_runs_without_a_kept_log_go_as_a_whole(old: Found) -> None:
    first, second = (f"fleet-{RUN_ID[:-1]}{number}" for number in range(2))
    logs = [replace(old, fleet=first), replace(old, run_id=first), replace(old, fleet=second)]
    assert [each.kept for each in keep_fleets_whole(logs)] == [None] * 3
    alone = replace(old, fleet=second, kept=KeepReason.YOUNG)
    assert [each.kept for each in keep_fleets_whole([alone, replace(old, fleet=second)])] == [KeepReason.YOUNG, None], (
        "without a fleet log there is nothing to keep together"
    )
