"""Exemptions of runs: by command and by file, in the plan, after a late yes, on resume, on record."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.errors import GuardError, SettingsError
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.keep import KeepEntry
from orchestrator.playbook.plan import Plan
from orchestrator.runs.execute import carry_out
from orchestrator.runs.frozen import apply_settings
from orchestrator.runs.keeping import COMMAND, FileKeepStore, KeepReader
from orchestrator.runs.prepare import Overrides
from orchestrator.runs.resume import frozen_in, reopen_run
from orchestrator.runs.session import Session
from orchestrator.runs.start import OpenRun, RunRequest, plan_request, start_run
from orchestrator.runs.status import StopRequest
from orchestrator.settings.load import Settings
from orchestrator.settings.model import KeepSection
from tests.engine.fakes import FakeCloud
from tests.keep_contract import KeepContract
from tests.logs import write_by
from tests.runs.sessions import request_of, session_of, write_at_once

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
LATER = NOW + timedelta(days=2)
VALID = "keep: [{name: web-1, until: 2026-11-25, owner: ann, reason: demo}]\n"


def entry(value: str = "web-1", until: datetime = LATER, key: str = "name") -> KeepEntry:
    return KeepEntry(key, value, until, "ann", "demo", COMMAND)


def with_file(session: Session, file: Path) -> Session:
    settings = Settings(audit=session.settings.audit, keep=KeepSection(file=file))
    return replace(session, settings=settings)


def reasons(plan: Plan) -> dict[str, str]:
    return {each.cvm.ref.name: each.reason for each in plan.skipped}


async def start(session: Session, request: RunRequest, wait: Any = None) -> OpenRun:  # noqa: ANN401 - a coroutine function
    async def agree(plan: Plan) -> bool:
        if wait is not None:
            await wait()
        return bool(plan.targets)

    opened = await start_run(session, request, await plan_request(session, request), agree)
    write_by(opened.log, write_at_once)
    return opened


# The store ------------------------------------------------------------


class TestFileKeepStore(KeepContract):
    """The contract over files."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> FileKeepStore:
        return FileKeepStore(tmp_path)


def test_commands_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    def add(number: int) -> None:
        FileKeepStore(tmp_path).add_entries([entry(f"web-{number}")], NOW)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(FileKeepStore(tmp_path).read_entries()) == 8


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"v": 1}', '{"v": 1, "keep": [{}]}', '{"v": 2, "keep": []}'])
def test_a_damaged_store_never_means_no_exemption(tmp_path: Path, content: str) -> None:
    (tmp_path / "keep.json").write_text(content)
    with pytest.raises(SettingsError):
        FileKeepStore(tmp_path).read_entries()


# The file ------------------------------------------------------------


def settings_of(tmp_path: Path) -> Settings:
    return with_file(session_like(tmp_path), tmp_path / "keep.yaml").settings


def session_like(tmp_path: Path) -> Session:
    async def build() -> Session:
        return session_of(FakeCloud(1), tmp_path)

    return anyio.run(build)


@pytest.mark.parametrize("content", [None, "", "keep: 7\n", "keep: [\n"])
def test_a_missing_or_broken_file_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "keep.yaml").write_text(content)
    with pytest.raises(SettingsError):
        KeepReader().read_list(settings_of(tmp_path), NOW)
    with pytest.raises(SettingsError):
        KeepReader(keeps_last=True).read_list(settings_of(tmp_path), NOW)


def test_the_service_goes_on_with_the_last_valid_version_and_says_so(tmp_path: Path) -> None:
    warnings: list[tuple[str, dict[str, object]]] = []
    reader, settings = KeepReader(keeps_last=True), settings_of(tmp_path)
    (tmp_path / "keep.yaml").write_text(VALID)
    first = reader.read_list(settings, NOW)
    (tmp_path / "keep.yaml").write_text("keep: [{name: web-1}]")
    broken = reader.read_list(settings, NOW, warn=lambda event, /, **facts: warnings.append((event, facts)))
    assert broken == first
    assert [event for event, _ in warnings] == ["keep.broken"]
    assert "until" in str(warnings[0][1]["reason"])
    with pytest.raises(SettingsError):
        KeepReader().read_list(settings, NOW)


