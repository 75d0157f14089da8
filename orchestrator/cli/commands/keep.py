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
@click.option("--reason", metavar="TEXT", help="Reason; shown in plans and notices.")
@click.option("--owner", metavar="WHO", help="Person to ask; default: your login name.")
@click.option("--clear", is_flag=True, help="End the exemptions of these CVMs now.")
@click.option("--list", "listed", is_flag=True, help="List all exemptions, with those of keep.file.")
@json_option
@settings_options
def command(**options: Any) -> int:
    """Exempt CVMs from stops, shutdowns and restarts until a time.

    CVM is a hashid, a UUID, an instance id, or a name; * and ? are wildcards in names. Plans report an expired
    exemption, and act on the CVM. `guards.ignore_keep` of a playbook and --ignore-keep REASON override exemptions.
    """
    from orchestrator.cli.handlers.keep import keep_cvms

    return keep_cvms(**options)
