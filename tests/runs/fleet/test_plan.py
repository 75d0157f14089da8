"""The plan of a fleet run: the guards of the total, unreachable workspaces, and refusals; on virtual time."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from orchestrator.errors import CloudError, GuardError, NoMatchError, UsageError
from orchestrator.playbook.schema import Guards
from orchestrator.reply import Page, Reply
from orchestrator.runs.fleet.plan import WorkspaceRequest, find_fleet_refusal, plan_fleet
from orchestrator.runs.session import RunObserver
from tests.engine.fakes import FakeCloud
from tests.runs.fleet.fleets import Fleet, fleet_of
from tests.runs.sessions import request_of

pytestmark = pytest.mark.anyio


class DeadCloud(FakeCloud):
    """A cloud that refuses the key."""

    async def list_page(self, page: int, page_size: int) -> Reply[Page]:
        del page, page_size
        return Reply(http_status=401, problem="Invalid API key")


class SlowCloud(FakeCloud):
    """A cloud that takes half a minute for the list."""

    async def list_page(self, page: int, page_size: int) -> Reply[Page]:
        await anyio.sleep(30)
        return await super().list_page(page, page_size)


class Warned(RunObserver):
    """Keeps the warnings of a workspace."""

    def __init__(self, kept: list[tuple[str, str, object]], name: str) -> None:
        self.kept, self.name = kept, name

    def on_warning(self, event: str, /, **facts: object) -> None:
        self.kept.append((self.name, event, facts["note"]))


async def test_each_workspace_has_a_plan_of_its_own(tmp_path: Path) -> None:
    plan = await fleet_of(tmp_path, prod=3, test=2).plan()
    assert [(each.name, len(each.plan.targets)) for each in plan.workspaces] == [("prod", 3), ("test", 2)]
    assert plan.target_count == 5
    assert find_fleet_refusal(plan) is None


async def test_a_slow_workspace_is_named_before_its_answer(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, {"prod": FakeCloud(2), "slow": SlowCloud(1)})
    kept: list[tuple[str, str, object]] = []
    request = request_of()
    requests = [
        WorkspaceRequest(name, replace(fleet.session(name), observer=Warned(kept, name)), request)
        for name in fleet.clouds
    ]
    plan = await plan_fleet(request.loaded, requests, base_guards=Guards())
    assert plan.target_count == 3
    assert kept == [("slow", "api.wait", "The CVMs are not read yet after 10s, in 1 of 2 workspaces.")]


async def test_a_guard_holds_for_each_workspace_and_for_the_total(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=3, test=2)
    per_workspace = find_fleet_refusal(await fleet.plan(guards={"max_targets": 2}, fleet={"max_targets": 9}))
    total = find_fleet_refusal(await fleet.plan(guards={"max_targets": 4}))
    assert isinstance(per_workspace, GuardError)
    assert str(per_workspace).startswith("workspace prod: refused by a guard: max_targets: 3 targets, at most 2")
    assert isinstance(total, GuardError)
    assert "of the total: max_targets: 5 targets in 2 workspaces, at most 4" in str(total)
    assert find_fleet_refusal(await fleet.plan(guards={"max_targets": 3}, fleet={"max_targets": 5})) is None


async def test_a_percentage_of_the_total_states_its_denominator(tmp_path: Path) -> None:
    refusal = find_fleet_refusal(await fleet_of(tmp_path, prod=3, test=1).plan(fleet={"max_percent": "50"}))
    assert isinstance(refusal, GuardError)
    assert "4 targets are 100.0% of the 4 CVMs of 2 workspaces that are up now, at most 50%" in str(refusal)


async def test_no_match_in_any_workspace_is_no_match(tmp_path: Path) -> None:
    steps = [{"action": "stop", "select": {"name": "web-2"}}]
    fleet = fleet_of(tmp_path, prod=3, test=2)
    assert find_fleet_refusal(await fleet.plan(steps=steps)) is None
    steps = [{"action": "stop", "select": {"name": "web-9"}}]
    assert isinstance(find_fleet_refusal(await fleet.plan(steps=steps)), NoMatchError)


async def test_unreachable_workspaces_refuse_the_order_and_are_all_named(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, {"prod": FakeCloud(2), "eu": DeadCloud(1), "us": DeadCloud(1)})
    with pytest.raises(CloudError, match="2 of 3 workspaces can't be read") as caught:
        await fleet.plan()
    assert "eu: " in str(caught.value)
    assert "us: " in str(caught.value)
    with pytest.raises(CloudError, match="1 of 3 workspaces"):
        await fleet.plan(skip=["eu"])


async def test_a_skipped_unreachable_workspace_is_left_out_and_a_readable_one_runs_with_a_warning(
    tmp_path: Path,
) -> None:
    fleet = Fleet(tmp_path, {"prod": FakeCloud(2), "eu": DeadCloud(1)})
    plan = await fleet.plan(skip=["eu", "prod"])
    assert [each.name for each in plan.workspaces] == ["prod"]
    assert [each.name for each in plan.left_out] == ["eu"]
    assert len(plan.warnings) == 1
    assert "prod" in plan.warnings[0]


async def test_the_canary_workspace_is_never_left_out(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, {"prod": FakeCloud(2), "eu": DeadCloud(1)})
    with pytest.raises(CloudError, match="eu"):
        await fleet.plan(skip=["eu"], fleet={"first": "eu"})


@pytest.mark.parametrize("skip", [["us"], []])
async def test_a_name_outside_the_order_is_refused(tmp_path: Path, skip: list[str]) -> None:
    with pytest.raises(UsageError, match="names 'us'"):
        await fleet_of(tmp_path, prod=1).plan(skip=skip, fleet={} if skip else {"first": "us"})


async def test_two_names_for_one_workspace_are_refused(tmp_path: Path) -> None:
    class SameIds(Fleet):
        def session(self, name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - as its parent's
            session = super().session(name)

            async def identify() -> Reply[str]:
                return Reply(value="ws_1", http_status=200)

            return replace(session, identify=identify)

    with pytest.raises(UsageError, match="prod and test of the settings are the same workspace ws_1"):
        await SameIds(tmp_path, {"prod": FakeCloud(1), "test": FakeCloud(1)}).plan()
