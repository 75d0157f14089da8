"""The file of what was learnt: a cache that is never a reason not to stop CVMs."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runs.api_profile import ApiProfile, FileApiProfileStore, fingerprint_workspace

URL, OTHER = "https://cloud.example/api/v1", "https://other.example/api/v1"
MINE, THEIRS = "0123456789abcdef", "fedcba9876543210"
NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
KNOWN = ApiProfile(requests_per_second=7.5, is_limit=True, batch_size=200)


class Warned(FileApiProfileStore):
    """The file, and what was logged of it."""

    def __init__(self, folder: Path) -> None:
        self.events: list[str] = []
        super().__init__(folder, lambda event, **_facts: self.events.append(event))


@pytest.fixture
def file(tmp_path: Path) -> Warned:
    return Warned(tmp_path)


def read(file: Warned) -> tuple[ApiProfile, list[str]]:
    """What the file says, and what was logged of it."""
    file.events.clear()
    return file.read_profile(URL, MINE, NOW), file.events.copy()


def test_what_was_written_is_read_again(file: Warned) -> None:
    file.merge_profile(URL, MINE, KNOWN, NOW)
    assert read(file) == (KNOWN, [])
    assert file.read_profile(OTHER, MINE, NOW) == ApiProfile()


def test_without_a_file_nothing_is_known_and_nothing_is_logged(file: Warned) -> None:
    assert read(file) == (ApiProfile(), [])


def test_it_is_readable_by_its_owner_alone_and_leaves_nothing_beside_it(file: Warned) -> None:
    file.merge_profile(URL, MINE, KNOWN, NOW)
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert list(file.path.parent.iterdir()) == [file.path]


def test_one_run_does_not_take_away_what_another_learnt(file: Warned) -> None:
    file.merge_profile(URL, MINE, KNOWN, NOW)
    file.merge_profile(OTHER, MINE, ApiProfile(requests_per_second=3.0), NOW)
    file.merge_profile(URL, MINE, ApiProfile(batch_size=50), NOW)
    assert file.read_profile(OTHER, MINE, NOW) == ApiProfile(requests_per_second=3.0)
    assert file.read_profile(URL, MINE, NOW) == ApiProfile(requests_per_second=7.5, is_limit=True, batch_size=50)


def test_it_is_forgotten_after_a_week_and_a_missing_operation_after_a_day(file: Warned) -> None:
    file.merge_profile(URL, MINE, ApiProfile(requests_per_second=7.5, batch_missing=True), NOW)
    assert file.read_profile(URL, MINE, NOW + timedelta(hours=23)).batch_missing
    assert file.read_profile(URL, MINE, NOW + timedelta(days=2)) == ApiProfile(requests_per_second=7.5)
    assert file.read_profile(URL, MINE, NOW + timedelta(days=8)) == ApiProfile()
    assert file.read_profile(URL, MINE, NOW - timedelta(days=1)) == ApiProfile(), (
        "a clock that was set back makes it no younger"
    )


def test_how_long_settling_takes_is_kept_for_each_action_for_a_week(file: Warned) -> None:
    file.merge_profile(URL, MINE, ApiProfile(settle={"stop": 7.5, "start": 40}), NOW)
    file.merge_profile(URL, MINE, ApiProfile(settle={"start": 50}), NOW + timedelta(days=5))
    assert file.read_profile(URL, MINE, NOW + timedelta(days=5)).settle == {"stop": 7.5, "start": 50}
    assert file.read_profile(URL, MINE, NOW + timedelta(days=8)).settle == {"start": 50}


@pytest.mark.parametrize("seconds", [-1, 1e9, float("nan"), "7", None])
def test_an_absurd_time_is_left_out(file: Warned, seconds: object) -> None:
    entry = {"settle": {"stop": {"at": "2026-11-23T08:00:00.000000Z", "seconds": seconds}}}
    file.path.write_text(json.dumps({"v": 1, "apis": {URL: entry}}))
    assert read(file) == (ApiProfile(), ["learnt.left_out"])


@pytest.mark.parametrize(
    "rate", [0, -1, 1e99, float("nan"), float("inf"), "7", None, True, [], 10**400], ids=lambda rate: str(rate)[:9]
)
def test_an_absurd_rate_is_left_out(file: Warned, rate: object) -> None:
    entry = {"rate": {"at": "2026-11-23T08:00:00.000000Z", "requests_per_second": rate, "is_limit": True}}
    file.path.write_text(json.dumps({"v": 1, "apis": {URL: entry}}))
    assert read(file) == (ApiProfile(), ["learnt.left_out"])


@pytest.mark.parametrize("size", [0, -5, 1.5, "200", 10**12])
def test_an_absurd_size_of_a_batch_is_left_out(file: Warned, size: object) -> None:
    entry = {"status_batch": {"at": "2026-11-23T08:00:00.000000Z", "size": size}}
    file.path.write_text(json.dumps({"v": 1, "apis": {URL: entry}}))
    assert read(file) == (ApiProfile(), ["learnt.left_out"])


DAMAGED: list[Any] = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'{"v": 1}',
    b'{"apis": {}}',
    b'{"v": 1, "apis": []}',
    b'{"v": "1", "apis": {}}',
    b'{"v": 1, "apis": {"https://cloud.example/api/v1": 3}}',
    b'{"v": 1, "apis": {"https://cloud.example/api/v1": {"status_batch": {"at": "yesterday", "size": 5}}}}',
    b"\xff\xfe\x00",
    b"[" * 200_000,
    b" " * 2_000_000,
]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_is_left_out_and_replaced_by_the_next_run(file: Warned, content: bytes) -> None:
    file.path.write_bytes(content)
    assert read(file) == (ApiProfile(), ["learnt.left_out"])
    file.merge_profile(URL, MINE, KNOWN, NOW)
    assert read(file) == (KNOWN, [])


def test_a_file_of_a_later_version_is_left_out_and_left_alone(file: Warned) -> None:
    content = '{"v": 2, "apis": {}, "more": true}'
    file.path.write_text(content)
    assert read(file) == (ApiProfile(), ["learnt.left_out"])
    file.events.clear()
    file.merge_profile(URL, MINE, KNOWN, NOW)
    assert file.events == ["learnt.not_kept"]
    assert file.path.read_text() == content


def test_a_file_that_can_not_be_read_or_written_is_a_line_in_the_log(file: Warned) -> None:
    file.path.mkdir()
    assert read(file) == (ApiProfile(), ["learnt.left_out"])
    file.merge_profile(URL, MINE, KNOWN, NOW)
    assert file.events[-1] == "learnt.not_kept"


def test_workspaces_at_one_address_learn_apart(file: Warned) -> None:
    file.merge_profile(URL, MINE, KNOWN, NOW)
    file.merge_profile(URL, THEIRS, ApiProfile(requests_per_second=1.0), NOW)
    assert file.read_profile(URL, MINE, NOW) == KNOWN
    assert file.read_profile(URL, THEIRS, NOW) == ApiProfile(requests_per_second=1.0)
    assert fingerprint_workspace("phak_mine") != fingerprint_workspace("phak_theirs")
    assert "phak" not in fingerprint_workspace("phak_mine")


def test_a_file_by_address_alone_of_version_0_1_is_read_until_a_workspace_has_its_own(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[1] / "released" / "0.1" / "state" / "learnt.json", tmp_path)
    file, url = Warned(tmp_path), "http://127.0.0.1:18761/api/v1"
    then = datetime(2026, 11, 26, tzinfo=UTC)
    known = file.read_profile(url, MINE, then)
    assert known.requests_per_second == 8.0
    assert set(known.settle) == {"stop", "shutdown", "start", "restart"}
    file.merge_profile(url, MINE, ApiProfile(requests_per_second=3.0), then)
    assert file.read_profile(url, MINE, then).requests_per_second == 3.0
    assert file.read_profile(url, MINE, then).settle == known.settle
    assert file.read_profile(url, THEIRS, then) == known
    assert file.events == []
