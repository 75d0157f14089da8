"""`orchestrator serve` with a team store: a candidate for the duty of the schedules, and a worker."""

import os
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import structlog

from orchestrator import __version__
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.cli.event_log import log_record
from orchestrator.cli.handlers.store import require_url
from orchestrator.cli.handlers.worker import find_workspaces, open_worker
from orchestrator.errors import OrchestratorError, SettingsError, StoreDownError
from orchestrator.outcome import Ending
from orchestrator.postgres.check import check_durability, check_schema, check_server, check_service_rights
from orchestrator.postgres.connect import connect
from orchestrator.postgres.duty import StoreDuty
from orchestrator.postgres.link import Link
from orchestrator.postgres.migrate import explain_errors
from orchestrator.runs.keeping import KeepReader
from orchestrator.runs.session import RunObserver
from orchestrator.runs.stores import find_actor
from orchestrator.runs.worker import Worker
from orchestrator.service.duty import Term
from orchestrator.service.duty_journal import DutyJournal
from orchestrator.service.duty_runner import DutyRunner
from orchestrator.service.firing_orders import FiringOrders
from orchestrator.service.leader import LONGEST_LEASE, Leader
from orchestrator.service.metrics import Metrics
from orchestrator.service.overview import Overview
from orchestrator.service.protocols import EventSink
from orchestrator.service.pushed import PushedPlaybooks
from orchestrator.service.service import Service
from orchestrator.service.stores import kept_folder, pushed_folder
from orchestrator.settings.load import Settings

_RETRY_S = 2.0


def check_store(settings: Settings) -> None:
    """Check the team store at the start; an unreachable store is waited for later.

    Raises:
        SettingsError: when the database is unusable, or refuses the user.
    """
    store = settings.store
    try:
        with connect(require_url(store), listen=store.listen) as connection, explain_errors():
            for check in (check_server, check_durability, check_schema, check_service_rights):
                check(connection)
    except StoreDownError as error:
        structlog.get_logger().warning("store.down", reason=str(error))


def open_scheduler(settings: Settings, emit: EventSink, metrics: Metrics) -> "TeamScheduler":
    """Create the candidate for the duty, and the worker for the keys of the settings."""
    try:
        workspaces = find_workspaces(settings)
    except SettingsError as error:
        emit("service.no_worker", reason=str(error), note="this process schedules only; other workers carry runs out")
        workspaces = []
    return TeamScheduler(settings, workspaces, emit, metrics)


class TeamScheduler:
    """A candidate for the duty of the schedules, and a worker, in one process."""

    def __init__(self, settings: Settings, workspaces: list[str], emit: EventSink, metrics: Metrics) -> None:
        """Set up.

        Args:
            settings: the settings.
            workspaces: the workspaces with a key; the process is no worker without a workspace.
            emit: receives all events.
            metrics: metrics of the service.
        """
        self._settings, self._workspaces, self._emit, self._metrics = settings, workspaces, emit, metrics
        store, holder = settings.store, f"{find_actor()}:{os.getpid()}"
        self._link = Link(require_url(store), listen=store.listen)
        lease = min(store.lease, LONGEST_LEASE)
        duty = StoreDuty(self._link.query, holder=holder, lease=lease)
        self._orders = FiringOrders(settings, holder, duty.wall)
        self._leader = Leader(
            store=duty, build_run=self._orders, open_service=self._open_service, emit=emit, lease=lease
        )
        self._worker: Worker | None = None
        self._keeps = KeepReader(keeps_last=True)
        self._stopped = anyio.Event()

    async def __call__(self) -> int:
        """Schedule and work until stopped; returns 0, because other machines continue."""
        async with anyio.create_task_group() as group:
            if self._workspaces:
                group.start_soon(self._work)
            await self._leader()
        await self._link.close()
        return 0

    def stop(self, ending: Ending) -> None:
        """Give the duty away, and hand over all runs."""
        self._stopped.set()
        self._leader.stop(ending)
        if self._worker is not None:
            self._worker.stop()

    def overview(self) -> Overview:
        """Return the current state."""
        return self._leader.overview()

    def cancel_run(self, run_id: str, by: str) -> bool:
        """Return False: the team store cancels runs, also those of this process."""
        del run_id, by
        return False

    def _open_service(self, term: Term, journal: DutyJournal) -> Service:
        settings = self._settings
        for name, _ in journal.state.list_present():
            self._metrics.add_playbook(name)
        playbooks = PushedPlaybooks(
            self._link.query,
            term,
            pushed_folder(settings),
            kept_folder(settings),
            guards=settings.guards,
            emit=self._emit,
        )
        return Service(
            scan=playbooks.scan,
            snoozes=playbooks,
            journal=journal,
            runner=DutyRunner(term, self._orders, self._orders.is_fleet),
            clock=term.store,
            emit=self._emit,
            resume_within=timedelta(seconds=settings.audit.resume_without_asking),
            keeps=partial(self._keeps.read_in_thread, settings),
        )

    async def _work(self) -> None:
        """Work until stopped; wait for the store first."""
        while not self._stopped.is_set():
            try:
                self._worker = await open_worker(
                    self._settings, self._workspaces, observe=self._observe, emit=self._emit, keeps=self._keeps
                )
            except OrchestratorError as error:
                self._emit("store.down", reason=str(error))
                with anyio.move_on_after(_RETRY_S):
                    await self._stopped.wait()
                continue
            self._emit("worker.started", version=__version__, workspaces=", ".join(self._workspaces))
            await self._worker()

    def _observe(self, run_id: str, workspace: str) -> RunObserver:
        return _TeamObserver(self._metrics, run_id, workspace)


class _TeamObserver(RunObserver):
    """Logs and counts the records of a worker's run, and logs its warnings."""

    def __init__(self, metrics: Metrics, run_id: str, workspace: str) -> None:
        self._metrics, self._workspace = metrics, workspace
        self._about = {"run_id": run_id, "workspace": workspace}

    def on_record(self, record: Record, state: RunState) -> None:
        """Log and count a record."""
        log_record(record, **self._about)
        name = state.started.playbook.get("name") if state.has_plan else None
        if name is not None:
            self._metrics.count_record(str(name), record, self._workspace)

    def on_warning(self, event: str, /, **facts: Any) -> None:  # noqa: ANN401 - fields differ by event
        """Log a warning."""
        structlog.get_logger().warning(event, **{**self._about, **facts})
