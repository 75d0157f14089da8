"""Print the results of checks."""

import json
import textwrap
from collections.abc import Sequence
from typing import Protocol

import click

from orchestrator.text import safe_text


class CheckResult(Protocol):
    """The result of a check."""

    @property
    def name(self) -> str:
        """The subject."""
        ...

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        ...

    @property
    def message(self) -> str:
        """The finding, and the remedy of a failure."""
        ...

    def document(self) -> dict[str, object]:
        """Build the entry of `checks` in the JSON document."""
        ...


def print_checks(checks: Sequence[CheckResult], exit_code: int, *, as_json: bool) -> None:
    """Print checks, one after another, or as a JSON document."""
    if as_json:
        click.echo(json.dumps({"exit_code": exit_code, "checks": [check.document() for check in checks]}, indent=2))
        return
    for check in checks:
        head = f"{'ok' if check.ok else 'FAILED':8}{check.name:14}"
        message = safe_text(check.message, 4096)
        click.echo(textwrap.fill(message, 80, initial_indent=head, subsequent_indent=" " * 22))
