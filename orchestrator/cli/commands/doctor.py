"""`orchestrator doctor`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, workspace_options


@click.command("doctor", epilog="\b\nExample: orchestrator doctor")
@click.option("--send-test", is_flag=True, help="Send a test notice through each notification channel.")
@json_option
@workspace_options
def command(**options: Any) -> int:
    """Check settings, key, API, rate limit, state folder, notifications and playbooks.

    Changes nothing, and sends one reading request. The calendars of the playbooks are read too.

    Exit code 0: all is well. Exit code 2: settings. Exit code 5: cloud or key.
    """
    from orchestrator.cli.handlers.doctor import check_surroundings

    return check_surroundings(**options)
