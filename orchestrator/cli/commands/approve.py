"""`orchestrator approve`."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import (
    fleet_handler,
    json_option,
    run_argument,
    settings_options,
    yes_option,
)
from orchestrator.state_files import is_plan_file
from orchestrator.text import safe_text


def _plan_handler(command: Callable[..., Any]) -> Callable[..., Any]:
    """Hand a plan file over to the approval of plans, and every other argument to the command."""

    @wraps(command)
    def decorated(*, run_id: str, **options: Any) -> object:
        if not is_plan_file(Path(run_id)):
            _refuse_other_file(run_id)
            if options.pop("valid_for") is not None:
                raise click.UsageError("--valid-for needs a plan file.")
            return command(run_id=run_id, **options)
        for name, excluded in (("comment", "--comment"), ("workspaces", "--workspace")):
            if options.pop(name):
                raise click.UsageError(f"a plan file and {excluded} exclude each other.")
        from orchestrator.cli.handlers.approve_plan import answer_in_file, approve_plan

        if options["step"] is not None:
            if options.pop("valid_for") is not None:
                raise click.UsageError("--step and --valid-for exclude each other: the question has its own end.")
            answer_in_file(Path(run_id), **options)
            return None
        del options["step"]
        if options.pop("refuse"):
            raise click.UsageError("--refuse needs a run, or a plan file with --step: leave the plan without approval.")
        approve_plan(Path(run_id), **options)
        return None

    return decorated


def _refuse_other_file(name: str) -> None:
    """Refuse a path of any other file: run ids have no dot and no slash."""
    if "." in name or "/" in name:
        shown = safe_text(name, 200)
        exists = Path(name).exists()
        raise click.UsageError(f"{shown} is no plan file." if exists else f"the plan file {shown} does not exist.")


@click.command(
    "approve",
    epilog="\b\nExample: orchestrator approve 20261123T080000Z-4f2a --comment 'disk is copied'\n"
    "Example: orchestrator approve stop.plan --key ann.pem",
)
@run_argument("RUN_ID|PLAN_FILE")
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Sign with this private key; its public key is in approval.keys of the settings.",
)
@click.option(
    "--valid-for", metavar="DURATION", help="Approve a plan for this time; default 24h, at most approval.valid_for."
)
@click.option("--refuse", is_flag=True, help="Refuse: end the run and send nothing more.")
@click.option("--step", metavar="NAME", help="Answer only a question of this step.")
@click.option("--comment", metavar="TEXT", help="Comment for the audit log.")
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
@_plan_handler
@fleet_handler("approve.answer_fleet_questions", changes=True)
def command(**options: Any) -> None:
    """Answer the open question of a run, or approve a plan file with a signature.

    RUN_ID: shows the question, the progress and the next steps, and asks you to type a word. The first answer counts;
    the audit log records your name. Without a team store, answer on the run's machine, as the run's user. A run with an
    approved plan takes a yes only with --key. Exit code 3: the answer came too late, or no process executes the run.

    FLEET_ID: lists the open questions of all runs, and answers all runs at the same step.

    PLAN_FILE with --key: shows the plan, asks you to type approve, and appends your signature to
    PLAN_FILE.approvals.jsonl. Then `orchestrator run --plan PLAN_FILE --key KEY` starts the run, once. With --step
    NAME: answers the run's question at this step, also from another machine.
    """
    from orchestrator.cli.handlers.approve import answer_question

    answer_question(**options)
