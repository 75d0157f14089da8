"""The commands for runs of the team store: `worker`, `watch`, `cancel`, `workers`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, run_argument, settings_options, verbosity_options


@click.command("worker", epilog="\b\nExample: orchestrator worker")
@settings_options
@verbosity_options
def worker(**options: Any) -> int:
    """Carry out submitted runs of the team store until stopped.

    Takes the runs of the sections [workspaces.NAME] with a key, at most worker.runs at once. Takes over the runs of a
    dead worker after store.lease. Waits while the database is down.

    Ctrl-C and SIGTERM hand the runs over to other workers within seconds.

    Exit code 2: settings or schema.
    """
    from orchestrator.cli.handlers.worker import run_worker

    return run_worker(**options)


@click.command("watch", epilog="\b\nExample: orchestrator watch 20261123T080000Z-4f2a")
@run_argument()
@json_option
@settings_options
@verbosity_options
def watch(**options: Any) -> int:
    """Follow a run of the team store to its end, and print its summary.

    The exit code is the run's. Ctrl-C ends the command alone; the run continues.
    """
    from orchestrator.cli.handlers.watch import watch_run

    return watch_run(**options)


@click.command("cancel", epilog="\b\nExample: orchestrator cancel 20261123T080000Z-4f2a")
@run_argument()
@click.option("--at-once", is_flag=True, help="Do not wait for the CVMs of sent requests; their outcome is unsettled.")
@json_option
@settings_options
def cancel(**options: Any) -> int:
    """Cancel a run of the team store: no further request, and no resume.

    Sent requests are watched to their end first, unless --at-once. The run ends with exit code 8 and the ending
    `cancelled`. `orchestrator restore` can undo the run.
    """
    from orchestrator.cli.handlers.cancel import cancel_run

    return cancel_run(**options)


@click.command("workers", epilog="\b\nExample: orchestrator workers")
@json_option
@settings_options
def workers(**options: Any) -> int:
    """List the workers of the team store, and the runs waiting for a worker."""
    from orchestrator.cli.handlers.workers import list_workers

    return list_workers(**options)


COMMANDS = {"worker": worker, "watch": watch, "cancel": cancel, "workers": workers}
