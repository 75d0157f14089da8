"""The alert rules of contrib and docs, held to their cases by Prometheus' own tool."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULES = ROOT / "contrib" / "prometheus"


def test_the_docs_show_the_rules_that_are_tested() -> None:
    text = (ROOT / "docs" / "how-to" / "serve.md").read_text()
    assert (RULES / "orchestrator.rules.yml").read_text() in text


def test_the_rules_fire_on_a_first_failure_and_on_what_is_overdue_and_not_at_weekends() -> None:
    promtool = shutil.which("promtool")
    if promtool is None and not os.environ.get("CI"):
        pytest.skip("promtool is not installed")
    assert promtool is not None
    command = [promtool, "test", "rules", "orchestrator.test.yml"]
    ended = subprocess.run(command, cwd=RULES, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
