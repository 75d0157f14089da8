"""Approved starts: who may start what, how often, and until when; on virtual time."""

import fcntl
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.audit.keys import write_key_pair
from orchestrator.audit.plan_uses import FilePlanUseStore
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import read_run
from orchestrator.errors import ApprovalError, PlanFileError, SettingsError
from orchestrator.playbook.plan import Plan
from orchestrator.runs.approvals_file import append_line, approvals_file, read_approvals
from orchestrator.runs.resume import reopen_run
from orchestrator.runs.session import Endpoint, Session
from orchestrator.runs.signed_start import check_start, load_terms
from orchestrator.runs.start import OpenRun, RunRequest, plan_request, start_run
from orchestrator.runs.wake import request_wake
from orchestrator.settings.model import ApprovalKey, ApprovalSection
from tests.engine.fakes import FakeCloud
from tests.logs import write_by
from tests.runs.sessions import request_of, session_of, write_at_once
from tests.runs.signers import SECTION, approve, request_by, write_plan
from tests.runs.test_start import agree, logs_in

pytestmark = pytest.mark.anyio

Confirm = Callable[[Plan], Awaitable[bool]]


def session_with(folder: Path, section: ApprovalSection = SECTION) -> Session:
    session = session_of(FakeCloud(3), folder)
    return replace(session, settings=session.settings.model_copy(update={"approval": section}))


async def start(session: Session, request: RunRequest, confirm: Confirm = agree) -> OpenRun:
    opened = await start_run(session, request, await plan_request(session, request), confirm)
    write_by(opened.log, write_at_once)
    return opened


async def test_a_plan_with_an_approval_by_another_person_starts_once(tmp_path: Path) -> None:
    session = session_with(tmp_path)
    file = await write_plan(session, tmp_path)
    approve(file, "ann", session.clock.wall())
    with await start(session, request_by(file, session, "ben")) as opened:
        approval = opened.state.started.approval
    assert approval is not None
    assert [each["key_name"] for each in approval["approvals"]] == ["ann"]
    assert approval["starter"]["key_name"] == "ben"
    with pytest.raises(ApprovalError, match=f"the approved plan was used by run {opened.log.run_id}"):
        await start(session, request_by(file, session, "cem"))
    assert len(logs_in(tmp_path)) == 1
    assert not session.claims.is_any_live([opened.log.run_id])


async def test_of_two_starts_at_once_one_begins(tmp_path: Path) -> None:
    session = session_with(tmp_path)
    file = await write_plan(session, tmp_path)
    approve(file, "ann", session.clock.wall())
    requests = [replace(request_by(file, session, name), ignore_running=True) for name in ("ben", "cem")]
    begun: list[OpenRun] = []
    refused: list[ApprovalError] = []

    async def try_start(request: RunRequest) -> None:
        try:
            begun.append(await start(session, request))
        except ApprovalError as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        for request in requests:
            group.start_soon(try_start, request)
    assert (len(begun), len(refused)) == (1, 1)
    with begun[0]:
        pass


@pytest.mark.parametrize("starter", ["ben", None])
async def test_without_enough_signatures_nothing_begins(tmp_path: Path, starter: str | None) -> None:
    session = session_with(tmp_path)
    file = await write_plan(session, tmp_path)
    approve(file, "ben", session.clock.wall())
    message = "has 0 of 1 approval; line 1: 'ben' starts" if starter else "the starter of an approved plan has to sign"
    with pytest.raises(ApprovalError, match=message):
        await start(session, request_by(file, session, starter))
    assert not (tmp_path / "used-plans").exists()


async def test_an_approval_that_expires_at_the_question_no_longer_counts(tmp_path: Path) -> None:
    session = session_with(tmp_path)
    file = await write_plan(session, tmp_path)
    approve(file, "ann", session.clock.wall(), timedelta(minutes=1))

    async def agree_later(plan: Plan) -> bool:
        await anyio.sleep(61)
        return bool(plan.targets)

    with pytest.raises(ApprovalError, match="expired at"):
        await start(session, request_by(file, session, "ben"), agree_later)
    assert not logs_in(tmp_path)
    assert not (tmp_path / "used-plans").exists()


async def test_a_clock_set_back_before_the_plan_is_refused(tmp_path: Path) -> None:
    session = session_with(tmp_path)
    file = await write_plan(session, tmp_path)
    now = session.clock.wall()
    approve(file, "ann", now)
    session.clock.wall = lambda: now - timedelta(minutes=6)
    with pytest.raises(ApprovalError, match="the plan is from the future by this machine's clock"):
        await start(session, request_by(file, session, "ben"))


async def test_only_exempt_playbooks_and_own_simulated_clouds_need_no_approval(tmp_path: Path) -> None:
    session = session_with(tmp_path)
    with pytest.raises(ApprovalError, match="needs an approved plan") as refused:
        await start(session, request_of())
    assert "orchestrator plan PLAYBOOK --out FILE" in str(refused.value.hint)
    named = request_of(name="nightly")
    for request in (
        replace(named, loaded=replace(named.loaded, in_memory=True)),
        replace(named, origin_fields={"restores": "r"}),
    ):
        with pytest.raises(ApprovalError, match="needs an approved plan"):
            await start(session, request)
    with await start(session, named) as opened:
        assert opened.state.started.approval == {"exempt": True}
    simulated = replace(session, endpoint=Endpoint("http://127.0.0.1/api/v1", "key", simulated=True))
    with await start(simulated, request_of()) as opened:
        assert opened.state.started.approval is None


