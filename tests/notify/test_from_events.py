"""What is told of a run, and how often."""

import pytest
from dirty_equals import IsPartialDict

from orchestrator.audit.replay import RunState
from orchestrator.notify.from_events import notice_of_early_end, opening, refused
from orchestrator.notify.notice import Notice
from tests.notify.stories import RUN_ID, begun, cvm, failed, finished, records, settled, text, told


def kinds(*notices: Notice) -> list[set[str]]:
    return [set(notice.kinds) for notice in notices]


def test_a_run_that_goes_well_is_told_of_when_it_starts_and_when_it_ends() -> None:
    start, end = told(settled(1), settled(2), settled(3), finished(settled=3))
    assert start.headline == "nightly started: 3 to stop"
    assert start.lines == ("by ops@desk, at https://example.test/api/v1", f"run {RUN_ID}")
    assert end.headline == "nightly finished, all as wanted: 3 settled (exit 0)"
    assert end.lines == ("took 5s, ends $0.2500 an hour of compute", f"run {RUN_ID}")
    assert end.commands == (f"orchestrator show {RUN_ID}",)
    assert kinds(start, end) == [{"start"}, {"end"}]


def test_the_first_failure_is_told_at_once_and_all_others_by_the_end() -> None:
    events = [failed(number) for number in range(1, 1001)]
    start, first, end = told(*events, finished(6, failed=1000), first=begun(1000))
    assert first.headline == "nightly, a first failure among 1000 CVMs: web-1 on prod-1 failed: no such disk"
    assert end.headline == "nightly finished with failures: 1000 failed (exit 6)"
    assert "web-1000 on prod-1 failed: no such disk" in end.lines
    assert "and 995 more" in end.lines
    assert len(end.facts["failures"]) == 5
    assert kinds(start, first, end) == [{"start"}, {"failure"}, {"end", "failure"}]


def test_a_cvm_that_a_later_step_takes_up_is_one_all_the_same() -> None:
    first = begun()
    first[1][1]["steps"] = [{"name": "stop"}, {"name": "again", "follows": {"step": "stop"}}]
    target = {"step": "again", "action": "stop", "cvm": cvm(1), "status": "running"}
    again = ("step.planned", {"step": "again", "action": "stop", "targets": [target]})
    *_, end = told(failed(1), settled(2), settled(3), again, finished(6, failed=1, settled=2), first=first)
    assert end.facts["targets"] == 3


@pytest.mark.parametrize("outcome", ["refused", "failed", "resurrected", "unsettled"])
def test_every_outcome_but_the_wanted_ones_is_a_failure(outcome: str) -> None:
    assert [each.event for each in told(failed(1, outcome))] == ["run.started", "target.failed"]


@pytest.mark.parametrize("outcome", ["not_sent", "skipped"])
def test_what_was_not_sent_or_left_alone_is_no_failure(outcome: str) -> None:
    assert [each.event for each in told(failed(1, outcome))] == ["run.started"]


@pytest.mark.parametrize(
    ("code", "ending", "says"),
    [
        (7, "completed", "finished, not all settled in time"),
        (8, "max_failures", "ended early, too many failures"),
        (8, "step_failed", "ended early, a step failed"),
        (8, "canary_failed", "ended early, the first wave failed"),
        (3, "not_approved", "ended early, not approved"),
        (8, "something_new", "ended early:"),
    ],
)
def test_the_end_says_why(code: int, ending: str, says: str) -> None:
    assert says in told(finished(code, ending, not_sent=3))[-1].headline


def test_a_deadline_that_was_missed_is_told() -> None:
    event, fields = finished(0, settled=3)
    end = told((event, fields | {"deadline": {"seconds": 60, "met": False, "late": 1}}))[-1]
    assert "missed its deadline: 1 CVM too late" in end.lines
    assert end.facts["deadline"] == {"seconds": 60, "met": False, "late": 1}


@pytest.mark.parametrize(
    ("reason", "says"),
    [("sigint", "interrupted"), ("key_refused", "the API refuses the key"), ("something_new", "interrupted")],
)
def test_a_run_that_can_be_resumed_says_how(reason: str, says: str) -> None:
    end = told(settled(1), ("run.interrupted", {"reason": reason, "open": 2}))[-1]
    assert says in end.headline
    assert "1 settled, 2 not sent" in end.headline
    assert end.commands == (f"orchestrator resume {RUN_ID}",)
    assert end.kinds == {"end", "failure"}


def test_a_simulated_run_says_so_and_offers_no_resume() -> None:
    interrupted = ("run.interrupted", {"reason": "sigint", "open": 2})
    start, end = told(interrupted, first=begun(simulated=True))
    assert start.headline.startswith("[simulated] nightly ")
    assert start.facts["simulated"] is True
    assert end.commands == ()


