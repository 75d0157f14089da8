"""Results of cases as text: within 80 columns, with marks at the begin of the lines of interest."""

from pathlib import Path

from orchestrator.errors import PlaybookError
from orchestrator.report.cases.document import FileResult
from orchestrator.report.cases.text import describe_difference, list_lines
from orchestrator.runs.cases.check import CaseResult
from orchestrator.runs.cases.compare import Difference

DIFFERENCES = (
    Difference("targets", "stop", ["a"], ["b"], missing=(("a", "skipped: already stopped"),), unexpected=(("b", ""),)),
    Difference("exit_code", "", 0, 3, f"expected 0, but 3: {'many words ' * 12}"),
)
FAILED = FileResult(
    Path("night.cases.yaml"),
    "night",
    (CaseResult("as it should be", 3, ()), CaseResult("another \x1b[31m", 9, DIFFERENCES)),
)
BROKEN = FileResult(Path("x.cases.yaml"), "x", error=PlaybookError("unknown key", file="x.cases.yaml", line=2))


def test_failed_cases_have_their_differences_within_the_width() -> None:
    lines = list(list_lines([FAILED, BROKEN], ["other"], 80))
    assert max(map(len, lines)) <= 80
    assert lines[:6] == [
        "night.cases.yaml",
        "  ok      as it should be",
        "  FAILED  another \\x1b[31m (line 9)",
        "    targets, step stop",
        "      - a: skipped: already stopped",
        "      + b: not expected",
    ]
    assert lines[6:8] == ["    exit_code:", f"        expected 0, but 3: {'many words ' * 4}many".rstrip()]
    assert lines[-5:] == [
        "  broken; see the error below",
        "",
        "- expected, but missing   + not expected",
        "2 cases: 1 ok, 1 failed; 1 broken file",
        "Without cases: other",
    ]


def test_a_long_list_is_cut_with_the_number_of_the_other_entries() -> None:
    many = Difference("warnings", "", [], [], unexpected=tuple((f"w{number}", "") for number in range(1020)))
    lines = list(describe_difference(many, 80))
    assert (len(lines), lines[-1]) == (22, "  + and 1,000 more; `--json` lists all")
