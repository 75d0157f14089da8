"""`orchestrator run`."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import (
    ignore_running_option,
    json_option,
    narrow_options,
    override_options,
    playbook_options,
    skip_unreachable_option,
    verbosity_options,
    workspace_options,
    yes_option,
)


@click.command("run", epilog="\b\nExample: orchestrator run emergency-stop-teepod --var teepod=prod-1 --expect 12")
@partial(playbook_options, required=False)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Execute the plan in FILE, written by `plan --out FILE`. Changed CVMs are skipped.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --plan: sign the start with this private key (approval.keys of the settings).",
)
@narrow_options
@yes_option("Do not ask for confirmation. A pause step still asks.")
@click.option("--expect", type=click.IntRange(min=0), metavar="N", help="Start only if the plan has exactly N targets.")
@click.option(
    "--submit",
    is_flag=True,
    help="Leave the run to a worker of the team store, with the worker's settings and key; see `orchestrator watch`.",
)
@ignore_running_option
@override_options
@json_option
@skip_unreachable_option
@workspace_options
@verbosity_options
def command(**options: Any) -> int:
    """Execute a playbook: plan, confirm, send requests, watch until settled.

    With --plan FILE, only the targets in FILE are touched. CVMs changed since the plan are listed and skipped. An
    edited plan file is refused. With approval.keys in the settings, a run needs an approved plan: see `orchestrator
    approve`.

    On a terminal, you confirm by typing the number of CVMs. Without a terminal, the command needs --yes or --expect;
    otherwise the command changes nothing.

    With --submit, a worker makes the plan, compares the plan with --expect, and carries the plan out at once.
    """
    if options.pop("submit"):
        return _submit(**options)
    from orchestrator.cli.handlers.run import run_plan_file, run_playbook

    if options["plan_file"] is not None:
        return run_plan_file(**options)
    if options["playbook"] is None:
        raise click.UsageError("Missing argument 'PLAYBOOK'.")
    if options.pop("key") is not None:
        raise click.UsageError("--key needs --plan FILE.")
    del options["plan_file"]
    return run_playbook(**options)


def _submit(*, plan_file: Path | None, key: Path | None, simulate: bool, yes: bool, **options: Any) -> int:
    """Submit the run; `--submit` itself is the confirmation, as a schedule is."""
    del yes
    for given, name in ((plan_file, "--plan"), (key, "--key"), (simulate, "--simulate")):
        if given:
            raise click.UsageError(f"--submit and {name} exclude each other.")
    if options["playbook"] is None:
        raise click.UsageError("Missing argument 'PLAYBOOK'.")
    from orchestrator.cli.handlers.submit import submit_playbook

    return submit_playbook(**options)
