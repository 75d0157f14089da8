"""A plan over several workspaces as text."""

from dataclasses import replace

import pytest

from orchestrator.playbook.guards import GuardCheck
from orchestrator.report.fleet.plan_markdown import render_fleet_plan_markdown
from orchestrator.report.fleet.plan_text import print_fleet_plan
from tests.report.fleet.fleets import GUARDS, LEFT_OUT, plans
from tests.report.runs import EVIL, STYLE, console, is_tame


def printed(*sizes: int, width: int = 80, details: bool = False) -> str:
    target, file = console(width)
    print_fleet_plan(target, plans(*sizes), "about", guards=GUARDS, first="prod-1", left_out=LEFT_OUT, details=details)
    return STYLE.sub("", file.getvalue())


def test_the_totals_follow_the_sections() -> None:
    text = printed(2, 0, 4)
    assert text.index("Workspace prod-0  2 CVMs of 3 will be stopped") < text.index("6 CVMs of 9 will be stopped")
    assert "in 2 of 3 workspaces" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["prod-1", "0", "1", "-", "-", "ok"] in rows
    assert any(row[:3] == ["all", "6", "9"] for row in rows)
    assert "ok  max_targets: 6 targets in all workspaces" in text
    assert "workspace prod-1; the others begin after its success" in text
    assert "prod-x  the API answered 503" in text


def test_a_workspace_without_targets_has_a_section_only_with_details() -> None:
    assert "Workspace prod-1" not in printed(2, 0)
    assert "Workspace prod-1" in printed(2, 0, details=True)


def test_a_refused_workspace_names_its_guard_and_a_row_says_refused() -> None:
    (name, plan), other = plans(2, 3)
    guard = GuardCheck("max_targets", 1, 2, ok=False, message="2 targets, at most 1 allowed")
    target, file = console(80)
    print_fleet_plan(target, [(name, replace(plan, guards=(guard,))), other], None)
    text = STYLE.sub("", file.getvalue())
    assert text.count("REFUSED") == 2
    assert "max_targets: 2 targets, at most 1 allowed" in text


@pytest.mark.parametrize("width", [40, 80])
def test_forty_workspaces_fit_the_width(width: int) -> None:
    text = printed(*[3] * 40, width=width)
    assert max(len(line) for line in text.splitlines() if "[red]" not in line) <= width
    assert "prod-39" in text


def test_a_warning_of_all_workspaces_is_listed_once() -> None:
    assert printed(2, 3).count("careful") == 1


def test_no_foreign_text_controls_the_terminal_or_the_markdown() -> None:
    target, file = console(80)
    print_fleet_plan(target, [(EVIL, plans(2)[0][1])], EVIL, left_out=[{"workspace": EVIL, "reason": EVIL}])
    assert is_tame(file.getvalue())
    markdown = render_fleet_plan_markdown([(EVIL, plans(2)[0][1])], EVIL)
    assert "[red]" not in markdown


def test_markdown_has_a_table_and_a_section_for_every_workspace() -> None:
    text = render_fleet_plan_markdown(plans(2, 0), "about", guards=GUARDS, refusal="no way")
    assert "**This plan can't be executed: no way**" in text
    assert "| prod-1 | 0 | 1 |" in text
    assert "### Workspace prod-0" in text
    assert "### Workspace prod-1" in text
