"""`orchestrator serve`."""

import asyncio
import re
import signal
import socket
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.to_thread
import structlog

from orchestrator import __version__
from orchestrator.audit.fleet_store import is_fleet_id
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.cli.event_log import configure_log, log_record
from orchestrator.cli.stop_signals import handle_stop_signals
from orchestrator.errors import SettingsError, UsageError
from orchestrator.loopback import is_loopback
from orchestrator.outcome import Ending
from orchestrator.playbook.schedule import name_wake
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.fleet.unattended import UnattendedFleetRunner
from orchestrator.runs.keeping import KeepReader
from orchestrator.runs.session import RunObserver, SystemClock
from orchestrator.runs.stores import run_store
from orchestrator.runs.unattended import UnattendedRunner
from orchestrator.runs.workspaces import choose_names
from orchestrator.service.folder import PlaybookFolder, ScanResult
from orchestrator.service.metrics import Metrics
from orchestrator.service.overview import Overview
from orchestrator.service.protocols import EventSink, Journal
from orchestrator.service.service import Service
from orchestrator.service.stores import journal_store, kept_folder, lock_folder, snooze_store
from orchestrator.service.web import LazyPage, RepeatedErrors, Server, create_app, format_url, open_listener
from orchestrator.settings.load import Settings, load_settings

if TYPE_CHECKING:
    from orchestrator.service.page.routes import PageHost
    from orchestrator.service.page.values import ServiceFacts

_ENDINGS = {signal.SIGINT: Ending.SIGINT, signal.SIGTERM: Ending.SIGTERM}
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})", re.ASCII)
_LARGEST_PORT = 65535
_ERRORS = frozenset({"service.trouble", "service.error", "firing.bug", "worker.bug", "page.error"})
_WARNINGS = frozenset({"playbook.invalid", "firing.missed", "firing.left_out", "clock.set_back", "firing.tried_again"})
_WARNINGS |= {
    "service.stepped_down",
    "service.no_worker",
    "service.no_playbooks",
    "worker.no_key",
    "worker.refused",
    "worker.waits",
}
_WARNINGS |= {"worker.lost", "store.down", "store.refuses", "keep.broken", "schedule.frozen"}
_WARNINGS |= {"page.login_refused", "page.refused", "page.action_refused", "page.trouble"}
_DIGESTS = frozenset({"when", "left_out", "source", "calendars"})


def serve_playbooks(playbooks: Path | None, listen: str, config: Path | None, assignments: tuple[str, ...]) -> int:
    """Run the schedules of a directory, or of the team store, until stopped."""
    settings = load_settings(config, assignments)
    configure_log(settings.log)
    if settings.store.url is not None:
        return _serve_team_store(settings, playbooks, listen)
    playbooks = playbooks or Path("playbooks")
    if not settings.workspaces or settings.has_default_key:
        settings.key()
    run_store(settings).prepare()
    if not playbooks.is_dir():
        hint = "give the folder with --playbooks, or start in the parent folder of ./playbooks"
        raise UsageError(f"the folder of playbooks {str(playbooks)!r} does not exist", hint=hint)
    with _open_address(listen) as listener, closing(journal_store(settings).open_journal()) as journal:
        folder = PlaybookFolder(playbooks, kept_folder(settings), guards=settings.guards)

        def open_scheduler(emit: EventSink, metrics: Metrics) -> Scheduler:
            return _open_service(settings, folder, journal, emit, metrics)

        return anyio.run(_Serving(settings, str(folder.path), open_scheduler, listener).run)


def _serve_team_store(settings: Settings, playbooks: Path | None, listen: str) -> int:
    from orchestrator.cli.handlers.serve_team import check_store, open_scheduler  # noqa: PLC0415 - with a team store

    if playbooks is not None:
        hint = "leave --playbooks out; push the folder: orchestrator playbooks push DIR"
        raise UsageError("with a team store, `serve` reads the playbooks from the store", hint=hint)
    with _open_address(listen) as listener, lock_folder(settings):
        check_store(settings)
        return anyio.run(_Serving(settings, "the team store", partial(open_scheduler, settings), listener).run)


