"""`orchestrator runs`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, settings_options

_OUTCOMES = ["settled", "refused", "failed", "unsettled", "gone", "resurrected", "not_sent", "skipped"]


@click.command("runs", epilog="\b\nExample: orchestrator runs --since 7d --playbook 'nightly-*' --outcome failed")
@click.option("--since", metavar="AGO|DATE|TIME", help="Only runs started at or after this time.")
@click.option(
    "--until", metavar="AGO|DATE|TIME", help="Only runs started before this time, or before the end of this date."
)
@click.option(
    "--playbook", "playbooks", metavar="NAME", multiple=True, help="Only runs of this playbook; * and ? are wildcards."
)
@click.option(
    "--outcome",
    "outcomes",
    type=click.Choice(_OUTCOMES),
    multiple=True,
    help="Only runs in which a CVM has this outcome.",
)
@click.option("--exit-code", "exit_codes", type=int, metavar="N", multiple=True, help="Only runs with this exit code.")
@click.option("--fleet", metavar="FLEET_ID", help="Only the runs of this fleet run.")
@click.option("--unfinished", is_flag=True, help="Only runs to continue with `resume`.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Maximum number of runs.")
@json_option
@settings_options
def command(**options: Any) -> None:
    """List runs, newest first, with the next command for unfinished runs.

    A time is a duration before now (7d, 12h), a date (2027-12-24), or a moment (2027-12-24T18:00Z). Times without an
    offset are UTC. A repeated option adds runs; different options together narrow the list.
    """
    from orchestrator.cli.handlers.runs import list_runs

    list_runs(**options)
