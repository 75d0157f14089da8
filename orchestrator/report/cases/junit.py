"""Results of cases as JUnit XML for CI systems."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from orchestrator.report.cases.document import FileResult, Totals
from orchestrator.report.cases.text import describe_difference
from orchestrator.runs.cases.check import CaseResult
from orchestrator.text import safe_text

_WIDE = 120


def render_junit(files: Sequence[FileResult]) -> str:
    """Render results: a suite for every file, a test case for every case, an error for a broken file."""
    root = ET.Element("testsuites", {"name": "orchestrator test", **_count(files)})
    for file in files:
        suite = ET.SubElement(root, "testsuite", {"name": safe_text(file.playbook), **_count([file])})
        for result in file.results:
            place = {"file": safe_text(file.file, 4096), "line": str(result.line)}
            name = safe_text(result.name, 400)
            case = ET.SubElement(suite, "testcase", {"classname": safe_text(file.playbook), "name": name, **place})
            if not result.is_ok:
                _add_failure(case, result)
        if file.error is not None:
            case = ET.SubElement(suite, "testcase", classname=safe_text(file.playbook), name="file")
            message = safe_text(file.error, 2000)
            ET.SubElement(case, "error", message=message, type=file.error.code).text = message
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _count(files: Sequence[FileResult]) -> dict[str, str]:
    totals = Totals.count(files)
    tests = totals.ok + totals.failed + totals.broken
    return {"tests": str(tests), "failures": str(totals.failed), "errors": str(totals.broken)}


def _add_failure(case: ET.Element, result: CaseResult) -> None:
    keys = dict.fromkeys(each.key for each in result.differences)
    lines = [line for each in result.differences for line in describe_difference(each, _WIDE)]
    message = f"not as expected: {', '.join(keys)}"
    ET.SubElement(case, "failure", message=message, type="difference").text = "\n".join(lines)
