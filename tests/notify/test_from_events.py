"""Notices made from the records of a log."""

import pytest
from dirty_equals import IsPartialDict

from orchestrator.audit.replay import RunState
from orchestrator.notify.from_events import notice_of_log_failure, notice_of_refusal, notice_of_start
from orchestrator.notify.notice import Notice
from tests.logs import RUN_ID, build_records, cvm
from tests.notify.stories import begun, failed, finished, notices_of, settled, text


def kinds(*notices: Notice) -> list[set[str]]:
    return [set(notice.kinds) for notice in notices]


def test_a_successful_run_sends_notices_at_its_start_and_end() -> None:
    start, end = notices_of(settled(1), settled(2), settled(3), finished(settled=3))
    assert start.headline == "nightly started: 3 to stop"
    assert start.lines == ("started by ops@desk, cloud https://example.test/api/v1", f"run {RUN_ID}")
    assert end.headline == "nightly succeeded: 3 settled (exit 0)"
    assert end.lines == ("took 5s, stopped compute $0.2500/h", f"run {RUN_ID}")
    assert end.commands == (f"orchestrator show {RUN_ID}",)
    assert kinds(start, end) == [{"start"}, {"end"}]


def test_exempted_cvms_and_expired_exemptions_are_in_the_notices_of_start_and_end() -> None:
    first = begun(2)
    kept = [
        {
            "cvm": cvm(n),
            "code": "kept",
            "reason": f"kept until 2026-12-01 08:00 UTC by ann: test {n}",
            "status": "running",
        }
        for n in range(3, 10)
    ]
    expired = {"code": "keep_expired", "message": "the exemption of 1 target has expired: web-1 (demo)"}
    first[1][1].update(skipped=kept, warnings=[{"code": "no_guards", "message": "none"}, expired, "a sentence"])
    for notice in notices_of(settled(1), settled(2), finished(settled=2), first=first):
        assert notice.lines[1].startswith(
            "left up 7 exempted CVMs: web-3 (kept until 2026-12-01 08:00 UTC by ann: test 3)"
        )
        assert notice.lines[1].endswith("test 7) and 2 more")
        assert notice.lines[2] == expired["message"]
        assert (notice.facts["kept_count"], len(notice.facts["kept"])) == (7, 5)
        assert notice.facts["kept"][0] == {"cvm": cvm(3), "reason": kept[0]["reason"]}
        assert notice.facts["warnings"] == [expired]


def test_the_first_failure_is_sent_at_once_and_others_at_the_end() -> None:
    events = [failed(number) for number in range(1, 1001)]
    start, first, end = notices_of(*events, finished(6, failed=1000), first=begun(1000))
    assert first.headline == "nightly, first failure among 1000 CVMs: web-1 on prod-1 failed: no such disk"
    assert end.headline == "nightly finished with failures: 1000 failed (exit 6)"
    assert "web-1000 on prod-1 failed: no such disk" in end.lines
    assert "and 995 more" in end.lines
    assert len(end.facts["failures"]) == 5
    assert kinds(start, first, end) == [{"start"}, {"failure"}, {"end", "failure"}]


def test_a_cvm_targeted_again_by_a_later_step_counts_once() -> None:
    first = begun()
    first[1][1]["steps"] = [{"name": "stop"}, {"name": "again", "follows": {"step": "stop"}}]
    target = {"step": "again", "action": "stop", "cvm": cvm(1), "status": "running"}
    again = ("step.planned", {"step": "again", "action": "stop", "targets": [target]})
    *_, end = notices_of(failed(1), settled(2), settled(3), again, finished(6, failed=1, settled=2), first=first)
    assert end.facts["targets"] == 3


@pytest.mark.parametrize("outcome", ["refused", "failed", "resurrected", "unsettled"])
def test_every_failed_outcome_sends_a_failure_notice(outcome: str) -> None:
    assert [each.event for each in notices_of(failed(1, outcome))] == ["run.started", "target.failed"]


@pytest.mark.parametrize("outcome", ["not_sent", "skipped"])
def test_not_sent_and_skipped_are_no_failures(outcome: str) -> None:
    assert [each.event for each in notices_of(failed(1, outcome))] == ["run.started"]


