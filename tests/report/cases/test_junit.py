"""Results of cases as JUnit XML."""

from xml.etree import ElementTree as ET

from orchestrator.report.cases.junit import render_junit
from tests.report.cases.test_text import BROKEN, FAILED


def test_a_ci_system_finds_failures_and_errors_with_their_places() -> None:
    root = ET.fromstring(render_junit([FAILED, BROKEN]))  # noqa: S314 - own output
    assert root.attrib == {"name": "orchestrator test", "tests": "3", "failures": "1", "errors": "1"}
    passed, failed, broken = root.iter("testcase")
    assert list(passed) == []
    assert (failed.get("classname"), failed.get("file"), failed.get("line")) == ("night", "night.cases.yaml", "9")
    (failure,) = failed
    assert (failure.tag, failure.get("message")) == ("failure", "not as expected: targets, exit_code")
    assert "- a: skipped: already stopped" in str(failure.text)
    assert [(each.tag, each.get("message")) for each in broken] == [("error", "x.cases.yaml:2: unknown key")]
