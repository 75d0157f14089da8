"""`orchestrator reconcile`."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random

import anyio
import click

from orchestrator.audit.events import Event
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import StoredRun, require_sound
from orchestrator.audit.verify import Reading
from orchestrator.cli.consoles import redraws, stdout_console
from orchestrator.cli.named_runs import find_run_to_change
from orchestrator.cloud.client import connect
from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.rate.gcra import Gcra, with_headroom
from orchestrator.engine.read.usage import AppUsage, AppUsageQuery, UsageReader
from orchestrator.errors import UsageError
from orchestrator.outcome import Exit
from orchestrator.playbook.limits import Limits
from orchestrator.report.savings.reconcile import print_reconciliation, reconciliation_document
from orchestrator.runs.documents import write_document
from orchestrator.runs.reconciling import Reconciliation, evaluate_answers, make_questions, open_stops
from orchestrator.runs.session import Endpoint, SystemClock, limits_of, open_endpoint
from orchestrator.runs.stops import reconciled_in, stops_of
from orchestrator.runs.stores import run_store
from orchestrator.runs.workspaces import settings_of_run
from orchestrator.settings.load import Settings, load_settings
from orchestrator.text import plural, safe_text
from orchestrator.times import utc_now


def reconcile_run(
    run_id: str, config: Path | None, assignments: tuple[str, ...], *, details: bool, as_json: bool
) -> int:
    """Find the charges for the stops of a run, unless already known."""
    settings = load_settings(config, assignments)
    run = find_run_to_change(run_store(settings), run_id)
    found, state = reconcile_log(settings, run)
    code = int(Exit.UNSETTLED if found.open else Exit.OK)
    if as_json:
        document = reconciliation_document(found, state, run.location, code)
        write_document(document, partial(click.echo, nl=False))
    else:
        print_reconciliation(stdout_console(), found, state, run.location, details=details)
    return code


def reconcile_log(settings: Settings, run: StoredRun) -> tuple[Reconciliation, RunState]:
    """Find the charges for the stops of a run, and record new charges in its log.

    Raises:
        UsageError: when the run is not finished, or when its simulated cloud ended.
        SettingsError: when the log can't be continued, or was altered.
        CloudError: when the usage can't be read.
    """
    state = RunState()
    log, reading = run.open_log(state.apply_record)
    try:
        _check_log(reading, state, run)
        return _find_charges(settings_of_run(settings, state), log, reading, state), state
    finally:
        log.close()


def _check_log(reading: Reading, state: RunState, run: StoredRun) -> None:
    """Refuse a log unfit for more records about its stops."""
    require_sound(reading, run, "an altered log does not prove the stops of the run; nothing was recorded")
    if state.cloud_ended:
        raise UsageError(
            "the simulated cloud of this run ended with the run",
            file=run.location,
            hint="to try this command, run against `orchestrator simulate`",
        )
    if not reading.finished:
        resume = f"first: orchestrator resume {safe_text(state.resume_id)}"
        raise UsageError(
            "the run is not finished, so its stops are not certain",
            file=run.location,
            hint=resume if state.has_plan else "the log has no plan: nothing was sent and nothing was charged",
        )


def _find_charges(settings: Settings, log: AuditLog, reading: Reading, state: RunState) -> Reconciliation:
    """Ask about the stops with open charges, and record new charges in the log."""
    known = reconciled_in(state)
    stops = open_stops(stops_of(state), known, settings.billing.pending_for)
    if not stops:
        return Reconciliation(known)
    asked = make_questions(stops)
    with open_endpoint(settings, simulate=False) as where:
        where.require_url(state.started.cloud_url)
        usage = anyio.run(_read_usage, settings, where, asked) if asked else {}
    found = evaluate_answers(stops, usage, known, now=utc_now(), pending_for=settings.billing.pending_for)
    for news in found.news:
        log.record_about(reading, Event.BILLING_RECONCILED, **news.document())
    anyio.run(log.flush)
    return found


async def _read_usage(settings: Settings, where: Endpoint, asked: Sequence[AppUsageQuery]) -> dict[str, AppUsage]:
    # The rate of the settings, not the run's rate: an emergency is over by now.
    limits = limits_of(Limits(), settings)
    gate = Gate(Gcra(limits.requests_per_second, with_headroom(limits.burst)), limits.max_in_flight, SystemClock())
    async with connect(
        where.base_url,
        where.api_key,
        api_version=settings.cloud.api_version,
        timeout=settings.cloud.timeout,
        max_in_flight=limits.max_in_flight,
    ) as cloud:
        reader = UsageReader(cloud, gate, Random())  # noqa: S311 - jitter, not secrets
        return await reader.read_usage(asked, partial(_show_progress, len(asked)))


def _show_progress(all_of_them: int, read: int) -> None:
    """Show the progress of the reading on a terminal, in a line erased at the end."""
    if redraws(sys.stderr):
        line = f"reading usage: {read} of {plural(all_of_them, 'app')}"
        click.echo(f"\r{line if read < all_of_them else ' ' * len(line)}\r", nl=False, err=True)
