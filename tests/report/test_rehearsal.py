"""The text and the page of a rehearsal: the foretold end, its facts, and the mark of a rehearsal."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from orchestrator.report.rehearsal import print_rehearsal, print_seeds
from orchestrator.report.rehearsal_page import render_rehearsal
from tests.rehearsal.orders import make_order, run_order

STOP: dict[str, Any] = {"action": "stop", "select": {"all": True}}


def _print(result: dict[str, Any], width: int = 100) -> str:
    out = StringIO()
    print_rehearsal(Console(file=out, width=width, color_system=None), result)
    return out.getvalue()


def test_the_text_has_the_end_the_times_and_the_waves() -> None:
    steps: list[dict[str, Any]] = [{"action": "pause", "question": "go on?"}, {**STOP, "waves": [1, "100%"]}]
    result, _ = run_order(make_order(steps, playbook={"deadline": "1h"}, faults={"kill_at": "2s"}))
    text = _print(result)
    assert text.startswith("Rehearsal of night  succeeded (exit 0)\n12 settled\n")
    for line in (
        "deadline",
        "question",
        "kills      the process was killed and resumed 1 time",
        "settle     stop 2s..6s",
    ):
        assert f"\n{line}" in text
    assert text.rstrip().endswith("This was a rehearsal: no CVM was changed, and no run was recorded.")
    assert max(map(len, _print(result, 80).splitlines())) <= 80


def test_a_refused_plan_and_shares_never_reached_are_named() -> None:
    refused, _ = run_order(make_order(playbook={"guards": {"max_targets": 3}}))
    assert _print(refused).startswith("Rehearsal of night  refused (exit 3)\n")
    assert "ended by   max_targets" in _print(refused)
    assert b"Rehearsal: \xe2\x9c\x97 refused (exit 3)" in render_rehearsal(refused, None)
    stuck, _ = run_order(make_order([{**STOP, "settle": {"timeout": "1m"}}], faults={"cvms": {"stuck": 0.2}}))
    assert "100 % never" in _print(stuck)
    assert [each["outcome"] for each in stuck["troubles"]] == ["unsettled", "unsettled"]
    assert "unsettled  not down within 1m of the stop" in _print(stuck)


@pytest.mark.parametrize("cause", [None, {"name": "limits.max_failures", "message": None}])
def test_the_table_of_seeds_has_the_worst_the_median_and_the_best(cause: dict[str, Any] | None) -> None:
    seed = {"seed": 4, "exit_code": 8, "counts": {"settled": 2}, "seconds": 30.0, "ended_by": cause}
    out = StringIO()
    document = {"seeds": [seed, seed], "worst": seed, "median": seed, "best": seed}
    print_seeds(Console(file=out, width=100, color_system=None), "night", document)
    text = out.getvalue()
    assert text.startswith("Rehearsal of night  2 seeds\n")
    assert [line.split()[0] for line in text.splitlines()[2:5]] == ["worst", "median", "best"]
    assert "2 seeds  ended early" in " ".join(text.split()).replace("2 seeds ended", "2 seeds  ended")
    assert ("ended by  limits.max_failures: 2 seeds" in text) == (cause is not None)
    assert "add --seed 4" in text
