"""The page over HTTP: who may read what, and the headers."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import pytest
from jsonschema import Draft202012Validator
from starlette.requests import Request

from orchestrator.errors import SettingsError
from orchestrator.service.page import reader, routes
from orchestrator.service.page.forms import FormError, read_form
from orchestrator.service.page.openapi import build_openapi
from tests.logs import LogBuilder, build_stop
from tests.service.page.viewer import ANNA, VERA, Viewer, held, make_settings

pytestmark = pytest.mark.anyio
PAGES = ("/", "/runs", "/runs/20261123T080000Z-0000", "/none")
DOCUMENTS = ("/api/overview", "/api/runs", "/api/runs/20261123T080000Z-0000", "/api/openapi.json", "/api/events")
BEGIN = datetime(2026, 11, 23, 8, tzinfo=UTC)


@pytest.fixture
def anyio_backend() -> str:
    """The server needs asyncio."""
    return "asyncio"


async def test_beyond_this_machine_nothing_is_read_without_a_token(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, tokens=True)
    viewers = Viewer(settings, listens_here=False), Viewer(settings, address="10.0.0.9")
    strangers: tuple[dict[str, str], ...] = (
        {},
        {"authorization": "Bearer wrong"},
        {"cookie": "orchestrator_session=guess"},
    )
    for path, viewer, headers in product((*PAGES, *DOCUMENTS, "/api/none", "/api/runs/x/events"), viewers, strangers):
        answer = await viewer.get(path, **headers)
        assert (answer.status_code, "nightly" in answer.text) == (401, False), path
        if path.startswith("/api/"):
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["error"]["hint"]
        else:
            assert 'type="password"' in answer.text


async def test_on_this_machine_and_with_a_token_everything_is_read(tmp_path: Path) -> None:
    build_stop(BEGIN, 1).write(tmp_path / "state")
    settings = make_settings(tmp_path, tokens=True)
    viewer, far = Viewer(settings), Viewer(settings, listens_here=False)
    assert "unsafe" not in routes.POLICY
    for path in (*PAGES[:3], *DOCUMENTS[:4]):
        answer = await viewer.get(path)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store"), path
        assert answer.headers["content-security-policy"] == routes.POLICY
        assert (await far.get(path, authorization=f"Bearer {VERA}")).status_code == 200
        assert (await viewer.get(path, authorization="Bearer wrong")).status_code == 401
        assert (await viewer.get(path, authorization=f"Basic {VERA}")).status_code == 401
        assert (await viewer.get(path, host="rebound.example")).status_code == 401


async def test_without_tokens_the_way_to_tokens_is_told(tmp_path: Path) -> None:
    answer = await Viewer(make_settings(tmp_path), listens_here=False).get("/")
    assert answer.status_code == 401
    assert "service.token_file" in answer.text
    assert "password" not in answer.text


async def test_a_login_starts_a_session_and_a_logout_ends_it(tmp_path: Path) -> None:
    viewer = Viewer(make_settings(tmp_path, tokens=True), listens_here=False)
    answer = await viewer.log_in(ANNA)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    page = (await viewer.get("/")).text
    assert "anna (operator)" in page
    assert viewer.events == [("page.login", {"who": "anna", "role": "operator", "client": "127.0.0.1"})]
    await viewer.post("/logout", {"form_key": "guess"})
    assert (await viewer.get("/", cookie=cookie.partition(";")[0])).status_code == 200
    key = page.partition('name="form_key" value="')[2].partition('"')[0]
    await viewer.post("/logout", {"form_key": key})
    assert (await viewer.get("/", cookie=cookie.partition(";")[0])).status_code == 401


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", ""])
async def test_a_login_never_leads_to_another_site(tmp_path: Path, path: str) -> None:
    viewer = Viewer(make_settings(tmp_path, tokens=True))
    answer = await viewer.post("/login", {"token": ANNA, "next": path})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_a_forged_login_and_many_wrong_tokens_are_refused(tmp_path: Path) -> None:
    viewer = Viewer(make_settings(tmp_path, tokens=True))
    for origin in (None, "http://evil.example"):
        assert (await viewer.post("/login", {"token": ANNA}, origin=origin)).status_code == 403
    statuses = [(await viewer.log_in("wrong")).status_code for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    assert (await viewer.log_in(ANNA)).status_code == 429
    assert [event for event, _ in viewer.events] == ["page.login_refused"] * 5
    assert "wrong" not in str(viewer.events)


@pytest.mark.parametrize("body", [b"token=%ff&x=" + b"y" * 20_000, b"\xff", b"&".join([b"a=1"] * 50)])
async def test_an_odd_form_is_refused(tmp_path: Path, body: bytes) -> None:
    viewer = Viewer(make_settings(tmp_path, tokens=True))
    headers = {"origin": "http://127.0.0.1:8642", "content-type": "application/x-www-form-urlencoded"}
    answer = await viewer.client.post("/login", content=body, headers=headers)
    assert answer.status_code in {400, 413}
    answer = await viewer.client.post("/login", content=b"{}", headers={**headers, "content-type": "application/json"})
    assert answer.status_code == 415


@pytest.mark.parametrize("path", ["/page.css", "/page.js", "/icon.svg"])
async def test_files_are_open_and_sent_once(tmp_path: Path, path: str) -> None:
    viewer = Viewer(make_settings(tmp_path), listens_here=False)
    answer = await viewer.get(path)
    assert answer.status_code == 200
    assert (await viewer.get(path, if_none_match=answer.headers["etag"])).status_code == 304


@pytest.mark.parametrize("run_id", ["20261123T080000Z-beef", "last", "..%2f..%2fetc%2fpasswd", "fleet-x", "%00"])
async def test_an_unknown_run_is_no_page_and_no_file_is_read(tmp_path: Path, run_id: str) -> None:
    build_stop(BEGIN, 1).write(tmp_path / "state")
    viewer = Viewer(make_settings(tmp_path))
    assert (await viewer.get(f"/runs/{run_id}")).status_code == 404
    assert (await viewer.get(f"/api/runs/{run_id}")).status_code == 404


async def test_the_documents_are_as_the_openapi_document_describes(tmp_path: Path) -> None:
    state = tmp_path / "state"
    build_stop(BEGIN, 1).write(state)
    log = LogBuilder.start(BEGIN + timedelta(hours=1)).plan((1, "stop", "running"), steps=[]).accept(1)
    viewer = Viewer(make_settings(tmp_path))
    with held(log.write(state, old=False)):
        documents = {path: (await viewer.get(path)).json() for path in DOCUMENTS[:2]}
    described = build_openapi()
    for path, document in documents.items():
        answer = described["paths"][path]["get"]["responses"]["200"]
        schema = {**answer["content"]["application/json"]["schema"], "components": described["components"]}
        assert [error.message for error in Draft202012Validator(schema).iter_errors(document)] == []
    assert [each["state"] for each in documents["/api/runs"]["runs"]] == ["running", "finished"]
    (running,) = documents["/api/overview"]["running"]
    assert (running["done"], running["targets"], running["stages"]) == (0, 1, {"settling": 1})
    paths = {route.path for route in viewer.page.app.routes if route.path.startswith("/api/")}  # type: ignore[attr-defined]
    assert paths == set(described["paths"])


FOUND = {
    "": 3,
    "q=nightly": 2,
    "q=other+finished": 1,
    "playbook=night*": 2,
    "playbook=igh": 2,
    "state=unfinished": 1,
    "exit_code=0": 2,
    "since=2026-11-23T08:30Z": 2,
}


async def test_runs_are_found_by_words_and_filters(tmp_path: Path) -> None:
    state = tmp_path / "state"
    build_stop(BEGIN, 1).write(state)
    build_stop(BEGIN + timedelta(hours=1), 2, playbook="other").write(state)
    LogBuilder.start(BEGIN + timedelta(hours=2)).plan((3, "stop", "running")).write(state)
    viewer = Viewer(make_settings(tmp_path))
    for query, count in FOUND.items():
        assert len((await viewer.get(f"/api/runs?{query}")).json()["runs"]) == count, query
        assert (await viewer.get(f"/runs?{query}")).text.count('<th scope="row">') == count, query


@pytest.mark.parametrize("query", ["exit_code=six", f"exit_code={'9' * 5000}", "since=never"])
async def test_an_odd_filter_is_explained(tmp_path: Path, query: str) -> None:
    viewer = Viewer(make_settings(tmp_path))
    assert (await viewer.get(f"/runs?{query}")).status_code == 400
    answer = await viewer.get(f"/api/runs?{query}")
    assert (answer.status_code, bool(answer.json()["error"]["hint"])) == (400, True)


async def test_the_events_of_the_overview_bring_its_parts(tmp_path: Path) -> None:
    viewer = Viewer(make_settings(tmp_path))
    messages = viewer.page._feeds.follow("/", lambda _: _update(viewer), 0, 0.01)
    assert (await anext(messages)).startswith(b"retry:")
    first = _parts(await anext(messages))
    assert {"service", "running", "playbooks", "questions"} <= set(first)
    viewer.show(stopping=True)
    assert set(_parts(await anext(messages))) == {"service"}
    viewer.page.close()
    assert [message async for message in messages] == []


async def _update(viewer: Viewer) -> Any:  # noqa: ANN401 - as the reader has it
    return viewer.reader.overview_parts(viewer.facts)


def _parts(message: bytes) -> dict[str, str]:
    found: dict[str, str] = json.loads(message.split(b"data: ")[1])["parts"]
    return found


async def test_the_state_of_the_service_is_told(tmp_path: Path) -> None:
    viewer = Viewer(make_settings(tmp_path))
    viewer.facts = replace(viewer.facts, troubles=("there is no API key",), down="The API is down.")
    page = (await viewer.get("/")).text
    assert "there is no API key" in page
    assert "✗ down: The API is down." in page


async def test_an_error_of_the_page_is_logged_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = Viewer(make_settings(tmp_path))
    viewer.client._transport.raise_app_exceptions = False  # type: ignore[attr-defined] # as uvicorn does

    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(viewer.reader, "overview_page", fail)
    monkeypatch.setattr(viewer.reader, "overview_document", fail)
    for path in ("/", "/api/overview"):
        answer = await viewer.get(path)
        assert (answer.status_code, "secret" in answer.text, "page.error" in answer.text) == (500, False, True)
    assert [facts["path"] for event, facts in viewer.events if event == "page.error"] == ["/", "/api/overview"]


async def test_unreadable_runs_are_told_beside_the_schedules(tmp_path: Path) -> None:
    viewer = Viewer(make_settings(tmp_path))

    def fail() -> Any:  # noqa: ANN401 - never returns
        raise SettingsError("the folder of runs can't be read")

    viewer.reader._runs.list_runs = fail  # type: ignore[method-assign] # root reads every folder
    page = (await viewer.get("/")).text
    assert "the runs can&#x27;t be read" in page or "the runs can't be read" in page
    assert "nightly" in page


async def test_another_method_is_refused_with_the_right_methods(tmp_path: Path) -> None:
    viewer = Viewer(make_settings(tmp_path))
    for path in ("/api/runs", "/runs"):
        answer = await viewer.client.request("TRACE", path)
        assert (answer.status_code, "GET" in answer.headers["allow"], "use GET" in answer.text) == (405, True, True)
        assert answer.headers["content-security-policy"] == routes.POLICY


async def test_a_slow_form_ends() -> None:
    async def receive() -> Any:  # noqa: ANN401 - never returns
        await anyio.sleep_forever()

    kind = (b"content-type", b"application/x-www-form-urlencoded")
    request = Request({"type": "http", "method": "POST", "path": "/login", "headers": [kind]}, receive)
    with pytest.raises(FormError) as found:
        await read_form(request, 0)
    assert found.value.status == 408


async def test_a_broken_token_file_is_logged_once_for_programs_too(tmp_path: Path) -> None:
    viewer = Viewer(make_settings(tmp_path, tokens=True), listens_here=False)
    (tmp_path / "tokens").chmod(0o640)
    for path in ("/api/runs", "/", "/login"):
        await viewer.get(path, authorization=f"Bearer {ANNA}")
    assert [event for event, _ in viewer.events] == ["page.trouble"]


async def test_an_odd_version_of_the_events_is_the_first_version(tmp_path: Path) -> None:
    viewer = Viewer(make_settings(tmp_path))
    answer = await viewer.get("/api/runs/20261123T080000Z-0000/events", last_event_id="9" * 5000)
    assert (answer.status_code, "event: outdated" in answer.text) == (200, True)


async def test_a_session_that_ends_ends_its_events(tmp_path: Path) -> None:
    viewer = Viewer(make_settings(tmp_path, tokens=True), listens_here=False)
    await viewer.log_in(ANNA)
    cookie = "; ".join(f"{name}={value}" for name, value in viewer.client.cookies.items())
    request = Request({"type": "http", "path": "/", "headers": [(b"cookie", cookie.encode())], "client": None})
    visitor = viewer.page._find_visitor(request)
    assert visitor.may_act
    messages = viewer.page._follow(request, visitor, viewer.page._feeds.follow("/", lambda _: _update(viewer), 0, 0.01))
    await anext(messages)
    await anext(messages)
    (tmp_path / "tokens").write_text(f"vera viewer {VERA}\n")
    viewer.show(stopping=True)
    assert [message async for message in messages] == []
    assert (await viewer.get("/")).status_code == 401


async def test_a_first_look_at_many_logs_is_short_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in range(3):
        build_stop(BEGIN + timedelta(hours=hour), hour).write(tmp_path / "state")
    viewer = Viewer(make_settings(tmp_path))
    monkeypatch.setattr(reader, "_PATIENCE_S", -1.0)
    first = (await viewer.get("/api/overview")).json()
    assert (len(first["runs"]), first["savings"]) == (1, None)
    assert "load the page again" in (await viewer.get("/")).text
    monkeypatch.undo()
    second = (await viewer.get("/api/overview")).json()
    assert (len(second["runs"]), second["savings"] is None) == (3, False)
