"""Uptimes from batches of statuses."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.cvm import Cvm
from orchestrator.reply import Reply, StatusRead
from orchestrator.runs import uptimes
from tests.playbook.fleet import cvm

pytestmark = pytest.mark.anyio


class Statuses:
    """A cloud with a cap on the batch."""

    def __init__(self, cap: int) -> None:
        self.cap, self.sizes = cap, list[int]()

    async def read_statuses(self, uuids: Sequence[str]) -> Reply[dict[str, StatusRead]]:
        self.sizes.append(len(uuids))
        if len(uuids) > self.cap:
            return Reply(http_status=422, problem="too many")
        return Reply(value={uuid: StatusRead("running", uptime=5.0) for uuid in uuids}, http_status=200)


async def _ask(request: Any, gate: object, rng: object) -> Reply[Any]:  # noqa: ANN401 - any request
    del gate, rng
    return await request()  # type: ignore[no-any-return] # a reply


async def read(monkeypatch: pytest.MonkeyPatch, cloud: Statuses, fleet: list[Cvm], size: int) -> list[float | None]:
    monkeypatch.setattr(uptimes, "read_with_retry", _ask)
    session: Any = SimpleNamespace(cloud=cloud, gate=None, rng=None, batch_size=size, batch_missing=False)
    return [each.uptime for each in await uptimes.try_read_uptimes(session, fleet)]


async def test_only_cvms_that_are_up_are_read_and_a_cap_makes_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = [cvm(number) for number in range(1, 151)] + [cvm(999, status="stopped")]
    cloud = Statuses(100)
    assert await read(monkeypatch, cloud, fleet, 1000) == [5.0] * 150 + [None]
    assert cloud.sizes == [150, 100, 50]


async def test_no_uptime_of_many_cvms_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = Statuses(100)
    assert set(await read(monkeypatch, cloud, [cvm(number) for number in range(1, 22)], 10)) == {None}
    assert cloud.sizes == []
