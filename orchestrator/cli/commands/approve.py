"""`orchestrator approve`."""

from typing import Any

import click

from orchestrator.cli.options import fleet_handler, json_option, run_argument, settings_options, yes_option


@click.command("approve", epilog="\b\nExample: orchestrator approve 20261123T080000Z-4f2a --comment 'disk is copied'")
@run_argument()
@click.option("--refuse", is_flag=True, help="Refuse: end the run and send nothing more.")
@click.option("--step", metavar="NAME", help="Answer only a question of this step.")
@click.option("--comment", metavar="TEXT", help="Comment; recorded in the audit log.")
@yes_option()
@click.option(
    "--workspace",
    "workspaces",
    metavar="NAME",
    multiple=True,
    help="Of a fleet run, answer only in this workspace; * and ? are wildcards.",
)
@json_option
@settings_options
@fleet_handler("approve.answer_fleet_questions", changes=True)
def command(**options: Any) -> None:
    """Answer the open question of a run, asked by a `pause` step.

    Shows the question, the progress of the run and the next steps, and asks you to type a word. The process that
    executes the run reads the answer. Without a team store, it runs on the same machine and as the same user. The audit
    log records who answered. The first answer counts. Exit code 3: the answer came too late, or no process executes the
    run.

    With the id of a fleet run: lists the open questions of all runs, and answers all runs at the same step.
    """
    from orchestrator.cli.handlers.approve import answer_question

    answer_question(**options)
