"""`orchestrator approve`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, settings_options


@click.command("approve", epilog="\b\nExample: orchestrator approve 20261123T080000Z-4f2a --comment 'disk is copied'")
@click.argument("run_id", metavar="RUN_ID")
@click.option("--refuse", is_flag=True, help="Say no: the run ends, and nothing more is sent.")
@click.option("--step", metavar="NAME", help="Answer only if it is this step that asks.")
@click.option("--comment", metavar="TEXT", help="Goes to the audit log with the answer.")
@click.option("--yes", is_flag=True, help="Do not ask whether that is meant.")
@json_option
@settings_options
def command(**given: Any) -> None:
    """Answer the question that a run waits at, a `pause` step.

    Says what is asked, how the run stands and what follows, asks for a word to be typed, and leaves the answer for the
    process that carries the run out, on the same machine and as the same user. The audit log says who answered. The
    first answer counts; one that comes late, or to a run that nobody carries out, is refused with 3.
    """
    from orchestrator.cli.handlers.approve import approve

    approve(**given)
