"""A plan as text: the facts, totals within a screen, and no control characters from names."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from orchestrator.action import Action
from orchestrator.cli.confirmation import plan_question
from orchestrator.playbook.planning import make_plan
from orchestrator.playbook.resolved_steps import PlannedStep
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.report.plan.sections import app_of, group_targets, keep_largest, prefix_of, teepod_of
from orchestrator.report.plan.text import print_plan
from tests.report.runs import EVIL, LIMITS, PODS, STYLE, console, cvm, is_tame, large_fleet, plan


def printed(width: int = 200, *, details: bool = True, **guards: int) -> str:
    target, file = console(width)
    print_plan(target, plan(None, **guards), f"about {EVIL}", details=details)
    return file.getvalue()


@pytest.mark.parametrize("width", [20, 80, 260])
def test_no_foreign_text_of_a_plan_controls_the_terminal(width: int) -> None:
    text = printed(width)
    assert is_tame(text)
    assert width < 260 or text.count("[red]x[/]\\x1b[2J\\u202egnp\\u200b\\n\\x00:smile:") >= 5


def test_a_plan_has_the_targets_the_skip_reasons_and_the_guards() -> None:
    text = STYLE.sub("", printed(max_targets=2))
    assert "3 CVMs of 5 will be stopped" in text
    assert "1 protected by name kms-*, 1 already stopped" in text
    assert "REFUSED  max_targets: 3 targets, at most 2 allowed" in text
    assert "ok  max_percent: 3 targets are 75.0% of the 4 CVMs of the workspace that are up now" in text
    assert "about 6 requests" in text
    assert "each CVM then has 10m to go down" in text
    assert "compute $0.1000/h, $73.00 a month, and 2 CVMs of unknown rate" in text


def test_a_plan_has_the_batch_size_and_the_first_rate() -> None:
    made = plan()
    target, file = console()
    print_plan(target, replace(made, limits=replace(made.limits, dispatch="batch", adaptive=True)), None)
    rate = f"{made.limits.requests_per_second:.3g}"
    text = STYLE.sub("", file.getvalue())
    assert (
        f"requests with up to 50 stops each, less than a second to send at {rate} a second at first, then adapted"
        in text
    )


def test_a_plan_names_every_cvm_only_when_asked() -> None:
    assert "skipped: protected by name kms-*" in STYLE.sub("", printed(details=True))
    assert "kms-1" not in printed(details=False)


@pytest.mark.parametrize(("width", "height"), [(60, 28), (80, 24), (160, 24)])
def test_a_large_plan_shows_totals_by_teepod_name_and_app_within_one_screen(width: int, height: int) -> None:
    target, file = console(width, height=height)
    print_plan(target, plan(large_fleet(), max_targets=999, max_percent=100), None)
    text = STYLE.sub("", file.getvalue())
    assert text.count("\n") < height
    assert sum(bool(re.search(rf"{teepod} +155 +15\.5000", text)) for teepod in PODS) >= (
        1 if width < 80 else len(PODS)
    )
    assert re.search(r"and \d+ more +\d+ +\d+\.\d{4}", text)
    assert re.search(r"web-\* +310 +31\.0000", text)
    assert re.search(r"[0-9a-f]{40} +3 +0\.3000", text)


def test_a_large_plan_shows_every_teepod_where_there_is_room() -> None:
    target, file = console(80, height=50)
    print_plan(target, plan(large_fleet(), max_targets=999, max_percent=100), None)
    text = STYLE.sub("", file.getvalue())
    assert all(re.search(rf"{teepod} +155 +15\.5000", text) for teepod in PODS)


def test_the_totals_of_a_large_plan_add_up_to_the_whole_plan() -> None:
    made = plan(large_fleet(), max_targets=999, max_percent=100)
    for name in (teepod_of, prefix_of, app_of):
        for most in (2, 5, 1000):
            found = keep_largest(group_targets(made.targets, name), most)
            assert len(found) <= max(most, 2)
            assert sum(group.cvms for group in found) == len(made.targets)
            assert sum((group.total.compute for group in found), Decimal(0)) == made.stopped_total.compute


def test_details_name_every_cvm_of_a_large_plan() -> None:
    target, file = console(160, height=24)
    fleet = large_fleet()
    print_plan(target, plan(fleet, max_targets=999, max_percent=100), None, details=True)
    assert all(f" {each.ref.id} " in file.getvalue() for each in fleet)


def test_details_show_the_type_and_the_age_of_a_cvm() -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    ages = (timedelta(hours=5), timedelta(days=3, hours=1), None)
    fleet = [
        replace(cvm, instance_type="tdx.large", created_at=None if age is None else now - age)
        for cvm, age in zip(large_fleet(3), ages, strict=True)
    ]
    target, file = console(220)
    print_plan(target, plan(fleet, max_targets=9, max_percent=100), None, details=True, now=now)
    rows = [line.split() for line in STYLE.sub("", file.getvalue()).splitlines() if "tdx.large" in line]
    assert [row[row.index("tdx.large") + 1] for row in rows][:2] == ["5h", "3d"]
    assert not rows[2][rows[2].index("tdx.large") + 1].endswith(("h", "d"))


def test_a_plan_without_targets_has_no_bill() -> None:
    target, file = console()
    print_plan(target, plan([]), None)
    assert "0 CVMs of 0 will be stopped" in file.getvalue()
    assert "billing" not in file.getvalue()


def test_a_plan_and_its_question_name_each_action() -> None:
    steps = [{"name": action, "action": action, "select": {"name": name}} for action, name in ACTIONS.items()]
    fleet = [cvm(n, name, hourly_compute=Decimal("0.1"), status=STATUS.get(name, "running")) for n, name in NUMBERED]
    made = make_plan(
        Playbook.model_validate({"name": "x", "steps": steps}),
        fleet,
        guards=Guards(),
        limits=LIMITS,
        settle_timeout=600,
        price_list={},
        storage_usd_per_gb_hour=Decimal("0.000139"),
        batch_size=100,
    )
    target, file = console()
    print_plan(target, made, None)
    text = STYLE.sub("", file.getvalue())
    assert (
        "4 CVMs of 4: 1 stopped (forced), 1 shut down (the guest is asked to), 1 started, "
        "1 restarted (the guest is asked to shut down)"
    ) in text
    assert "each CVM then has 10m to settle" in text
    assert "ends  compute $0.2000/h" in text
    assert "begins  compute $0.1000/h" in text
    assert plan_question(made) == (
        "Type the number of CVMs to act on, 1 to stop, 1 to shut down, 1 to start, 1 to restart (4) to continue: "
    )


ACTIONS = {"stop": "a", "shutdown": "b", "start": "c", "restart": "d"}
NUMBERED = list(enumerate(ACTIONS.values()))
STATUS = {"c": "stopped"}


def test_a_plan_of_starts_has_the_begun_cost_and_running_as_its_goal() -> None:
    book = Playbook.model_validate({"name": "x", "steps": [{"action": "start", "select": {"all": "true"}}]})
    made = replace(
        plan([cvm(1, "a", hourly_compute=Decimal("0.1"))]),
        steps=tuple(PlannedStep(step.name, Action.START, 600) for step in book.steps),
    )
    made = replace(made, targets=tuple(replace(each, action=Action.START) for each in made.targets))
    target, file = console()
    print_plan(target, made, None)
    text = STYLE.sub("", file.getvalue())
    assert "1 CVM of 1 will be started" in text
    assert "then has 10m to come up" in text
    assert "stops" not in text
    assert plan_question(made) == "Type the number of CVMs to start (1) to continue: "


def test_cvms_of_the_same_name_are_listed_with_their_ids() -> None:
    fleet = [cvm(7, "dup"), cvm(8, "dup")]
    for width in (40, 80):
        target, file = console(width)
        print_plan(target, plan(fleet, max_percent=100), None)
        text = STYLE.sub("", file.getvalue())
        assert "cvm_7" in text
        assert "cvm_8" in text