# Runs ------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("by", ["command", "file"])
async def test_an_exempted_cvm_is_skipped_with_end_owner_and_reason(tmp_path: Path, by: str) -> None:
    session, source = session_of(FakeCloud(3), tmp_path), "demo"
    if by == "command":
        FileKeepStore(tmp_path).add_entries([entry()], NOW)
    else:
        (tmp_path / "keep.yaml").write_text(VALID)
        session = with_file(session, tmp_path / "keep.yaml")
    plan = (await plan_request(session, request_of())).plan
    assert [target.cvm.ref.name for target in plan.targets] == ["web-0", "web-2"]
    assert reasons(plan)["web-1"].startswith("kept until 2026-11-2")
    assert reasons(plan)["web-1"].endswith(f"by ann: {source}")


@pytest.mark.anyio
@pytest.mark.parametrize("by", ["option", "playbook"])
async def test_an_override_is_in_the_plan_and_on_record(tmp_path: Path, by: str) -> None:
    FileKeepStore(tmp_path).add_entries([entry()], NOW)
    session = session_of(FakeCloud(2), tmp_path)
    if by == "option":
        request = replace(request_of(), overrides=Overrides(ignore_keep="incident 4711"))
    else:
        request = request_of(guards={"ignore_keep": "true"})
    opened = await start(session, request)
    plan = (await plan_request(session, request)).plan
    assert "keep_ignored" in [warning.code for warning in plan.warnings]
    expected = "incident 4711" if by == "option" else "guards.ignore_keep of the playbook"
    assert opened.state.started.ignore_keep == expected
    assert (await carry_out(session, opened, StopRequest())).exit_code is Exit.OK


@pytest.mark.anyio
async def test_an_expired_exemption_is_a_warning_of_the_plan(tmp_path: Path) -> None:
    FileKeepStore(tmp_path).add_entries([entry(until=NOW - timedelta(hours=1))], NOW)
    plan = (await plan_request(session_of(FakeCloud(2), tmp_path), request_of())).plan
    (warning,) = [each for each in plan.warnings if each.code == "keep_expired"]
    assert "web-1 (2026-11-23 07:00 UTC by ann: demo)" in warning.message
    assert len(plan.targets) == 2


@pytest.mark.anyio
async def test_an_exemption_between_the_plan_and_the_yes_refuses_the_run(tmp_path: Path) -> None:
    session = session_of(FakeCloud(2), tmp_path)

    async def exempt() -> None:
        FileKeepStore(tmp_path).add_entries([entry()], NOW)

    with pytest.raises(GuardError, match="1 target exempted since the plan: web-1"):
        await start(session, request_of(), wait=exempt)
    assert list(session.store.list_runs()) == []


@pytest.mark.anyio
async def test_a_resume_leaves_a_newly_exempted_cvm_up(tmp_path: Path) -> None:
    cloud = FakeCloud(2)
    session = session_of(cloud, tmp_path)
    opened = await start(session, request_of())
    stop = StopRequest()
    stop.request_end(Ending.SIGINT)
    await carry_out(session, opened, stop)
    FileKeepStore(tmp_path).add_entries([entry()], NOW)
    with reopen_run(session.store.get_run(opened.log.run_id)) as reopened:
        write_by(reopened.log, write_at_once)
        applied = apply_settings(frozen_in(reopened.state, reopened.stored), session.settings, ())
        claim = session.claims.create_claim(opened.log.run_id, session.endpoint.base_url, [])
        plan = await reopened.plan(session, applied, claim)
        await carry_out(session, await reopened.record_resume(session, plan, claim), StopRequest())
    assert dict(cloud.posts) == {"web-0": 1}
