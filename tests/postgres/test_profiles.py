"""The profile of the API in the team store: as over files, for all machines; never a reason not to stop CVMs."""

from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.errors import StoreDownError
from orchestrator.postgres.profiles import StoreProfileRow
from orchestrator.runs.api_profile import ApiProfile, RowApiProfileStore
from tests.postgres.conftest import Connect, Start
from tests.postgres.holder import Holder

URL, WORKSPACE = "https://cloud.example/api/v1", "0123456789abcdef"
NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
KNOWN = ApiProfile(requests_per_second=7.5, is_limit=True, batch_size=200, settle={"stop": 40.0})


class Warnings(list[str]):
    def __call__(self, event: str, /, **facts: object) -> None:
        self.append(f"{event} {facts['reason']}")


@pytest.fixture
def warnings() -> Warnings:
    return Warnings()


def test_a_profile_of_one_machine_is_read_by_another(connect: Connect, start: Start, warnings: Warnings) -> None:
    Holder(connect("wes_worker")).submit()
    one, other = (RowApiProfileStore(StoreProfileRow("prod", start("wes_worker")), warnings) for _ in range(2))
    assert one.read_profile(URL, WORKSPACE, NOW) == ApiProfile()
    one.merge_profile(URL, WORKSPACE, KNOWN, NOW)
    other.merge_profile(URL, WORKSPACE, ApiProfile(settle={"start": 50.0}), NOW)
    both = ApiProfile(7.5, is_limit=True, batch_size=200, settle={"stop": 40.0, "start": 50.0})
    assert one.read_profile(URL, WORKSPACE, NOW) == both
    assert one.read_profile(URL, "another key", NOW) == ApiProfile()
    assert one.read_profile(URL, WORKSPACE, NOW + timedelta(days=8)) == ApiProfile()
    assert warnings == []


def test_without_a_row_of_the_workspace_nothing_is_known_and_nothing_fails(start: Start, warnings: Warnings) -> None:
    profiles = RowApiProfileStore(StoreProfileRow("nowhere", start("wes_worker")), warnings)
    profiles.merge_profile(URL, WORKSPACE, KNOWN, NOW)
    assert profiles.read_profile(URL, WORKSPACE, NOW) == ApiProfile()
    assert warnings == []


def test_a_foreign_document_is_left_out(connect: Connect, start: Start, warnings: Warnings) -> None:
    worker = Holder(connect("wes_worker"))
    worker.submit()
    worker.call("write_api_profile", "prod", '{"v": 9}')
    profiles = RowApiProfileStore(StoreProfileRow("prod", start("wes_worker")), warnings)
    assert profiles.read_profile(URL, WORKSPACE, NOW) == ApiProfile()
    profiles.merge_profile(URL, WORKSPACE, KNOWN, NOW)
    assert worker.call("read_api_profile", "prod") == [({"v": 9},)], "a later version's document stays"
    assert [each.partition(" ")[0] for each in warnings] == ["learnt.left_out", "learnt.not_kept"]


def test_a_user_without_rights_and_a_database_that_is_down_are_warnings(start: Start, warnings: Warnings) -> None:
    broken: Future[list[tuple[Any, ...]]] = Future()
    broken.set_exception(StoreDownError("the store can't be reached"))
    for begin in (start("vic_viewer"), lambda _statement, _arguments: broken):
        profiles = RowApiProfileStore(StoreProfileRow("prod", begin), warnings)
        assert profiles.read_profile(URL, WORKSPACE, NOW) == ApiProfile()
        profiles.merge_profile(URL, WORKSPACE, KNOWN, NOW)
    assert len(warnings) == 4
    assert "no rights" in warnings[0]
    assert "can't be reached" in warnings[-1]
