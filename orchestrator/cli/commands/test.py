"""`orchestrator test`."""

from typing import Any

import click

from orchestrator.cli.options import cases_argument, format_option, out_option


@click.command("test", epilog="\b\nExample: orchestrator test --out junit.xml")
@cases_argument
@click.option(
    "-k", "--case", "texts", metavar="TEXT", multiple=True, help="Run only cases with this text in their name."
)
@out_option("Also write the results to FILE: JUnit XML (.xml), JSON or text.")
@format_option("text", "json", "junit", by_suffix=True)
def command(**options: Any) -> int:
    """Compare the plans of playbooks with their cases.

    A case has CVMs, and the expected plan for these CVMs. FILE is a cases file (NAME.cases.yaml), its playbook, or a
    folder; by default ./playbooks. Needs neither network nor API key. junit is XML for CI systems.

    Exit code 6: a case failed. 2: a broken file.
    """
    from orchestrator.cli.handlers.test import run_cases

    return run_cases(**options)
