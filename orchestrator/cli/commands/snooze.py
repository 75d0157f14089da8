"""`orchestrator snooze`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, playbook_argument, settings_options


@click.command("snooze", epilog="\b\nExample: orchestrator snooze nightly-cost-stop --until 2026-12-01T08:00")
@playbook_argument(required=False)
@click.option(
    "--until",
    metavar="TIME|DURATION",
    help="End of the snooze: 2026-12-01T08:00, 2026-12-01 or 3d.",
)
@click.option("--clear", is_flag=True, help="End the snooze now.")
@click.option("--list", "listed", is_flag=True, help="List the snoozed playbooks.")
@json_option
@settings_options
def command(**options: Any) -> int:
    """Skip the scheduled runs of a playbook until a time. `serve` need not be running.

    PLAYBOOK is the `name` in the file. Wakes go on. Times without an offset are in the time zone of the schedule; a
    date includes that day.
    """
    from orchestrator.cli.handlers.snooze import snooze_playbook

    return snooze_playbook(**options)
