"""`orchestrator watch FLEET_ID`."""

import json
import time

import click
import structlog

from orchestrator.cli.handlers.fleet.reading import read_fleet, read_outcome
from orchestrator.cli.handlers.fleet.show import print_outcome
from orchestrator.cli.handlers.store import require_url
from orchestrator.cli.print_error import print_error
from orchestrator.errors import OrchestratorError, StoreDownError
from orchestrator.outcome import Exit
from orchestrator.postgres.connect import connect
from orchestrator.postgres.submissions import MemberRow, RunRow, explain_wait, find_run, list_members, list_workers
from orchestrator.settings.load import Settings
from orchestrator.text import safe_text

_POLL_S = 0.5


def watch_fleet(settings: Settings, fleet_id: str, *, as_json: bool) -> int:
    """Follow a fleet run of the team store to its end, and print its summary; returns its exit code."""
    run = _follow(settings, fleet_id)
    code = int(Exit.ENDED_EARLY) if run.exit_code is None else run.exit_code
    if run.seq:
        print_outcome(read_outcome(read_fleet(settings, fleet_id)), as_json=as_json)
    elif as_json:
        document = {"fleet_id": fleet_id, "exit_code": code, "state": run.state, "reason": run.reason}
        click.echo(json.dumps({**document, "workspaces": []}, indent=2))
    if run.state != "finished":
        message = run.reason or "the fleet run was interrupted"
        hint = f"see `orchestrator show {fleet_id}`" if run.seq else None
        if run.is_left:
            message = f"no worker continues the fleet run: {run.reason or 'it was interrupted by a person'}"
            hint = f"`orchestrator resume {fleet_id}`, or `orchestrator abandon {fleet_id}`"
            if run.seq == 0:  # no log to resume
                hint = f"nothing was sent: `orchestrator cancel {fleet_id}`, then submit again"
        print_error(OrchestratorError(message, hint=hint), as_json=False)
    return code


def _follow(settings: Settings, fleet_id: str) -> RunRow:
    """Log every change of a member until the fleet run has ended, or only a person can continue the fleet run.

    Raises:
        StoreDownError: when the database is down at the start, or for longer than `store.outage`.
    """
    said: dict[str, str] = {}
    down_since: float | None = None
    while True:
        try:
            with connect(require_url(settings.store), listen=settings.store.listen) as connection:
                while True:
                    run = find_run(connection, fleet_id)
                    members = list_members(connection, fleet_id)
                    wait = explain_wait(run, list_workers(connection)) if run.is_free else None
                    _report(said, fleet_id, members, wait)
                    if run.finished_at is not None or run.is_left:
                        return run
                    down_since = None
                    time.sleep(_POLL_S)
        except StoreDownError:
            now = time.monotonic()
            down_since = down_since or now
            if not said or now - down_since > settings.store.outage:
                raise
        time.sleep(_POLL_S)


def _report(said: dict[str, str], fleet_id: str, members: list[MemberRow], wait: str | None) -> None:
    log = structlog.get_logger()
    if wait is not None and said.get("") != wait:
        said[""] = wait
        log.info("watch.waiting", fleet_id=fleet_id, note=wait)
    for member in members:
        text = member.describe()
        if said.get(member.workspace) != text:
            said[member.workspace] = text
            log.info("watch.member", workspace=member.workspace, run_id=member.run_id, note=safe_text(text))
