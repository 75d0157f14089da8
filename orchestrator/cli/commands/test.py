"""`orchestrator test`."""

from typing import Any

import click

from orchestrator.cli.options import cases_argument, format_option, out_option


@click.command("test", epilog="\b\nExample: orchestrator test --out junit.xml")
@cases_argument
@click.option(
    "-k", "--case", "texts", metavar="TEXT", multiple=True, help="Run only cases with this text in their name."
)
@out_option("Write the results to FILE too: JUnit XML (.xml), JSON or text.")
@format_option("text", "json", "junit", by_suffix=True)
def command(**options: Any) -> int:
    """Compare the plans of playbooks with cases: written CVMs, and the expected plan.

    FILE is a cases file, a playbook with NAME.cases.yaml beside it, or a folder; by default ./playbooks. Needs neither
    network nor API key. junit is XML for CI systems.
    """
    from orchestrator.cli.handlers.test import run_cases

    return run_cases(**options)
