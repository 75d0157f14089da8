"""`orchestrator rehearse`."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import (
    format_option,
    narrow_options,
    out_option,
    override_options,
    playbook_options,
    workspace_options,
)


@click.command("rehearse", epilog="\b\nExample: orchestrator rehearse nightly-cost-stop --faults rough-day --seeds 50")
@playbook_options
@click.option(
    "--inventory",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Use the fleet of an inventory file (`cvms --save FILE`): offline, without an API key.",
)
@click.option(
    "--faults",
    metavar="FILE",
    help="Add the faults of a fault file: a path, or a shipped file (outage, rough-day).",
)
@click.option("--seeds", type=click.IntRange(1, 10_000), metavar="N", help="Rehearse N times, and compare the results.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63),
    default=0,
    show_default=True,
    metavar="N",
    help="Random seed of settle times, faults and jitter; with --seeds, the first seed.",
)
@click.option(
    "--settle",
    metavar="MIN..MAX",
    help="Settle time of CVMs, such as 3s..20s. Default: as learnt by runs, else assumed.",
)
@click.option(
    "--answer",
    type=click.Choice(["yes", "no", "none"]),
    default="yes",
    show_default=True,
    help="Answer to every question; none waits for the timeout.",
)
@narrow_options
@override_options
@format_option("text", "json", "html", by_suffix=True)
@out_option("Write the result to FILE; - is stdout.")
@workspace_options
def command(**options: Any) -> int:
    """Carry a playbook out on a copy of the fleet, on virtual time. Changes nothing.

    The real engine runs against a simulated cloud with your CVMs. A run of an hour takes seconds. The exit code is 0
    for every rehearsal, whatever the foretold end; 4 if the selectors match no CVM.
    """
    from orchestrator.cli.handlers.rehearse import rehearse_playbook

    return rehearse_playbook(**options)
