"""`orchestrator doctor`."""

import json
import textwrap
from functools import partial
from pathlib import Path

import anyio
import click

from orchestrator.cli.handlers.whoami import ask_identity
from orchestrator.runs.doctor import find_exit_code, run_checks
from orchestrator.settings.load import load_settings
from orchestrator.text import safe_text


def check_surroundings(
    workspaces: tuple[str, ...], config: Path | None, assignments: tuple[str, ...], *, send_test: bool, as_json: bool
) -> int:
    """Run all checks and print the results; return the exit code."""
    load = partial(load_settings, config, assignments)
    run = partial(run_checks, load, ask_identity, Path("playbooks"), workspaces, send_test=send_test)
    checks = anyio.run(run)
    code = find_exit_code(checks)
    if as_json:
        click.echo(json.dumps({"exit_code": code, "checks": [check.document() for check in checks]}, indent=2))
        return code
    for check in checks:
        head = f"{'ok' if check.ok else 'FAILED':8}{check.name:14}"
        message = safe_text(check.message, 4096)
        click.echo(textwrap.fill(message, 80, initial_indent=head, subsequent_indent=" " * 22))
    return code
