"""Print the results of checks."""

import json
import textwrap
from collections.abc import Sequence

import click

from orchestrator.check import Check
from orchestrator.text import safe_text


def print_checks(checks: Sequence[Check], exit_code: int, *, as_json: bool) -> None:
    """Print checks, one after another, or as a JSON document."""
    if as_json:
        click.echo(json.dumps({"exit_code": exit_code, "checks": [check.document() for check in checks]}, indent=2))
        return
    for check in checks:
        head = f"{'ok' if check.ok else 'FAILED':8}{check.name:14}"
        message = safe_text(check.message, 4096)
        click.echo(textwrap.fill(message, 80, initial_indent=head, subsequent_indent=" " * 22))
