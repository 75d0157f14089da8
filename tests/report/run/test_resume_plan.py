"""The short plan of `resume`, for people."""

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.action import Action
from orchestrator.audit.events import RunStarted
from orchestrator.audit.replay import RunState
from orchestrator.billing.rates import BillingNote
from orchestrator.engine.job import Job, RequestPhase
from orchestrator.outcome import Reason, SkipReason
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.report.layout import warning_lines
from orchestrator.report.run.resume_plan import print_resume_plan
from orchestrator.runs.resume import ResumePlan
from tests.logs import RUN_ID
from tests.report.runs import LIMITS, console, cvm

STYLE = re.compile(r"\x1b\[[0-9;]*m")


def job(number: int, action: Action = Action.STOP, **fields: Any) -> Job:  # noqa: ANN401 - any field of it
    note = cast("BillingNote", SimpleNamespace())
    return Job("step", action, cvm(number, f"web-{number}").ref, "running", note, **fields)


def printed(width: int = 200, **fields: Any) -> str:  # noqa: ANN401 - any field of it
    empty: dict[str, Any] = dict.fromkeys(
        ("jobs", "checked", "send", "watch", "skip", "steps", "stricter", "warnings"), ()
    )
    state = RunState(run_id=RUN_ID)
    started = {"playbook": {"name": "nightly"}, "actor": "ann@host", "ts": "2026-11-25T23:15:48.796391Z"}
    state.started = RunStarted(started)
    target, file = console(width)
    print_resume_plan(target, ResumePlan(**{**empty, "ended": 0, "limits": LIMITS, **fields}), state)
    return STYLE.sub("", file.getvalue())


def test_the_start_of_the_run_is_shown_to_the_second() -> None:
    assert "nightly, started 2026-11-25 23:15:48 UTC by ann@host" in printed()


@pytest.mark.parametrize(
    ("action", "fields", "row"),
    [
        (Action.STOP, {"phase": RequestPhase.ACCEPTED}, "1 stop sent, not settled yet: web-1"),
        (Action.SHUTDOWN, {"phase": RequestPhase.ACCEPTED}, "1 shutdown sent, not settled yet: web-1"),
        (Action.START, {"phase": RequestPhase.IN_DOUBT}, "1 start sent, outcome unknown: web-1"),
    ],
)
def test_a_cvm_to_watch_has_a_request_without_an_end(action: Action, fields: dict[str, Any], row: str) -> None:
    assert row in printed(watch=(job(1, action, **fields),))


def test_a_cvm_already_as_wanted_is_skipped_without_a_request() -> None:
    skip = [
        (job(1), Reason(SkipReason.ALREADY_DOWN, "stopped")),
        (job(2), Reason(SkipReason.ALREADY_DOWN, "exited")),
        (job(3, Action.START), Reason(SkipReason.ALREADY_UP, "running")),
        (job(4), Reason(SkipReason.GONE)),
    ]
    text = printed(skip=tuple(skip))
    assert "2 already down, nothing sent: web-1, web-2" in text
    assert "1 already up, nothing sent: web-3" in text
    assert "1 no longer in the list: web-4" in text


@pytest.mark.parametrize("width", [20, 40, 80])
def test_the_further_lines_of_a_warning_are_indented(width: int) -> None:
    message = "skipped 3 of 6 CVMs taken down by the run: changed since, and so skipped by the rule of plan files"
    text = printed(width, warnings=(PlanWarning(WarningCode.DRIFTED, message),))
    first, *others = text[text.index("! ") :].rstrip().splitlines()
    assert others or width > len(message)
    assert all(line.startswith("  ") and line[2] != " " for line in others)
    assert " ".join([first[2:], *(line.strip() for line in others)]) == message
    target, _ = console(width)
    assert [line.plain.rstrip() for line in warning_lines(target, message)] == [first, *others]
