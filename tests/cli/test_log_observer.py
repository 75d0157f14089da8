"""The log of a command's run: records and warnings on stderr, and nothing imported before the first line."""

import json
import subprocess
import sys

import pytest

from orchestrator.cli.log_observer import LogObserver
from orchestrator.settings.load import Settings
from orchestrator.settings.model import LogSection
from orchestrator.settings.workspaces import WorkspaceSection
from tests.report.runs import run


def test_records_of_interest_and_warnings_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    observer = LogObserver(Settings(log=LogSection(format="json", cvms="each")))
    observer.on_warning("api.down", note="HTTP 502")
    observer.on_record({"event": "run.resumed", "run_id": "20261123T080000Z-4f2a"}, run())
    observer.on_record({"event": "action.intent"}, run())
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [("api.down" in line, "run.resumed" in line) for line in shown.err.splitlines()] == [
        (True, False),
        (False, True),
    ]


def test_every_line_names_the_workspace_of_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    log = LogSection(format="json", cvms="each")
    settings = Settings(log=log, workspaces={"prod": WorkspaceSection(api_key_env="X")}).for_workspace("prod")
    observer = LogObserver(settings)
    observer.on_warning("api.down", note="HTTP 502")
    observer.on_record({"event": "run.resumed", "run_id": "20261123T080000Z-4f2a"}, run())
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["workspace"] for line in lines] == ["prod", "prod"]


def test_a_plan_starts_without_the_audit_log_and_without_logging() -> None:
    script = """if True:
        import sys, orchestrator.cli.handlers.plan
        assert not {"structlog", "orchestrator.audit.log", "orchestrator.report"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
