"""The actions of operators: what they ask, what they do, and who may not."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.audit.approvals import ApprovalAnswer
from orchestrator.audit.store import StoredRun
from orchestrator.playbook.keep import KeepEntry
from orchestrator.runs.keeping import FileKeepStore
from orchestrator.service.page import actions
from orchestrator.service.snoozes import FileSnoozeStore
from orchestrator.times import timestamp, utc_now
from tests.logs import LogBuilder, build_stop
from tests.service.host import MONDAY
from tests.service.page.viewer import ANNA, VERA, Viewer, held, make_settings

pytestmark = pytest.mark.anyio
BEGIN = datetime(2026, 11, 23, 8, tzinfo=UTC)
STEPS = [
    {"action": "pause", "name": "ask", "question": "Go on?", "timeout_s": 60.0},
    {"action": "stop", "name": "stop", "on_failure": "continue", "settle_timeout_s": 600.0},
]


@pytest.fixture
def anyio_backend() -> str:
    """The server needs asyncio."""
    return "asyncio"


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[ApprovalAnswer]:
    """The answers left for runs; no run waits for them."""
    found: list[ApprovalAnswer] = []

    async def leave(run: StoredRun, answer: ApprovalAnswer) -> bool:
        del run
        found.append(answer)
        return True

    monkeypatch.setattr(actions, "leave_answer", leave)
    return found


def write_question(state: Path, *, minutes: int = 30, **started: Any) -> Path:  # noqa: ANN401 - fields of the record
    """Write the log of a run that asks before it stops two CVMs."""
    log = LogBuilder.start(BEGIN, **started).plan((1, "stop", "running"), (2, "stop", "running"), steps=STEPS)
    until = timestamp(utc_now() + timedelta(minutes=minutes))
    return log.record("approval.requested", step="ask", question="Go on?", expires_at=until).write(state, old=False)


async def open_viewer(folder: Path, token: str | None = ANNA, **service: object) -> Viewer:
    viewer = Viewer(make_settings(folder, tokens=True, **service))
    if token is not None:
        assert (await viewer.log_in(token)).status_code == 303
    return viewer


async def test_an_approval_names_the_next_steps_and_needs_their_number_of_cvms(
    tmp_path: Path, left: list[ApprovalAnswer]
) -> None:
    viewer = await open_viewer(tmp_path)
    log = write_question(tmp_path / "state")
    path = f"/runs/{log.stem}/approve"
    with held(log):
        page = (await viewer.get(path)).text
        assert "stop 2 CVMs" in page
        assert "Type the number of CVMs, 2, to approve" in page
        wrong = await viewer.act(path, {"typed": "3"})
        assert (wrong.status_code, "not approved: type 2" in wrong.text, left) == (409, True, [])
        done = await viewer.act(path, {"typed": "2", "comment": "seen"})
    assert (done.status_code, done.headers["location"]) == (303, f"/runs/{log.stem}?done=approved")
    (answer,) = left
    assert (answer.approved, answer.by, answer.comment) == (True, "anna (page)", "seen")
    assert viewer.events[-1][0] == "page.action"
    assert viewer.events[-1][1]["who"] == "anna"


async def test_a_refusal_ends_the_run(tmp_path: Path, left: list[ApprovalAnswer]) -> None:
    viewer = await open_viewer(tmp_path)
    log = write_question(tmp_path / "state")
    with held(log):
        assert (await viewer.act(f"/runs/{log.stem}/refuse")).status_code == 303
        page = (await viewer.get(f"/runs/{log.stem}?done=refused")).text
    assert [answer.approved for answer in left] == [False]
    assert "Refused: the run ends." in page


async def test_an_answer_to_an_earlier_question_or_to_none_is_refused(
    tmp_path: Path, left: list[ApprovalAnswer]
) -> None:
    viewer = await open_viewer(tmp_path)
    log = write_question(tmp_path / "state")
    path = f"/runs/{log.stem}/approve"
    with held(log):
        assert (await viewer.act(path, {"typed": "2", "question": "0" * 64})).status_code == 409
        assert (await viewer.get(f"{path}?question={'0' * 64}")).status_code == 404
    assert "no process executes the run" in (await viewer.get(path)).text
    over = write_question(tmp_path / "state", minutes=-1)
    with held(over):
        assert "expired" in (await viewer.get(path)).text
    assert (await viewer.get("/runs/20261123T080000Z-beef/approve")).status_code == 404
    assert left == []


async def test_a_token_never_stands_for_a_signature(tmp_path: Path, left: list[ApprovalAnswer]) -> None:
    settings = make_settings(tmp_path, tokens=True)
    key = {"name": "kim", "public_key": "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="}
    approval = {"keys": [key], "not_the_starter": False}
    signed = type(settings).model_validate({**settings.model_dump(), "approval": approval})
    viewer = Viewer(signed)
    await viewer.log_in(ANNA)
    log = write_question(tmp_path / "state", approval={"approvals": []})
    with held(log):
        answer = await viewer.get(f"/runs/{log.stem}/approve")
        assert (answer.status_code, "a token is no signature" in answer.text) == (404, True)
        assert (await viewer.act(f"/runs/{log.stem}/refuse")).status_code == 303
    assert [each.approved for each in left] == [False]


async def test_a_snooze_and_its_end_are_on_record(tmp_path: Path) -> None:
    viewer = await open_viewer(tmp_path)
    page = "/snooze?playbook=nightly"
    assert "in UTC" in (await viewer.get(page)).text
    assert (await viewer.act(page, {"until": "8h"})).headers["location"] == "/?done=snoozed"
    snoozed = FileSnoozeStore(tmp_path / "state").read_snoozes()["nightly"]
    assert snoozed.by == "anna (page)"
    assert snoozed.snooze.until - utc_now() > timedelta(hours=7)
    refused = await viewer.act(page, {"until": "yesterday"})
    assert (refused.status_code, "write 2026-12-01T08:00" in refused.text) == (409, True)
    assert (await viewer.act(page, {"until": ""})).headers["location"] == "/?done=awake"
    assert FileSnoozeStore(tmp_path / "state").read_snoozes()["nightly"].snooze.until <= utc_now()
    assert (await viewer.get("/snooze?playbook=other")).status_code == 404


async def test_a_kept_cvm_has_its_owner_and_reason(tmp_path: Path) -> None:
    viewer = await open_viewer(tmp_path)
    fields = {"cvm": "web-1", "until": "2d", "reason": "load test"}
    assert (await viewer.act("/keep", {**fields, "reason": " "})).status_code == 409
    assert (await viewer.act("/keep", fields)).status_code == 303
    (entry,) = FileKeepStore(tmp_path / "state").read_entries()
    assert (entry.key, entry.value, entry.owner, entry.reason) == ("name", "web-1", "anna (page)", "load test")
    viewer.show(kept=(KeepEntry("name", "<b>web</b>", MONDAY + timedelta(days=1), "anna", "test", "x"),))
    assert "&lt;b&gt;web&lt;/b&gt;" in (await viewer.get("/")).text


async def test_the_service_cancels_its_own_runs_only(tmp_path: Path) -> None:
    viewer = await open_viewer(tmp_path)
    log = write_question(tmp_path / "state")
    cancelled: list[tuple[str, str]] = []
    host = viewer.page._host
    with held(log):
        assert "Cancel the run" not in (await viewer.get(f"/runs/{log.stem}")).text
        asked = await viewer.get(f"/runs/{log.stem}/cancel")
        assert (asked.status_code, "press Ctrl-C" in asked.text, "can't be resumed" in asked.text) == (404, True, False)
        (key,) = {*re.findall(r'name="form_key" value="([^"]*)"', (await viewer.get("/keep")).text)}
        other = await viewer.post(f"/runs/{log.stem}/cancel", {"form_key": key})
        assert (other.status_code, "press Ctrl-C" in other.text) == (409, True)

        def cancel(run_id: str, by: str) -> bool:
            cancelled.append((run_id, by))
            return True

        viewer.page._host = replace(host, cancel_run=cancel)
        viewer.facts = replace(viewer.facts, can_cancel=frozenset({log.stem}))
        assert "Cancel the run" in (await viewer.get(f"/runs/{log.stem}")).text
        page = (await viewer.get(f"/runs/{log.stem}/cancel")).text
        assert "2 CVMs: nothing is sent to them" in page
        assert (await viewer.act(f"/runs/{log.stem}/cancel")).status_code == 303
    assert cancelled == [(log.stem, "anna (page)")]
    ended = build_stop(BEGIN + timedelta(hours=1), 1).write(tmp_path / "state")
    assert (await viewer.get(f"/runs/{ended.stem}/cancel")).status_code == 404


PATHS = ("/snooze", "/keep", "/runs/20261123T080000Z-0000/approve", "/runs/20261123T080000Z-0000/cancel")


@pytest.mark.parametrize("path", PATHS)
async def test_only_an_operator_with_a_form_of_the_session_changes_anything(tmp_path: Path, path: str) -> None:
    anonymous = await open_viewer(tmp_path, None)
    page = (await anonymous.get("/keep")).text
    assert "Only an operator" in page
    assert "<form" not in page.partition("<main")[2]
    assert (await anonymous.post(path, {"cvm": "x"})).status_code == 403
    program = await anonymous.client.post(path, headers={"authorization": f"Bearer {ANNA}", "origin": "http://x"})
    assert program.status_code == 403
    vera = await open_viewer(tmp_path, VERA)
    assert (await vera.act("/keep", {"cvm": "x", "until": "1d", "reason": "x"})).status_code == 403
    anna = await open_viewer(tmp_path)
    assert (await anna.post(path, {"cvm": "x"})).status_code == 403
    assert (await anna.post(path, {"form_key": "guess"})).status_code == 403
    key = (await anna.get("/keep")).text.partition('name="form_key" value="')[2].partition('"')[0]
    for origin in (None, "http://evil.example"):
        assert (await anna.post(path, {"form_key": key}, origin=origin)).status_code == 403
    assert FileKeepStore(tmp_path / "state").read_entries() == ()
    assert {event for event, _ in anna.events} == {"page.login", "page.refused"}


async def test_actions_are_limited(tmp_path: Path) -> None:
    viewer = await open_viewer(tmp_path)
    codes = [(await viewer.act("/keep", {"cvm": "", "until": "", "reason": ""})).status_code for _ in range(21)]
    assert codes == [409] * 20 + [429]


async def test_other_addresses_do_nothing(tmp_path: Path) -> None:
    viewer = await open_viewer(tmp_path)
    assert (await viewer.get("/runs/20261123T080000Z-0000/delete")).status_code == 404
    key = (await viewer.get("/keep")).text.partition('name="form_key" value="')[2].partition('"')[0]
    assert (await viewer.post("/runs/20261123T080000Z-0000/delete", {"form_key": key})).status_code == 404
    for path in ("/", "/runs", "/api/overview", "/api/runs/x"):
        assert (await viewer.post(path, {"form_key": key})).status_code == 405
