"""`orchestrator keep`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, settings_options


@click.command(
    "keep", epilog="\b\nExample: orchestrator keep web-1 --until 2026-12-01 --reason 'load test of the team'"
)
@click.argument("cvms", metavar="[CVM]...", nargs=-1)
@click.option(
    "--until", metavar="TIME|DURATION", help="End: 2026-12-01T08:00 (UTC), 2026-12-01 (end of that day) or 3d."
)
@click.option("--reason", metavar="TEXT", help="Why the CVMs stay up.")
@click.option("--owner", metavar="WHO", help="The person to ask; default: your login name.")
@click.option("--clear", is_flag=True, help="End the exemptions of these CVMs now.")
@click.option("--list", "listed", is_flag=True, help="List all exemptions, those of keep.file too.")
@json_option
@settings_options
def command(**options: Any) -> int:
    """Keep CVMs up until a time: no playbook and no command stops, shuts down or restarts an exempted CVM.

    CVM is a hashid, a UUID, an instance id, or a name; * and ? are wildcards in names. A date includes that day. An
    expired exemption is reported, and not obeyed. `guards.ignore_keep` of a playbook and --ignore-keep REASON override.
    """
    from orchestrator.cli.handlers.keep import keep_cvms

    return keep_cvms(**options)
