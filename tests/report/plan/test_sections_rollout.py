"""Order, waves, survivors and deadline in the texts of plans and runs."""

import json
import re
from decimal import Decimal

import pytest

from orchestrator.cvm import Cvm
from orchestrator.playbook.guards import merge_guards
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.planning import make_plan
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.report.plan.text import print_plan
from orchestrator.report.run.live import Progress
from orchestrator.report.run.text import print_run
from orchestrator.runs.documents import plan_document
from orchestrator.runs.records import planned_fields
from tests.report.runs import EVIL, LIMITS, LOG, STYLE, about, console, cvm, is_tame, run

FLEET = [cvm(number, f"web-{number}", app=f"a{number % 2}") for number in range(1, 11)]


def plan_of(fleet: list[Cvm] | None = None, **keys: object) -> Plan:
    of_the_step: dict[str, object] = {key: keys.pop(key) for key in ("waves", "order_by", "soak") if key in keys}
    step: dict[str, object] = {"action": "stop", "select": {"all": "true"}, **of_the_step}
    book = Playbook.model_validate({"name": "example", "steps": [step], **keys})
    return make_plan(
        book,
        FLEET if fleet is None else fleet,
        guards=merge_guards(book.guards, Guards()),
        limits=LIMITS,
        settle_timeout=600,
        price_list={},
        storage_usd_per_gb_hour=Decimal("0.000139"),
        batch_size=100,
    )


def text_of(fleet: list[Cvm] | None = None, width: int = 200, *, details: bool = False, **keys: object) -> str:
    target, file = console(width)
    print_plan(target, plan_of(fleet, **keys), None, details=details)
    return STYLE.sub("", file.getvalue())


def test_a_plan_says_in_which_waves_and_order() -> None:
    text = text_of(waves=["1", "30%"], order_by="name")
    assert "web-1 as the canary, then 2, then 7, each after the wave before has settled" in text
    soaked = text_of(waves=["1", "30%"], soak="10m")
    assert "then 2, then 7, each after the wave before has settled and a pause of 10m" in soaked
    assert re.search(r"order +by name", text)
    assert "one wave with all targets" in text_of(waves=["100%"])
    assert "waves" not in text_of()


def test_the_details_say_the_wave_of_each_cvm() -> None:
    text = text_of(details=True, waves=["1", "30%"], order_by="name")
    found = re.findall(r"^(web-\d+) .* stop, wave (\d)", text, re.MULTILINE)
    assert [wave for _, wave in found] == list("1223333333")
    assert found[0] == ("web-1", "1")
    assert "wave" not in text_of(details=True)


def test_a_plan_lists_survivors_with_reasons() -> None:
    text = text_of(guards={"keep_running": {"per": "app_id", "min": "1"}})
    assert re.search(r"kept +web-9  1 of 5 of app a1 stays up *\n +web-10  1 of 5 of app a0 stays up", text)
    assert "2 kept running" in text
    assert "ok  keep_running: 2 left up so that at least 1 of each app stays up" in text


def test_many_survivors_are_not_all_listed() -> None:
    fleet = [cvm(number, f"web-{number}", app=f"a{number}") for number in range(40)]
    text = text_of(fleet, guards={"keep_running": {"per": "app_id", "min": "1"}})
    assert "and 32 more: see `plan --details`" in text


def test_a_plan_has_the_forecast_for_its_deadline_and_the_basis() -> None:
    assert re.search(r"deadline +met  5m: last request after about 1\.6s *\n", text_of(deadline="5m"))
    late = text_of(deadline="10s", waves=["1", "100%"])
    assert "NOT MET  10s: 9 CVMs too late, first web-2 after about 30s" in late
    assert "with a settle time of 30s (assumed)" in late
    assert "! the deadline of 10s can't be met" in late
    assert "answered" not in late


@pytest.mark.parametrize("width", [60, 200])
def test_no_name_takes_over_the_terminal_there(width: int) -> None:
    fleet = [cvm(1, EVIL, app=EVIL), cvm(2, EVIL, app=EVIL)]
    keep = {"keep_running": {"per": "app_id", "min": "1"}}
    assert is_tame(text_of(fleet, width, guards=keep, deadline="1", waves=["1", "100%"], order_by="cost"))


def test_the_deadline_of_a_plan_with_questions_assumes_quick_answers() -> None:
    steps = [
        {"action": "stop", "select": {"name": "web-1"}},
        {"action": "pause", "question": "Well?"},
        {"action": "stop", "select": {"all": "true"}},
    ]
    assert "if questions get an answer at once" in text_of(deadline="5m", steps=steps)


def test_a_plan_document_lists_late_targets_and_the_log_counts_them() -> None:
    plan = plan_of(deadline="10s", waves=["1", "100%"])
    deadline = json.loads(json.dumps(plan_document(plan)))["deadline"]
    assert [each["cvm"]["name"] for each in deadline["late"]] == [f"web-{number}" for number in range(2, 11)]
    assert (deadline["seconds"], deadline["ok"], deadline["settle_basis"]) == (10, False, "assumed")
    assert planned_fields(plan, 0)["deadline"] == {**deadline, "late": 9}
    assert plan_document(plan_of())["deadline"] is None


def test_a_run_in_progress_has_its_wave() -> None:
    made = plan_of(waves=["1", "100%"])
    state = run(("action.intent", about(0, made, attempt=1)), made=made)
    progress = Progress(state, lambda: 5.0, lambda: 1)
    assert progress.line().endswith("; wave 1 of 2")
    target, file = console()
    target.print(progress._build_view())
    assert "wave 1 of 2" in file.getvalue()
    plain = run(("action.intent", about(0, plan_of(), attempt=1)), made=plan_of())
    assert "wave" not in Progress(plain, lambda: 5.0, lambda: 1).line()


FINISHED = {"counts": {}, "ending": "completed", "exit_code": 0}


@pytest.mark.parametrize(
    ("deadline", "says"),
    [
        ({"seconds": 300, "met": True, "late": 0}, "met  5m"),
        ({"seconds": 300, "met": False, "late": 2}, "NOT MET  2 CVMs without a request within 5m"),
    ],
)
def test_the_summary_has_the_result_for_the_deadline(deadline: dict[str, object], says: str) -> None:
    target, file = console(200)
    print_run(target, run(("run.finished", {**FINISHED, "deadline": deadline})), 0, LOG)
    assert says in STYLE.sub("", file.getvalue())