class Scheduler(Protocol):
    """The service on one machine, or the candidate for the duty of the schedules."""

    async def __call__(self) -> int:
        """Run until stopped; returns the number of firings left for the next start."""
        ...

    def stop(self, ending: Ending) -> None:
        """Start no more firings."""
        ...

    def overview(self) -> Overview:
        """Return the current state."""
        ...

    def cancel_run(self, run_id: str, by: str) -> bool:
        """Cancel a run of this process; False for another run."""
        ...


def _open_service(
    settings: Settings, folder: PlaybookFolder, journal: Journal, emit: EventSink, metrics: Metrics
) -> Service:
    """Create the service on one machine."""

    async def scan_folder(owners: Mapping[str, str]) -> ScanResult:
        try:
            return await anyio.to_thread.run_sync(folder.scan, owners, abandon_on_cancel=True)
        except anyio.get_cancelled_exc_class():
            folder.stop()
            raise

    observe, keeps = partial(_FiringObserver, metrics), KeepReader(keeps_last=True)
    for name, _ in journal.state.list_present():
        metrics.add_playbook(name)
    return Service(
        scan=scan_folder,
        snoozes=snooze_store(settings),
        journal=journal,
        runner=UnattendedRunner(settings, observe, UnattendedFleetRunner(settings, observe, keeps), keeps),
        clock=SystemClock(),
        emit=emit,
        resume_within=timedelta(seconds=settings.audit.resume_without_asking),
        keeps=partial(keeps.read_in_thread, settings),
    )


class _FiringObserver(RunObserver):
    """Logs and counts the records of a firing's run, and logs its warnings."""

    def __init__(self, metrics: Metrics, claim: FiringClaim, workspace: str | None) -> None:
        self._metrics, self._playbook, self._workspace = metrics, claim.playbook, workspace
        self._about = {} if workspace is None else {"workspace": workspace}
        if is_fleet_id(claim.run_id):
            self._about["fleet"] = claim.run_id
        self.on_reply = partial(metrics.count_reply, claim.playbook, workspace)

    def on_record(self, record: Record, state: RunState) -> None:
        """Log and count a record."""
        log_record(record, playbook=self._playbook, run_id=state.run_id, **self._about)
        self._metrics.count_record(self._playbook, record, self._workspace)

    def on_warning(self, event: str, /, **facts: object) -> None:
        """Log a warning."""
        self._metrics.api.note_warning(event, facts)
        structlog.get_logger().warning(event, **{**self._about, **facts})


