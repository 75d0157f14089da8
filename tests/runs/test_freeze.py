"""Freezes of a run: at the plan, after a late yes, on resume, and on record; on virtual time from Monday 08:00 UTC."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.errors import GuardError, PlaybookError, SettingsError
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.schema import Guards
from orchestrator.runs.execute import carry_out
from orchestrator.runs.freeze import load_freeze, load_recorded_freeze
from orchestrator.runs.frozen import apply_settings
from orchestrator.runs.prepare import Overrides, find_refusal
from orchestrator.runs.resume import frozen_in, reopen_run
from orchestrator.runs.session import Session
from orchestrator.runs.start import OpenRun, RunRequest, plan_request, start_run
from orchestrator.runs.status import StopRequest
from orchestrator.settings.load import Settings
from orchestrator.settings.model import GuardsSection
from tests.engine.fakes import FakeCloud
from tests.logs import write_by
from tests.runs.sessions import request_of, session_of, write_at_once

pytestmark = pytest.mark.anyio

LAUNCH = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//x//EN\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20261101T000000Z\r\n"
    "DTSTART:20261123T090000Z\r\nDTEND:20261123T100000Z\r\nSUMMARY:Launch\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
NOW = {"not_during": {"timezone": "UTC", "on": ["MON 08:00..FRI 17:00"]}}
SOON = {"not_during": {"timezone": "UTC", "on": ["08:05..09:00"]}}


def with_guards(session: Session, guards: dict[str, Any]) -> Session:
    section = GuardsSection.model_validate(guards)
    return replace(session, settings=Settings(audit=session.settings.audit, guards=section))


async def start(session: Session, request: RunRequest, *, answer_after: float = 0) -> OpenRun:
    async def agree(plan: Plan) -> bool:
        await anyio.sleep(answer_after)
        return bool(plan.targets)

    opened = await start_run(session, request, await plan_request(session, request), agree)
    write_by(opened.log, write_at_once)
    return opened


@pytest.mark.parametrize("where", ["playbook", "settings"])
async def test_a_plan_in_a_freeze_is_refused_with_the_entry_and_the_end(where: str, tmp_path: Path) -> None:
    session, request = session_of(FakeCloud(3), tmp_path), request_of()
    if where == "playbook":
        request = request_of(guards=NOW)
    else:
        session = with_guards(session, NOW)
    plan = (await plan_request(session, request)).plan
    refusal = find_refusal(plan)
    assert isinstance(refusal, GuardError)
    assert refusal.message == (
        "refused by a guard: not_during: 3 targets frozen until 2026-11-27 17:00+00:00 (MON 08:00..FRI 17:00, UTC)"
    )
    assert "--break-freeze REASON" in (refusal.hint or "")
    assert [(check.name, check.value, check.ok) for check in plan.guards] == [("not_during", 3, False)]


async def test_a_broken_freeze_is_in_the_plan_and_on_record(tmp_path: Path) -> None:
    session = session_of(FakeCloud(2), tmp_path)
    request = replace(request_of(guards=NOW), overrides=Overrides("incident 4711"))
    (check,) = (await plan_request(session, request)).plan.guards
    assert (check.ok, check.message.rpartition("; ")[2]) == (True, "broken on purpose: incident 4711")
    opened = await start(session, request)
    assert (opened.state.started.break_freeze, opened.state.started.freeze) == (
        "incident 4711",
        {"not_during": [{"timezone": "UTC", "on": ["MON 08:00..FRI 17:00"]}]},
    )
    assert (await carry_out(session, opened, StopRequest())).exit_code is Exit.OK


async def test_a_plan_of_starts_is_not_frozen(tmp_path: Path) -> None:
    steps = [{"action": "start", "select": {"all": "true"}}]
    plan = (await plan_request(session_of(FakeCloud(2), tmp_path), request_of(guards=NOW, steps=steps))).plan
    assert [(check.name, check.ok) for check in plan.guards] == [("not_during", True)]


async def test_a_freeze_that_begins_before_the_yes_refuses_the_run(tmp_path: Path) -> None:
    session = session_of(FakeCloud(3), tmp_path)
    with pytest.raises(GuardError, match=r"frozen until 2026-11-23 09:00.* \(08:05..09:00, UTC\)"):
        await start(session, request_of(guards=SOON), answer_after=301)
    assert list(session.store.list_runs()) == []


async def test_a_freeze_that_ended_before_the_yes_does_not_count(tmp_path: Path) -> None:
    assert (await start(session_of(FakeCloud(3), tmp_path), request_of(guards=SOON), answer_after=3600)).jobs


async def test_a_freeze_that_begins_during_the_run_ends_the_run(tmp_path: Path) -> None:
    cloud = FakeCloud(3, seconds=400)
    steps = [{"action": "stop", "select": {"all": "true"}, "waves": ["1", "100%"], "settle": {"timeout": "1h"}}]
    session = session_of(cloud, tmp_path)
    result = await carry_out(session, await start(session, request_of(guards=SOON, steps=steps)), StopRequest())
    assert (result.ending, result.exit_code, dict(cloud.posts)) == (Ending.FROZEN, Exit.ENDED_EARLY, {"web-0": 1})


async def test_a_resume_obeys_the_calendar_on_record_without_the_file(tmp_path: Path) -> None:
    session = session_of(FakeCloud(3), tmp_path)
    request = request_of(guards={"not_during": {"timezone": "UTC", "on": ["launch.ics"]}})
    request = replace(request, loaded=replace(request.loaded, calendars={"launch.ics": LAUNCH}))
    opened = await start(session, request)
    assert opened.state.started.freeze == {
        "not_during": [{"timezone": "UTC", "on": ["launch.ics"]}],
        "calendars": {"launch.ics": LAUNCH},
    }
    recorded = await load_recorded_freeze(session.settings, opened.state.started.freeze)
    assert recorded.freezes == opened.freeze.freezes
    launch = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
    assert recorded.find_freeze(launch) == (
        "not_during: frozen until 2026-11-23 10:00+00:00 (Launch (launch.ics), UTC)"
    )
    opened.log.close()
    (tmp_path / "launch.ics").write_bytes(LAUNCH.encode())
    with_store = Settings.model_validate({"store": {"url": "postgresql://localhost/fleet"}})
    of_person = replace(request.loaded, file=tmp_path / "all-down.yaml", calendars={})
    found = await load_freeze(with_store, of_person)
    assert (found.calendars, found.freezes) == ({"launch.ics": LAUNCH}, recorded.freezes), "any machine may resume"


async def test_a_resume_in_a_freeze_needs_its_own_reason(tmp_path: Path) -> None:
    cloud = FakeCloud(3)
    session = session_of(cloud, tmp_path)
    opened = await start(session, replace(request_of(guards=NOW), overrides=Overrides("incident 4711")))
    run_id = opened.log.run_id
    stop = StopRequest()
    stop.request_end(Ending.SIGINT)
    assert (await carry_out(session, opened, stop)).exit_code is Exit.SIGINT

    with reopen_run(session.store.get_run(run_id)) as reopened:
        write_by(reopened.log, write_at_once)
        applied = apply_settings(frozen_in(reopened.state, reopened.stored), session.settings, ())
        with pytest.raises(GuardError, match=r"not_during: 3 targets frozen until"):
            await reopened.plan(session, applied, None)
        claim = session.claims.create_claim(run_id, session.endpoint.base_url, [])
        plan = await reopened.plan(session, applied, claim, break_freeze="still 4711")
        opened = await reopened.record_resume(session, plan, claim)
        assert (await carry_out(session, opened, StopRequest())).exit_code is Exit.OK
    events = [json.loads(line) for line in session.store.get_run(run_id).read_lines()]
    assert [each["break_freeze"] for each in events if each["event"] == "run.resumed"] == ["still 4711"]


async def test_a_freeze_that_is_always_on_is_warned_about(tmp_path: Path) -> None:
    guards = {"only_during": {"timezone": "UTC", "on": ["2020-01-01"]}}
    plan = (await plan_request(session_of(FakeCloud(1), tmp_path), request_of(guards=guards))).plan
    assert [each.code for each in plan.warnings] == ["no_guards", "freeze_always"]
    free = (await plan_request(session_of(FakeCloud(1), tmp_path), request_of(guards=SOON))).plan
    assert [each.code for each in free.warnings] == ["no_guards"]


async def test_a_broken_calendar_is_an_error_of_the_file_that_names_it(tmp_path: Path) -> None:
    guards = {"not_during": {"timezone": "UTC", "on": ["team.ics"]}}
    session = session_of(FakeCloud(1), tmp_path)
    with pytest.raises(PlaybookError, match=r"guards.not_during: the calendar team.ics can't be read") as refused:
        await plan_request(session, request_of(guards=guards))
    assert (refused.value.exit_code, refused.value.file) == (Exit.USAGE, "all-down.yaml")
    with pytest.raises(SettingsError, match=r"guards.not_during: the calendar team.ics can't be read"):
        await plan_request(with_guards(session, guards), request_of())


def test_settings_of_a_workspace_add_to_the_guards() -> None:
    times = [{"timezone": "UTC", "on": [day]} for day in ("SAT", "SUN")]
    settings = Settings.model_validate(
        {
            "guards": {"not_during": times[:1]},
            "workspaces": {"eu": {"api_key_env": "EU", "guards": Guards.model_validate({"not_during": times[1:]})}},
        }
    )
    found = settings.for_workspace("eu").guards.not_during
    assert [each.document()["on"] for each in found or ()] == [["SAT"], ["SUN"]]
