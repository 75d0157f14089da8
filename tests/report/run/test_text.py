"""The end of a run as text: problems, the bill, the next commands, and no control characters from names."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.audit.events import RunStarted
from orchestrator.outcome import Exit
from orchestrator.report.plan.text import print_plan
from orchestrator.report.run.text import print_run
from orchestrator.runs.documents import run_document
from orchestrator.runs.records import planned_fields
from tests.logs import RUN_ID, build_records, replay
from tests.report.runs import (
    EVIL,
    LOG,
    REFUSED,
    STOPPED,
    STYLE,
    console,
    is_tame,
    large_fleet,
    plan,
    run,
)


def ended(code: int, *events: tuple[str, dict[str, object]], width: int = 200) -> str:
    target, file = console(width)
    print_run(target, run(*events), code, LOG)
    return file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_no_id_and_no_command_is_wrapped_or_cut_at_any_width(width: int) -> None:
    """A column without room is left out whole."""
    made = plan(large_fleet(5), max_targets=9, max_percent=100)
    target, file = console(width)
    print_plan(target, made, None)
    print_plan(target, made, None, details=True)
    print_run(target, run(*STOPPED, *REFUSED, ("run.interrupted", {})), Exit.FAILED, Path("/a" * 60) / "run.jsonl")
    lines = STYLE.sub("", file.getvalue()).splitlines()
    for command in ("audit verify", "resume"):
        assert any(f"orchestrator {command} {RUN_ID}" in line for line in lines)
    assert any(line.endswith("/run.jsonl") and "/a" * 60 in line for line in lines)
    for app_id in re.findall(r"\b0{8,}[0-9a-f]*", "\n".join(lines)):
        assert len(app_id) == 40
    assert {found for line in lines for found in re.findall(r"cvm_\w*", line)} <= {f"cvm_{n}" for n in range(9)}


def test_the_end_of_a_run_says_how_the_run_was_narrowed() -> None:
    narrowed = {"only": {"name": [f"web-*{EVIL}"]}, "exclude": [{"teepod": "b"}]}
    started = {"playbook": {"name": "example"}, "narrowed": narrowed}
    story = [("run.started", started), ("run.planned", planned_fields(plan(), 5)), *STOPPED]
    state = replay(build_records(story, datetime.fromtimestamp(0, UTC)))
    target, file = console(200)
    print_run(target, state, 0, LOG)
    assert re.search(r"narrowed\s+--only name=web-", STYLE.sub("", file.getvalue()))
    assert is_tame(file.getvalue())
    assert run_document(state, 0, LOG)["narrowed"] == narrowed


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_foreign_text_controls_the_terminal_at_the_end(width: int) -> None:
    assert is_tame(ended(Exit.FAILED, *STOPPED, *REFUSED, width=width))


def test_the_end_of_a_run_has_its_problems_and_the_next_command() -> None:
    text = STYLE.sub("", ended(Exit.FAILED, *STOPPED, *REFUSED, ("run.interrupted", {})))
    assert f"Run {RUN_ID}  completed with problems: 1 of 3 CVMs stopped (exit 6)" in text
    assert "1 settled  1 refused  1 not_sent" in text
    assert "rented [red]x[/]" in text
    assert "not sent: " in text
    assert "4.5s from first request to end" in text
    assert "ends  compute $0.1000/h, $73.00 a month" in text
    assert f"orchestrator resume {RUN_ID}" in text
    assert "resume" not in ended(Exit.OK, *STOPPED, ("run.finished", {"exit_code": 0}))


@pytest.mark.parametrize(("by", "words"), [("cloud_down", "the cloud was down for too long"), ("a\x1b", "a\\x1b")])
def test_the_end_of_a_run_has_the_reason_for_a_cut(by: str, words: str) -> None:
    text = ended(8, *STOPPED, ("run.finished", {"exit_code": 8, "cut_short_by": by}))
    assert re.search(rf"cut short +{re.escape(words)}", STYLE.sub("", text))


def test_an_unknown_exit_code_is_shown() -> None:
    assert "(exit 99)" in STYLE.sub("", ended(99, *STOPPED))


def test_a_hostile_run_id_is_escaped() -> None:
    state = run(*STOPPED)
    state.run_id = EVIL
    target, file = console()
    print_run(target, state, 0, LOG)
    assert is_tame(file.getvalue())


def test_a_scheduled_run_has_its_schedule_and_planned_time() -> None:
    state = run(*STOPPED)
    firing = {"schedule": EVIL, "planned": "2026-11-23T18:30:00.000000Z", "moment": "2026-11-23T18:31:07.000000Z"}
    for trigger in (None, firing):
        state.started = RunStarted({**state.started.record, "trigger": trigger})
        target, file = console()
        print_run(target, state, 0, LOG)
        assert ("for 2026-11-23 18:30Z" in STYLE.sub("", file.getvalue())) == (trigger is not None)
        assert is_tame(file.getvalue())
