"""`orchestrator doctor`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, settings_options


@click.command("doctor", epilog="\b\nExample: orchestrator doctor")
@json_option
@settings_options
def command(**options: Any) -> int:
    """Check settings, key, API, clock, state folder and playbooks. Changes nothing.

    Exit code 0: all is well. Exit code 2: settings. Exit code 5: cloud or key.
    """
    from orchestrator.cli.handlers.doctor import check_surroundings

    return check_surroundings(**options)
