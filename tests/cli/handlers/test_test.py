"""`orchestrator test`: files, exit codes and formats."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from orchestrator.cli.handlers.test import run_cases
from orchestrator.errors import UsageError
from tests.runs.cases.files import one_case, write_cases

GOOD = one_case("{exit_code: 3}")
BAD = one_case("{exit_code: 0}")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "playbooks").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def run(*files: str, texts: tuple[str, ...] = (), form: str = "text", out: Path | None = None) -> int:
    return run_cases(files, texts, form=form, out=out)


PLAYBOOKS = Path("playbooks")


def test_the_exit_code_is_0_for_ok_6_for_a_failed_case_and_2_for_a_broken_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_cases(PLAYBOOKS, GOOD)
    assert (
        run()
        == run("night")
        == run("playbooks")
        == run("playbooks/night.yaml")
        == run("playbooks/night.cases.yaml")
        == 0
    )
    write_cases(PLAYBOOKS, BAD)
    (PLAYBOOKS / "other.yaml").write_text("name: other\nsteps: [{action: stop, select: {all: true}}]\n")
    capsys.readouterr()
    assert run() == 6
    assert capsys.readouterr().out.endswith("1 case: 0 ok, 1 failed\nWithout cases: other\n")
    (PLAYBOOKS / "other.cases.yaml").write_text("version: 1\ncase: []\n")
    assert run() == 2
    printed = capsys.readouterr()
    assert "1 case: 0 ok, 1 failed; 1 broken file" in printed.out
    assert "playbooks/other.cases.yaml:2: unknown key 'case'" in printed.err


def test_json_is_one_document_also_for_a_broken_file(capsys: pytest.CaptureFixture[str]) -> None:
    file = write_cases(PLAYBOOKS, BAD)
    assert run(form="json") == 6
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["counts"]) == (6, {"ok": 0, "failed": 1, "broken_files": 0})
    (case,) = document["files"][0]["cases"]
    assert (case["name"], case["line"], case["ok"]) == ("a case", 3, False)
    (difference,) = case["differences"]
    assert difference.pop("message").startswith("expected 0, but 3: refused by a guard")
    assert difference.pop("missing") == difference.pop("unexpected") == []
    assert difference == {"key": "exit_code", "detail": None, "expected": 0, "actual": 3}
    file.write_text("cases: []")
    assert run(form="json") == 2
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["error"]["line"]) == (2, 1)


def test_a_file_gets_junit_and_the_terminal_text(capsys: pytest.CaptureFixture[str]) -> None:
    write_cases(PLAYBOOKS, BAD)
    assert run(form="junit", out=Path("junit.xml")) == 6
    assert "FAILED  a case" in capsys.readouterr().out
    assert ET.parse("junit.xml").getroot().get("failures") == "1"  # noqa: S314 - own output
    assert run(form="junit", out=Path("-")) == 6
    assert capsys.readouterr().out == Path("junit.xml").read_text()


def test_case_chooses_by_a_part_of_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    write_cases(PLAYBOOKS, GOOD + BAD.partition("cases:\n")[2].replace("a case", "Another one"))
    assert run(texts=("A CASE",)) == 0
    assert run(texts=("one",)) == 6
    assert "ok" not in capsys.readouterr().out.splitlines()[-2]
    with pytest.raises(UsageError, match="no case has 'none' in its name"):
        run(texts=("none",))


def test_a_playbook_or_a_folder_without_cases_is_refused() -> None:
    with pytest.raises(UsageError, match="no cases found"):
        run()
    (PLAYBOOKS / "other.yaml").write_text("name: other\nsteps: [{action: stop, select: {all: true}}]\n")
    with pytest.raises(UsageError, match="has no cases"):
        run("other")
    with pytest.raises(UsageError, match="there is no such playbook"):
        run("playbooks/none.yaml")


def test_shipped_playbooks_are_tested_by_name() -> None:
    assert run("nightly-cost-stop", "gpu-curfew") == 0