class _Serving:
    """The service with all its parts."""

    def __init__(
        self,
        settings: Settings,
        playbooks: str,
        open_scheduler: Callable[[EventSink, Metrics], Scheduler],
        listener: socket.socket | None,
    ) -> None:
        self._settings, self._playbooks, self._listener = settings, playbooks, listener
        self._open_scheduler = open_scheduler
        self._metrics = Metrics(self._build_overview)
        self._scheduler: Scheduler
        self._exit_code = 0
        has_open_metrics = settings.service.metrics == "open"
        self._page = LazyPage(self._make_page_host, has_open_metrics=has_open_metrics)

    async def run(self) -> int:
        """Serve until stopped; returns the exit code."""
        self._scheduler = self._open_scheduler(self._emit_event, self._metrics)
        async with anyio.create_task_group() as everything:
            await everything.start(handle_stop_signals, self._stop, everything.cancel_scope)
            left = await self._serve_requests()
            self._emit_event("service.stopped", left_for_later=left)
            everything.cancel_scope.cancel()
            return self._exit_code if left else 0
        return self._exit_code

    async def _serve_requests(self) -> int:
        """Run the schedules, and serve HTTP requests; returns the number of firings left for the next start."""
        self._log_start()
        if self._listener is None:
            return await self._scheduler()
        asyncio.get_running_loop().set_exception_handler(RepeatedErrors(self._emit_error))
        server = Server(create_app(self._scheduler.overview, self._metrics, self._find_key_trouble, self._page))
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [self._listener])
            left = await self._scheduler()
            self._page.close()
            server.should_exit = True
        return left

    def _make_page_host(self) -> "PageHost":
        from orchestrator.service.page.routes import PageHost  # noqa: PLC0415 - only with viewers

        assert self._listener is not None  # noqa: S101 - there is a request
        listens_here = is_loopback(self._listener.getsockname()[0])
        return PageHost(self._settings, listens_here, self._read_facts, self._emit_event, self._scheduler.cancel_run)

    def _read_facts(self) -> "ServiceFacts":
        from orchestrator.service.page.values import ServiceFacts  # noqa: PLC0415 - only with viewers

        troubles, api = tuple(self._find_key_trouble()), self._metrics.api
        key = "with the workers" if self._settings.store.url is not None else "✗ unusable" if troubles else "✓ readable"
        overview = self._build_overview()
        can_cancel = frozenset(row.running for row in overview.rows if row.running is not None)
        return ServiceFacts(overview, key, troubles, api.last_reply_at, api.last_status, api.down, can_cancel)

    def _emit_error(self, error: str) -> None:
        self._emit_event("service.error", error=error)

    def _build_overview(self) -> Overview:
        return self._scheduler.overview()

    def _stop(self, number: signal.Signals) -> None:
        """Start no more firings."""
        self._exit_code = 128 + number
        self._scheduler.stop(_ENDINGS[number])

    def _log_start(self) -> None:
        url = None if self._listener is None else format_url(self._listener)
        self._emit_event("service.started", version=__version__, playbooks=self._playbooks, url=url)
        if self._listener is not None and not is_loopback(self._listener.getsockname()[0]):
            structlog.get_logger().warning(
                "service.in_the_open",
                url=url,
                note="the page needs a token; `service.metrics` decides about /metrics",
            )

    def _find_key_trouble(self) -> Sequence[str]:
        """Find the reasons why firings can't have a key: the default key, or the keys of the playbooks' workspaces."""
        settings = self._settings
        if settings.store.url is not None:
            return ()  # Keys are with the workers, perhaps on other machines.
        # A probe starts no program.
        needs_default = settings.cloud.api_key_command is None and (not settings.workspaces or settings.has_default_key)
        try:
            if needs_default:
                settings.key()
        except SettingsError as error:
            return (str(error),)
        return _find_workspace_troubles(settings, self._scheduler.overview()) if settings.workspaces else ()

    def _emit_event(self, event: str, /, **facts: Any) -> None:  # noqa: ANN401 - whatever the event is about
        """Log an event, and count the event."""
        said = {key: value for key, value in facts.items() if value is not None and key not in _DIGESTS}
        bug = said.pop("exc_info", None)
        if bug is not None:
            said["traceback"] = "".join(traceback.format_exception(bug))
        log = structlog.get_logger()
        failed = event == "firing.ended" and facts["exit_code"] != 0
        if event in _ERRORS:
            log.error(event, **said)
        elif event in _WARNINGS or failed:
            log.warning(event, **said)
        else:
            log.info(event, **said)
        self._metrics.count_event(event, **facts)
        approval = self._settings.approval
        exempt = {*approval.exempt, *map(name_wake, approval.exempt)}
        if event == "schedule.watched" and approval.keys and facts["playbook"] not in exempt:
            note = "its firings are refused: list the playbook in approval.exempt"
            log.warning("schedule.needs_approval", playbook=facts["playbook"], note=note)


def _find_workspace_troubles(settings: Settings, overview: Overview) -> list[str]:
    """Find playbooks with workspaces unknown to the settings, and workspaces without a readable key."""
    troubles: list[str] = []
    names: set[str] = set()
    for row in overview.rows:
        try:
            names.update(choose_names(settings, (), row.workspaces))
        except UsageError as error:
            troubles.append(f"playbook {row.name}: {error}")
    for name in sorted(names):
        try:
            settings.for_workspace(name).credentials()
        except SettingsError as error:
            troubles.append(str(error))
    return troubles


def _open_address(address: str) -> AbstractContextManager[socket.socket | None]:
    """Open a listening socket; None for `none`."""
    if address == "none":
        return nullcontext()
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match["port"]) > _LARGEST_PORT:
        hint = "give HOST:PORT, such as 127.0.0.1:8642, or none"
        raise UsageError(f"--listen is not an address and a port: {address!r}", hint=hint)
    try:
        return open_listener(match["six"] or match["host"], int(match["port"]))
    except OSError as error:
        hint = "another process may use this port; give --listen another port, or none"
        raise UsageError(f"can't listen on {address}: {error.strerror or error}", hint=hint) from error