def test_a_resumed_run_is_told_of_by_what_is_still_open_and_by_the_record_s_number() -> None:
    state = RunState()
    for record in records(
        *begun(), settled(1), ("run.interrupted", {"reason": "sigint", "open": 2}), ("run.resumed", {"open": 2})
    ):
        state.apply(record)
    notice = opening(state)
    assert notice.headline == "nightly resumed: 2 of 3 CVMs are still open"
    assert (notice.id, notice.event) == (f"{RUN_ID}-{record['seq']}", "run.resumed")


def test_a_failure_before_a_resume_is_not_told_again_after_it() -> None:
    first = [*begun(), failed(1), ("run.interrupted", {"reason": "sigterm", "open": 2}), ("run.resumed", {"open": 2})]
    assert [each.event for each in told(failed(2), first=first)][-1] != "target.failed"


def test_waiting_for_approval_says_what_to_type_and_until_when() -> None:
    request = {"step": "ask", "question": "Stop the rest?", "expires_at": "2026-11-23T09:00:00.000000Z"}
    _, asked, answered, commented = told(
        ("approval.requested", request),
        ("approval.answered", {"step": "ask", "answer": "timed_out", "by": "ann@desk", "via": "cli"}),
        ("approval.answered", {"step": "step 2", "answer": "approved", "by": "a", "via": "cli", "comment": "copied"}),
    )
    assert asked.headline == "nightly waits for approval: Stop the rest?"
    assert asked.lines[0] == "step ask, until 2026-11-23 09:00:00 UTC; then it ends as if refused"
    assert asked.commands == (f"orchestrator approve {RUN_ID}",)
    assert answered.headline == "nightly, step ask: timed out by ann@desk (cli)"
    assert (commented.headline, commented.lines[0]) == ("nightly, step 2: approved by a (cli)", "copied")
    assert asked.kinds == answered.kinds == {"approval"}


def test_a_notify_step_says_its_message_and_keeps_its_lines() -> None:
    said = told(("notice", {"step": "tell", "message": "Going down.\n\nSee https://wiki.example/x"}))[-1]
    assert said.headline == "nightly: Going down."
    assert "See https://wiki.example/x" in said.lines
    assert said.facts == IsPartialDict(event="notice", step="tell", message="Going down.\n\nSee https://wiki.example/x")
    assert said.kinds == {"message"}


def test_a_schedule_that_started_a_run_is_named() -> None:
    start = told(first=begun(trigger={"schedule": "weeknights", "planned": "x", "moment": "y"}))[0]
    assert start.lines[0].startswith("by the schedule weeknights, at ")


def test_a_run_whose_log_fails_is_told_of_though_no_record_says_so() -> None:
    state = RunState()
    for record in records(*begun()):
        state.apply(record)
    notice = notice_of_early_end(state, "the audit log can't be written: No space left on device")
    assert "ended early: the audit log failed" in notice.headline
    assert "No space left" in notice.lines[0]
    assert notice.kinds == {"end", "failure"}
    assert notice.facts["exit_code"] == 8


def test_names_can_neither_break_a_line_nor_hide_anything() -> None:
    evil = "x\n\x1b[2J\u202egnp\u200b\0 \ud800" + "y" * 10_000
    notices = told(
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


def test_every_notice_has_what_all_have_in_common() -> None:
    for notice in told(failed(1), finished(6, failed=1), ("notice", {"step": "tell", "message": "m"})):
        assert notice.facts == IsPartialDict(
            event=notice.event, run_id=RUN_ID, playbook="nightly", actor="ops@desk", simulated=False, targets=3
        )
    assert told(failed(1))[-1].facts["failures"] == [
        {"step": "stop", "action": "stop", "cvm": cvm(1), "outcome": "failed", "reason": "no such disk"}
    ]


def test_each_notice_has_an_id_of_its_own_that_depends_on_nothing_but_the_log() -> None:
    story = (failed(1), finished(6, failed=1))
    ids = [notice.id for notice in told(*story)]
    assert ids == [notice.id for notice in told(*story)] == [f"{RUN_ID}-1", f"{RUN_ID}-3", f"{RUN_ID}-4"]


def test_a_run_that_did_not_begin_is_told_of_by_its_reason() -> None:
    where = {"number": "7", "at": "2026-11-23T08:00:00.000000Z", "actor": "ops@desk", "cloud_url": "https://x.test"}
    notice = refused("nightly", "refused by a guard:\nmax_targets", 3, **where, simulated=False)
    assert notice.headline == "nightly did not start (exit 3); nothing was changed"
    assert notice.lines == ("refused by a guard: max_targets", "by ops@desk, at https://x.test")
    assert (notice.facts["run_id"], notice.facts["exit_code"], kinds(notice)) == (None, 3, [{"failure"}])
