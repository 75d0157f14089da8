"""`orchestrator doctor`."""

from functools import partial
from pathlib import Path

import anyio

from orchestrator.check import find_exit_code
from orchestrator.cli.check_list import print_checks
from orchestrator.cli.handlers.whoami import ask_identity
from orchestrator.runs.doctor import run_checks
from orchestrator.settings.load import load_settings


def check_surroundings(
    workspaces: tuple[str, ...], config: Path | None, assignments: tuple[str, ...], *, send_test: bool, as_json: bool
) -> int:
    """Run all checks and print the results; return the exit code."""
    load = partial(load_settings, config, assignments)
    run = partial(run_checks, load, ask_identity, Path("playbooks"), workspaces, send_test=send_test)
    checks = anyio.run(run)
    code = find_exit_code(checks)
    print_checks(checks, code, as_json=as_json)
    return code
