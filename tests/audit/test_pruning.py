"""What `audit prune` may remove, and that what it removed stays on record."""

import fcntl
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
    assert record["seal"]["signature"] == last["signature"]
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
