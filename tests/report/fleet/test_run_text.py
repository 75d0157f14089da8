"""A fleet run as text."""

import pytest

from orchestrator.report.fleet.run_text import print_fleet
from orchestrator.report.fleet.totals import FleetOutcome
from tests.report.fleet.fleets import FLEET_ID, fleet, workspace_run
from tests.report.runs import STYLE, console


def printed(outcome: FleetOutcome, width: int = 80) -> str:
    target, file = console(width)
    print_fleet(target, outcome)
    return STYLE.sub("", file.getvalue())


def test_a_fleet_run_has_a_row_for_every_workspace_the_failures_and_the_bill() -> None:
    text = printed(fleet(workspace_run(0, "settled", "refused"), workspace_run(1, "settled")), 120)
    assert f"Fleet run {FLEET_ID}  completed with problems: 2 of 3 CVMs as planned in 2 workspaces (exit 6)" in text
    assert "2 settled  1 refused" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["prod-1", "1", "20261123T080000Z-0001", "0", "1", "settled"] in rows
    assert any(row[:2] == ["prod-0", "cvm_1"] or row[:2] == ["prod-0", "web-1"] for row in rows)
    assert "3 stops charged" in text
    assert "left out   prod-x  the API answered 503" in text
    assert "resume" not in text


def test_an_unfinished_fleet_run_names_the_command_to_resume() -> None:
    text = printed(fleet(workspace_run(0, "settled"), workspace_run(1, "settled", finished=False), code=130), 120)
    assert "not finished, interrupted (Ctrl-C): 2 of 2 CVMs as planned in 2 workspaces so far" in text
    assert f"orchestrator resume {FLEET_ID}" in text


def test_a_fleet_run_without_a_plan_sent_nothing() -> None:
    assert "nothing was sent: the fleet run ended" in printed(fleet(code=130))


@pytest.mark.parametrize("width", [40, 80])
def test_the_summary_of_forty_workspaces_fits_the_width(width: int) -> None:
    text = printed(fleet(*(workspace_run(n, "settled", "refused") for n in range(40))), width)
    lines = [line for line in text.splitlines() if "orchestrator" not in line and "/state/" not in line]
    assert max(map(len, map(str.rstrip, lines))) <= width