@pytest.mark.parametrize(
    ("code", "ending", "says"),
    [
        (7, "completed", "finished, some CVMs did not settle in time"),
        (8, "max_failures", "ended early, too many failures"),
        (8, "step_failed", "ended early, a step failed"),
        (8, "canary_failed", "ended early, the first wave failed"),
        (3, "not_approved", "ended early, not approved"),
        (8, "something_new", "ended early:"),
    ],
)
def test_the_notice_of_the_end_gives_the_reason(code: int, ending: str, says: str) -> None:
    assert says in notices_of(finished(code, ending, not_sent=3))[-1].headline


def test_the_end_of_an_old_log_without_its_ending_is_still_a_notice() -> None:
    event, fields = finished(0, settled=3)
    end = notices_of((event, {name: value for name, value in fields.items() if name != "ending"}))[-1]
    assert (end.headline, end.facts["ending"]) == ("nightly succeeded: 3 settled (exit 0)", None)


def test_a_missed_deadline_is_in_the_notice_of_the_end() -> None:
    event, fields = finished(0, settled=3)
    end = notices_of((event, fields | {"deadline": {"seconds": 60, "met": False, "late": 1}}))[-1]
    assert "deadline missed: 1 CVM too late" in end.lines
    assert end.facts["deadline"] == {"seconds": 60, "met": False, "late": 1}


def test_a_worker_that_hands_a_run_over_sends_no_notice_and_the_next_worker_says_that_the_run_continues() -> None:
    handed_over = ("run.interrupted", {"reason": "sigterm", "open": 2})
    submitted = begun(submitted={"by": "ann@desk", "db_user": "ann"})
    assert len(notices_of(handed_over, first=submitted)) == 1
    (resumed,) = notices_of(first=[*submitted, handed_over, ("run.resumed", {"open": 2})])
    assert "resumed: 3 of 3 CVMs are still open" in resumed.headline


@pytest.mark.parametrize(
    ("reason", "says"),
    [("sigint", "interrupted"), ("key_refused", "the API refuses the key"), ("something_new", "interrupted")],
)
def test_an_interrupted_run_names_the_resume_command(reason: str, says: str) -> None:
    end = notices_of(settled(1), ("run.interrupted", {"reason": reason, "open": 2}))[-1]
    assert says in end.headline
    assert "1 settled, 2 not sent" in end.headline
    assert end.commands == (f"orchestrator resume {RUN_ID}",)
    assert end.kinds == {"end", "failure"}


def test_a_simulated_run_is_marked_and_offers_no_resume() -> None:
    interrupted = ("run.interrupted", {"reason": "sigint", "open": 2})
    start, end = notices_of(interrupted, first=begun(simulated=True))
    assert start.headline.startswith("[simulated] nightly ")
    assert start.facts["simulated"] is True
    assert end.commands == ()


def test_a_resume_counts_open_cvms_and_has_the_record_s_number() -> None:
    state = RunState()
    later = [settled(1), ("run.interrupted", {"reason": "sigint", "open": 2}), ("run.resumed", {"open": 2})]
    for record in build_records([*begun(), *later]):
        state.apply_record(record)
    notice = notice_of_start(state)
    assert notice.headline == "nightly resumed: 2 of 3 CVMs are still open"
    assert (notice.id, notice.event) == (f"{RUN_ID}-{record['seq']}", "run.resumed")


def test_a_failure_before_a_resume_is_not_sent_again() -> None:
    first = [*begun(), failed(1), ("run.interrupted", {"reason": "sigterm", "open": 2}), ("run.resumed", {"open": 2})]
    assert [each.event for each in notices_of(failed(2), first=first)][-1] != "target.failed"


def test_an_approval_request_has_a_command_and_an_expiry() -> None:
    request = {"step": "ask", "question": "Stop the rest?", "expires_at": "2026-11-23T09:00:00.000000Z"}
    _, asked, answered, commented = notices_of(
        ("approval.requested", request),
        ("approval.answered", {"step": "ask", "answer": "timed_out", "by": "ann@desk", "via": "cli"}),
        ("approval.answered", {"step": "step 2", "answer": "approved", "by": "a", "via": "cli", "comment": "copied"}),
    )
    assert asked.headline == "nightly waits for approval: Stop the rest?"
    assert asked.lines[0] == "step ask, until 2026-11-23 09:00:00 UTC; then the run ends as refused"
    assert asked.commands == (f"orchestrator approve {RUN_ID}",)
    assert answered.headline == "nightly, step ask: timed out by ann@desk (cli)"
    assert (commented.headline, commented.lines[0]) == ("nightly, step 2: approved by a (cli)", "copied")
    assert asked.kinds == answered.kinds == {"approval"}


