"""`orchestrator wake`."""

from typing import Any

import click

from orchestrator.cli.options import (
    ignore_running_option,
    json_option,
    playbook_argument,
    skip_unreachable_option,
    verbosity_options,
    workspace_options,
    yes_option,
)


@click.command("wake", epilog="\b\nExample: orchestrator wake office-hours --yes")
@playbook_argument()
@yes_option()
@click.option("--expect", type=click.IntRange(min=0), metavar="N", help="Start only if the plan has exactly N targets.")
@ignore_running_option
@json_option
@skip_unreachable_option
@workspace_options
@verbosity_options
def command(**options: Any) -> int:
    """Start the CVMs stopped by the runs of a playbook, unless touched since.

    The playbook needs `wake`. Runs by `serve` count, and runs with the default variables and without --only, --exclude
    and --plan. A CVM is left alone if the CVM was down before, was seen up since, was a target of another run, or has
    an operation of somebody else in its operation history. CVMs with GPUs need `wake.include_gpus: true`.

    A wake is a new run with its own plan, guards, audit log and resume. With nothing to start, the exit code is 0. On a
    terminal, you confirm by typing the number of CVMs. Without a terminal, the command needs --yes or --expect;
    otherwise the command shows the plan and changes nothing.
    """
    from orchestrator.cli.handlers.wake import wake_playbook

    return wake_playbook(**options)
