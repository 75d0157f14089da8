"""`orchestrator runs`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, settings_options

_OUTCOMES = ["settled", "refused", "failed", "unsettled", "gone", "resurrected", "not_sent", "skipped"]


@click.command("runs", epilog="\b\nExample: orchestrator runs --since 7d --playbook 'nightly-*' --outcome failed")
@click.option("--since", metavar="AGO|DATE|TIME", help="Only those that began then or later.")
@click.option("--until", metavar="AGO|DATE|TIME", help="Only those that began before; a date counts to its end.")
@click.option("--playbook", "playbooks", metavar="NAME", multiple=True, help="Only of this playbook; * and ? stand in.")
@click.option(
    "--outcome",
    "outcomes",
    type=click.Choice(_OUTCOMES),
    multiple=True,
    help="Only those in which some CVM ended so.",
)
@click.option("--exit-code", "exit_codes", type=int, metavar="N", multiple=True, help="Only those that ended so.")
@click.option("--unfinished", is_flag=True, help="Only those that `resume` can go on with.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at the most.")
@json_option
@settings_options
def command(**given: Any) -> None:
    """List runs, newest first, and what to type for those that are not finished.

    Times are 7d or 12h back from now, a date such as 2027-12-24, or a time such as 2027-12-24T18:00Z; without an offset
    they are UTC. Options that are given several times widen the choice, different ones narrow it.
    """
    from orchestrator.cli.handlers.runs import runs

    runs(**given)