def test_a_notify_step_sends_its_message_with_its_lines() -> None:
    said = notices_of(("notice", {"step": "tell", "message": "Going down.\n\nSee https://wiki.example/x"}))[-1]
    assert said.headline == "nightly: Going down."
    assert "See https://wiki.example/x" in said.lines
    assert said.facts == IsPartialDict(event="notice", step="tell", message="Going down.\n\nSee https://wiki.example/x")
    assert said.kinds == {"message"}


def test_a_schedule_that_started_a_run_is_named() -> None:
    start = notices_of(first=begun(trigger={"schedule": "weeknights", "planned": "x", "moment": "y"}))[0]
    assert start.lines[0].startswith("started by the schedule weeknights, cloud ")


def test_a_failed_log_sends_a_notice_without_a_record() -> None:
    state = RunState()
    for record in build_records(begun()):
        state.apply_record(record)
    notice = notice_of_log_failure(state, "the audit log can't be written: No space left on device")
    assert "ended early: the audit log failed" in notice.headline
    assert "No space left" in notice.lines[0]
    assert notice.kinds == {"end", "failure"}
    assert notice.facts["exit_code"] == 8


def test_names_cannot_break_a_line_or_hide_text() -> None:
    evil = "x\n\x1b[2J\u202egnp\u200b\0 \ud800" + "y" * 10_000
    notices = notices_of(
        failed(1, name=evil, reason=evil),
        finished(6, failed=1),
        ("notice", {"step": evil, "message": evil}),
        ("approval.requested", {"step": evil, "question": evil, "expires_at": "2026-11-23T09:00:00.000000Z"}),
        ("approval.answered", {"step": evil, "answer": evil, "by": evil, "via": evil}),
        first=begun(name=evil, cvm_name=evil, actor=evil, cloud_url=evil),
    )
    assert len(notices) == 6
    for notice in notices:
        lines = text(notice).split("\n")
        assert all(line.isprintable() for line in lines)
        assert all(len(line) <= 2200 for line in lines)
        assert not any(line.startswith("gnp") for line in lines)


def test_every_notice_has_the_common_facts() -> None:
    for notice in notices_of(failed(1), finished(6, failed=1), ("notice", {"step": "tell", "message": "m"})):
        assert notice.facts == IsPartialDict(
            event=notice.event, run_id=RUN_ID, playbook="nightly", actor="ops@desk", simulated=False, targets=3
        )
    assert notices_of(failed(1))[-1].facts["failures"] == [
        {"step": "stop", "action": "stop", "cvm": cvm(1), "outcome": "failed", "reason": "no such disk"}
    ]


def test_the_id_of_a_notice_depends_only_on_the_log() -> None:
    story = (failed(1), finished(6, failed=1))
    ids = [notice.id for notice in notices_of(*story)]
    assert ids == [notice.id for notice in notices_of(*story)] == [f"{RUN_ID}-1", f"{RUN_ID}-3", f"{RUN_ID}-4"]


def test_a_refused_run_sends_the_reason() -> None:
    where = {"number": "7", "at": "2026-11-23T08:00:00.000000Z", "actor": "ops@desk", "cloud_url": "https://x.test"}
    notice = notice_of_refusal("nightly", "refused by a guard:\nmax_targets", 3, **where, simulated=False)
    assert notice.headline == "nightly did not start (exit 3); nothing was changed"
    assert notice.lines == ("refused by a guard: max_targets", "started by ops@desk, cloud https://x.test")
    assert (notice.facts["run_id"], notice.facts["exit_code"], kinds(notice)) == (None, 3, [{"failure"}])
    named = notice_of_refusal("nightly", "x", 3, **where, simulated=False, workspace_name="prod")
    assert named.headline == "nightly in prod did not start (exit 3); nothing was changed"
    assert named.facts == {**notice.facts, "reason": "x", "workspace_name": "prod"}
