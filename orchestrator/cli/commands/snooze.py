"""`orchestrator snooze`."""

from typing import Any

import click

from orchestrator.cli.options import _complete_playbook, json_option, settings_options


@click.command("snooze", epilog="\b\nExample: orchestrator snooze nightly-cost-stop --until 2026-12-01T08:00")
@click.argument("playbook", metavar="[PLAYBOOK]", required=False, shell_complete=_complete_playbook)
@click.option(
    "--until", metavar="TIME|DURATION", help="Leave its firings out until then: 2026-12-01T08:00, 2026-12-01 or 3d."
)
@click.option("--clear", is_flag=True, help="End its snooze now.")
@click.option("--list", "listed", is_flag=True, help="Say what is snoozed.")
@json_option
@settings_options
def command(**given: Any) -> int:
    """Leave a playbook's firings out for a time, whether `serve` goes on right now or not.

    PLAYBOOK is the name that it bears. Times go by the clocks of its schedule's zone, unless they have an offset; a
    day counts to its end.
    """
    from orchestrator.cli.handlers.snooze import snooze

    return snooze(**given)
