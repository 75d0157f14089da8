"""Steps, questions and answers as text."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from orchestrator.playbook.guards import merge_guards
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.planning import make_plan
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.report.plan.sections import step_lines, targets_ahead
from orchestrator.report.plan.text import print_plan
from orchestrator.report.run.text import answer_lines, describe_wait, print_question, print_run
from tests.logs import RUN_ID
from tests.report.runs import EVIL, LIMITS, LOG, STYLE, about, console, cvm, is_tame, run

STEPS: list[dict[str, Any]] = [
    {"name": "first", "action": "shutdown", "select": {"name": "a-*"}, "escalate": {"after": "2m"}},
    {"action": "stop", "select": {"result": {"step": "first"}}, "limits": {"per_teepod": "2", "max_failures": "5%"}},
    {"name": "look", "action": "pause", "question": f"Go\n on? {EVIL}", "timeout": "90m"},
    {"action": "notify", "message": "on we go"},
    {"name": "up", "action": "start", "select": {"result": {"step": "first", "outcome": ["settled", "skipped"]}}},
    {"name": "rest", "action": "stop", "select": {"name": "b-*"}, "on_failure": "stop"},
]
NOW = datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC)
ASKED = (
    "approval.requested",
    {"step": "look", "question": f"Go\non? {EVIL}", "expires_at": "1970-01-01T01:30:00.000000Z"},
)
SETTLED = {"outcome": "settled", "status": "stopped", "seconds": 3.0}
FAILED = {"outcome": "failed", "status": "running", "seconds": 3.0, "reason": "no"}


def plan_of(steps: list[dict[str, Any]]) -> Plan:
    book = Playbook.model_validate({"name": "example", "steps": steps})
    return make_plan(
        book,
        [cvm(1, "a-1"), cvm(2, "a-2"), cvm(3, "a-3"), cvm(4, "b-1")],
        guards=merge_guards(book.guards, Guards()),
        limits=LIMITS,
        settle_timeout=600,
        price_list={},
        storage_usd_per_gb_hour=Decimal(0),
        batch_size=100,
    )


PLAN = plan_of(STEPS)


def printed(plan: Plan, width: int = 200) -> str:
    target, file = console(width)
    print_plan(target, plan, None)
    return STYLE.sub("", file.getvalue())


def test_a_plan_lists_its_steps_in_order_with_their_options() -> None:
    lines = dict(step_lines(PLAN.steps, {"first": 3, "rest": 1}, PLAN.may_follow))
    assert lines[1] == "first: shut down 3 CVMs, force-stopped after 2m"
    assert lines[2] == "stop CVMs that did not end as wanted in step 1, up to 3 CVMs, 2 per teepod, at most 5% failures"
    assert lines[3].startswith("look: pause: “Go on? [red]x[/]")
    assert lines[3].endswith("” (1h30m to answer)")
    assert lines[4] == "notify: “on we go”"
    assert lines[5] == "up: start CVMs that settled or were skipped in step 1, up to 3 CVMs"
    assert lines[6] == "rest: stop 1 CVM, a failure ends the run"
    assert re.search(r"^steps +1  first: shut down 3 CVMs.*\n +2  stop CVMs", printed(PLAN), re.MULTILINE)


def test_the_estimate_uses_the_rate_and_escalation_of_each_step() -> None:
    slow = plan_of([{**STEPS[0], "limits": {"requests_per_second": "0.5"}}, STEPS[5]])
    assert f"at 0.5 to {LIMITS.requests_per_second:g} a second; each CVM then has 12m to go down" in printed(slow)


@pytest.mark.parametrize("width", [60, 200])
def test_the_list_fits_a_narrow_terminal_and_foreign_text_is_harmless(width: int) -> None:
    text = printed(PLAN, width)
    assert is_tame(text)
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize(
    ("more", "listed"),
    [({}, False), ({"escalate": {"after": "2m"}}, True), ({"limits": {"dispatch": "single"}}, True)],
    ids=["plain", "escalates", "own limits"],
)
def test_a_plain_single_step_needs_no_list(more: dict[str, Any], listed: bool) -> None:
    step = {"name": "only", "action": "shutdown", "select": {"all": "true"}, **more}
    assert ("steps " in printed(plan_of([step]))) is listed


def test_targets_ahead_are_open_targets_and_possible_follow_ups() -> None:
    state = run(
        ("target.settled", about(0, PLAN, **SETTLED)), ("target.failed", about(1, PLAN, **FAILED)), ASKED, made=PLAN
    )
    still_open, may_follow = targets_ahead(state)
    assert still_open == {"first": 1, "rest": 1}
    assert may_follow == {"step 2": 2, "up": 2}, "the one that is open may yet end either way"
    done = run(
        *[("target.settled", about(number, PLAN, **SETTLED)) for number in range(3)],
        ("step.planned", {"step": "step 2", "action": "stop", "targets": []}),
        made=PLAN,
    )
    assert targets_ahead(done) == ({"rest": 1}, {"up": 3}), "who took up its targets will take up no more"


@pytest.mark.parametrize("width", [60, 200])
def test_a_question_has_the_stages_the_next_steps_and_its_time_limit(width: int) -> None:
    state = run(("target.settled", about(0, PLAN, **SETTLED)), ASKED, made=PLAN)
    target, file = console(width)
    assert state.question is not None
    print_question(target, state, state.question, NOW)
    text = STYLE.sub("", file.getvalue())
    assert is_tame(text)
    assert max(map(len, text.splitlines())) <= width
    assert "step 3 of 6, look" in text
    assert "\n  Go\n  on? [red]x[/]" in text, "its lines are kept"
    assert "1 settled" in text
    assert "4  notify" in text
    assert "2  stop" not in text, "what is behind it does not follow"
    assert "01:30:00 UTC, 1h29m50s from now" in text


def test_a_question_at_the_last_step_ends_the_run() -> None:
    plan = plan_of([STEPS[0], STEPS[2]])
    state = run(ASKED, made=plan)
    target, file = console()
    assert state.question is not None
    print_question(target, state, state.question, NOW)
    assert re.search(r"then +.*the run ends", file.getvalue())


ANSWERED = (
    "approval.answered",
    {"step": "look", "answer": "approved", "by": f"ann@{EVIL}", "via": "approve", "comment": EVIL},
)


def test_a_run_waits_until_an_answer_an_interruption_or_its_end() -> None:
    assert describe_wait(run(made=PLAN)) is None
    line = f"waits for an answer until 1970-01-01 01:30:00 UTC: orchestrator approve {RUN_ID}"
    assert describe_wait(run(ASKED, made=PLAN)) == line
    for after in (ANSWERED, ("run.interrupted", {"reason": "sigint"}), ("run.resumed", {}), ("run.finished", {})):
        assert describe_wait(run(ASKED, after, made=PLAN)) is None
    target, file = console()
    print_run(target, run(ASKED, made=PLAN), None, LOG)
    assert line in STYLE.sub("", file.getvalue())


def test_answers_have_their_author_channel_and_comment() -> None:
    timed_out = ("approval.answered", {"step": "look", "answer": "timed_out", "by": None, "via": None})
    state = run(ASKED, ANSWERED, ASKED, timed_out, made=PLAN)
    first, second = answer_lines(state)
    assert first.startswith("look: approved by ann@[red]x[/]")
    assert "(approve): [red]x[/]" in first
    assert second == "look: no answer in time"
    assert is_tame(first)


def test_resume_asks_an_open_question_of_an_interrupted_run_again() -> None:
    state = run(ASKED, ("run.interrupted", {"reason": "sigint"}), made=PLAN)
    target, file = console()
    print_run(target, state, 130, LOG)
    assert "look: not answered: resume asks again" in file.getvalue()
    assert answer_lines(state) == []