async def test_a_resume_needs_an_approval_on_record_and_none_later(tmp_path: Path) -> None:
    session = session_of(FakeCloud(3), tmp_path)
    with await start(session, request_of()) as unapproved:
        pass
    with_keys = session_with(tmp_path)
    with reopen_run(unapproved.stored) as reopened:
        applied = reopened.apply_settings(session.settings)
        with pytest.raises(ApprovalError, match="the run began without an approval"):
            await reopened.plan(with_keys, applied, None)
    file = await write_plan(with_keys, tmp_path)
    approve(file, "ann", with_keys.clock.wall(), timedelta(minutes=1))
    with await start(with_keys, replace(request_by(file, with_keys, "ben"), ignore_running=True)) as approved:
        pass
    await anyio.sleep(3600)
    with reopen_run(approved.stored) as reopened:
        plan = await reopened.plan(with_keys, reopened.apply_settings(session.settings), None)
    assert len(plan.send) == 3


async def test_a_use_without_a_run_after_a_crash_stays_used(tmp_path: Path) -> None:
    session = session_with(tmp_path)
    file = await write_plan(session, tmp_path)
    approve(file, "ann", session.clock.wall())
    digest = json.loads(file.read_bytes())["digest"]
    FilePlanUseStore(tmp_path).use_plan(digest, "run-that-died", session.clock.wall())
    with pytest.raises(ApprovalError, match="was used by run run-that-died"):
        await start(session, request_by(file, session, "ben"))
    assert not logs_in(tmp_path)


async def test_a_damaged_file_takes_no_further_approval(tmp_path: Path) -> None:
    session = session_with(tmp_path)
    file = await write_plan(session, tmp_path)
    approve(file, "ann", session.clock.wall())
    before = approvals_file(file).read_bytes()
    approvals_file(file).write_bytes(before[:-5])
    with pytest.raises(PlanFileError, match="the line is cut off") as refused:
        approve(file, "cem", session.clock.wall())
    assert (refused.value.line, refused.value.exit_code) == (1, 2)
    with pytest.raises(PlanFileError, match="the line is cut off"):
        await start(session, request_by(file, session, "ben"))


async def test_the_message_names_ten_lines_and_counts_the_others(tmp_path: Path) -> None:
    session = session_with(tmp_path)
    file = await write_plan(session, tmp_path)
    for _ in range(12):
        approve(file, "ben", session.clock.wall())
    with pytest.raises(ApprovalError, match=r"line 10: 'ben' starts.*; and 2 more lines without effect$"):
        await start(session, request_by(file, session, "ben"))


async def test_no_approval_goes_through_a_symbolic_link(tmp_path: Path) -> None:
    session = session_with(tmp_path)
    file = await write_plan(session, tmp_path)
    (tmp_path / "other").touch()
    approvals_file(file).symlink_to(tmp_path / "other")
    with pytest.raises(PlanFileError, match="can't be written: the file is a symbolic link"):
        approve(file, "ann", session.clock.wall())
    assert (tmp_path / "other").read_bytes() == b""


async def test_a_file_that_another_process_holds_delays_nobody_for_long(tmp_path: Path) -> None:
    session = session_with(tmp_path)
    file = await write_plan(session, tmp_path)
    approve(file, "ann", session.clock.wall())
    line = read_approvals(file).approvals[0]
    with approvals_file(file).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(PlanFileError, match="another process holds the file"):
            append_line(file, line, wait=0)
        with pytest.raises(PlanFileError, match="another process holds the file"):
            read_approvals(file, wait=0.03)
    assert read_approvals(file, wait=0).approvals == [line]


async def test_a_wake_needs_an_approved_plan_unless_its_playbook_is_exempt(tmp_path: Path) -> None:
    session = session_with(tmp_path)
    times = {"schedule": {"cron": "0 20 * * *", "timezone": "UTC"}, "wake": {"cron": "0 7 * * *"}}
    with pytest.raises(ApprovalError, match="needs an approved plan") as refused:
        check_start(session, request_wake(request_of(name="hours", **times).loaded, session.settings))
    assert "orchestrator plan --wake hours --out FILE" in str(refused.value.hint)
    assert check_start(session, request_wake(request_of(name="nightly", **times).loaded, session.settings)) is None


async def test_an_unknown_key_starts_nothing(tmp_path: Path) -> None:
    session = session_with(tmp_path)
    file = await write_plan(session, tmp_path)
    approve(file, "ann", session.clock.wall())
    request = request_by(file, session, "ben")
    assert request.signed is not None
    request = replace(request, signed=replace(request.signed, key=Ed25519PrivateKey.generate()))
    with pytest.raises(ApprovalError, match="have no key of --key") as refused:
        await start(session, request)
    assert refused.value.hint == "known keys: ann, ben, cem"


def test_a_key_under_two_names_is_refused_also_from_a_file(tmp_path: Path) -> None:
    write_key_pair(tmp_path / "a.pem", tmp_path / "a.pub.pem")
    keys = tuple(ApprovalKey(name=name, public_key_file=tmp_path / "a.pub.pem") for name in ("ann", "ben"))
    session = session_with(tmp_path, ApprovalSection(keys=keys))
    with pytest.raises(SettingsError, match="'ann' and 'ben' have the same key"):
        load_terms(session.settings)


async def test_the_log_of_an_approved_run_replays_its_signatures(tmp_path: Path) -> None:
    session = session_with(tmp_path)
    file = await write_plan(session, tmp_path)
    approve(file, "ann", session.clock.wall())
    with await start(session, request_by(file, session, "ben")) as opened:
        pass
    state = RunState()
    read_run(opened.stored, state.apply_record)
    assert state.started.approval == opened.state.started.approval
