"""A folder with a playbook and its cases."""

from functools import partial
from pathlib import Path

import anyio

from orchestrator.runs.cases.check import CaseChecker, CaseResult
from orchestrator.runs.cases.schema import LoadedCases, load_cases

PLAYBOOK = """\
name: night
vars: {pattern: "dev-*"}
guards: {max_targets: 2, protect: {name: kms-*}}
schedule: {cron: "30 19 * * MON-FRI", timezone: Europe/Berlin, not_on: 2026-12-24..2027-01-01}
steps:
  - {name: stop, action: stop, select: {name: "${pattern}"}}
  - {name: web, action: shutdown, select: {name: web-*}}
"""
CVMS = "[{name: dev-1}, {name: dev-2}, {name: web-1}, {name: kms-1}]"


def write_cases(folder: Path, text: str, playbook: str = PLAYBOOK) -> Path:
    """Write a playbook and its cases; returns the path of the cases."""
    (folder / "night.yaml").write_text(playbook)
    file = folder / "night.cases.yaml"
    file.write_text(text)
    return file


def one_case(expect: str, more: str = "", inventory: str = CVMS) -> str:
    """Write a single case with these expectations."""
    return f"version: 1\ncases:\n  - name: a case\n    inventory: {inventory}\n    expect: {expect}\n{more}"


def check(folder: Path, text: str, playbook: str = PLAYBOOK) -> list[CaseResult]:
    """Check cases."""
    loaded: LoadedCases = load_cases(write_cases(folder, text, playbook))
    return anyio.run(partial(CaseChecker().check_cases, loaded))
