"""The orders of firings for workers: one workspace, or a fleet run with a run for each workspace."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.errors import PlaybookError, UsageError
from orchestrator.playbook.load import LoadedPlaybook, load_source
from orchestrator.playbook.source import parse_source
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.submission import Submission
from orchestrator.service.firing_orders import FiringOrders
from orchestrator.settings.load import Settings, load_settings

NOW = datetime(2026, 11, 26, 20, tzinfo=UTC)
STEPS = "steps: [{action: stop, select: {name: web-*}}]\n"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    sections = "".join(f'[workspaces.{name}]\napi_key_env = "KEY_{name}"\n' for name in ("eu", "us"))
    (tmp_path / "config.toml").write_text(f"{sections}requests_per_second = 7\nburst = 3\n")
    return load_settings(tmp_path / "config.toml", ())


def loaded(text: str) -> LoadedPlaybook:
    return load_source(parse_source(f"name: nightly\n{STEPS}{text}".encode(), Path("/pushed/nightly.yaml")), {})


def claim(run_id: str = "20261126T200000Z-4f2a") -> FiringClaim:
    return FiringClaim("nightly", NOW, NOW, run_id)


def test_a_firing_in_one_workspace_is_a_run_with_its_budget(settings: Settings) -> None:
    orders = FiringOrders(settings, "serve@w1", lambda: NOW)
    playbook = loaded("workspaces: [us]\n")
    assert not orders.is_fleet(playbook)
    run = orders(claim(), playbook)
    assert (run.workspace, run.rate, run.burst) == ("us", 7.0, 2)
    assert run.start_before is not None
    assert run.start_before - NOW > timedelta(minutes=1)
    assert Submission.from_document(dict(run.spec)).loaded.file == Path("nightly.yaml")


def test_the_calendars_of_freezes_go_with_a_firing(settings: Settings, tmp_path: Path) -> None:
    text = f"name: nightly\n{STEPS}workspaces: [us]\nguards: {{not_during: {{timezone: UTC, on: days.ics}}}}\n"
    playbook = load_source(parse_source(text.encode(), tmp_path / "nightly.yaml"), {})
    orders = FiringOrders(settings, "serve@w1", lambda: NOW)
    with pytest.raises(PlaybookError, match=r"days\.ics of a freeze can't be stored.*No such file"):
        orders(claim(), playbook)
    (tmp_path / "days.ics").write_text("BEGIN:VCALENDAR")
    assert orders(claim(), playbook).spec["calendars"] == {"days.ics": "BEGIN:VCALENDAR"}


def test_a_wake_is_an_order_of_a_later_format(settings: Settings) -> None:
    playbook = loaded(
        "workspaces: ['*']\nschedule: {cron: '0 19 * * *', timezone: UTC}\nwake: {cron: '0 7 * * *'}\n"
        "guards: {not_during: {timezone: UTC, on: gone.ics}}\n"
    )
    wake = FiringClaim("nightly (wake)", NOW, NOW, "fleet-20261126T200000Z-4f2a", run_once=True, wakes="nightly")
    run = FiringOrders(settings, "serve@w1", lambda: NOW)(wake, playbook)
    assert (run.spec["v"], run.start_before, run.playbook) == (2, None, "nightly (wake)")
    order = Submission.from_document(dict(run.spec))
    assert order.wakes
    submitted = {"by": "serve@w1"}
    request = order.build_request(settings.for_workspace("us"), "r1", submitted)
    assert (request.loaded.playbook.name, request.wake is not None) == ("nightly (wake)", True)
    fleet = order.build_order(settings, submitted)
    assert (fleet.loaded.playbook.name, fleet.may_be_empty) == ("nightly (wake)", True)


def test_a_firing_in_several_workspaces_is_a_fleet_run_with_different_runs(settings: Settings) -> None:
    orders = FiringOrders(settings, "serve@w1", lambda: NOW)
    playbook = loaded("workspaces: ['*']\nfleet: {first: us}\n")
    assert orders.is_fleet(playbook)
    run = orders(claim("fleet-20261126T200000Z-4f2a"), playbook)
    members = run.spec["members"]
    assert run.workspace is None
    assert {name: (each["rate"], each["burst"]) for name, each in members.items()}["us"] == (7.0, 2)
    assert len({each["run_id"] for each in members.values()}) == 2
    assert Submission.from_document(dict(run.spec)).trigger["schedule"] == "nightly"


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "names no workspace"), ("workspaces: ['*']\nfleet: {first: ap}\n", "names 'ap'")],
)
def test_a_playbook_without_its_workspace_is_refused(settings: Settings, text: str, message: str) -> None:
    orders = FiringOrders(settings, "serve@w1", lambda: NOW)
    with pytest.raises(UsageError, match=message):
        orders(claim(), loaded(text))
