"""`orchestrator worker`."""

import signal
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import structlog

from orchestrator import __version__
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.cli.event_log import configure_log, log_record
from orchestrator.cli.handlers.store import require_url
from orchestrator.cli.stop_signals import handle_stop_signals
from orchestrator.errors import SettingsError, StoreDownError
from orchestrator.postgres.budget import BudgetTerms, agree_terms
from orchestrator.postgres.lease import FORMAT
from orchestrator.postgres.queue import RunQueue
from orchestrator.runs.keeping import KeepReader
from orchestrator.runs.session import RunObserver, workspace_rate
from orchestrator.runs.stores import find_actor, run_store, team_store, workspace_budget
from orchestrator.runs.worker import SWEEP_EVERY_S, Worker
from orchestrator.runs.worker_run import RunCarrier
from orchestrator.settings.load import Settings, load_settings

_QUIET = frozenset({"worker.started", "worker.took", "worker.let_go", "worker.stopping", "worker.stopped", "store.up"})


def run_worker(config: Path | None, assignments: tuple[str, ...]) -> int:
    """Carry out runs of the team store until stopped."""
    settings = load_settings(config, assignments)
    require_url(settings.store)
    configure_log(settings.log)
    workspaces = find_workspaces(settings)
    return anyio.run(_Working(settings, workspaces).run)


def find_workspaces(settings: Settings) -> list[str]:
    """Find the workspaces with a readable key; warn about the others.

    Raises:
        SettingsError: when there is no workspace with a key.
    """
    found: list[str] = []
    reasons: list[str] = []
    for name in settings.workspaces:
        try:
            settings.for_workspace(name).credentials()
        except SettingsError as error:
            reasons.append(f"{name}: {error}")
            structlog.get_logger().warning("worker.no_key", workspace=name, reason=str(error))
        else:
            found.append(name)
    if not found:
        why = "; ".join(reasons) or "the settings have no section [workspaces.NAME]"
        hint = "a worker needs a section [workspaces.NAME] with api_key_file or api_key_env"
        raise SettingsError(f"the worker has no key: {why}", hint=hint)
    return found


class _WorkerObserver(RunObserver):
    """Logs the records of a worker's run, and its warnings."""

    def __init__(self, run_id: str, workspace: str) -> None:
        self._about = {"run_id": run_id, "workspace": workspace}

    def on_record(self, record: Record, state: RunState) -> None:
        """Log a record."""
        del state
        log_record(record, **self._about)

    def on_warning(self, event: str, /, **facts: object) -> None:
        """Log a warning."""
        structlog.get_logger().warning(event, **{**self._about, **facts})


async def open_worker(
    settings: Settings,
    workspaces: Sequence[str],
    *,
    observe: Callable[[str, str], RunObserver],
    emit: Callable[..., object],
    keeps: KeepReader | None = None,
) -> Worker:
    """Agree on the budgets with the other machines, and create a worker.

    Args:
        settings: the settings.
        workspaces: the workspaces with a key.
        observe: returns the observer of a run, by the id of the run and the name of the workspace.
        emit: called with an event's name, and its facts by keyword.
        keeps: reads the exemptions; None for a reader of its own.

    Raises:
        StoreDownError: when the database can't be reached.
        SettingsError: when the database refuses the user.
    """
    leases, store = team_store(settings), settings.store
    queue = RunQueue(
        require_url(store),
        leases.terms.holder,
        workspaces,
        version=__version__,
        format_=FORMAT,
        listen=store.listen,
    )
    for name in workspaces:
        own = settings.for_workspace(name)
        terms, is_explicit = BudgetTerms(*workspace_budget(own)), workspace_rate(own) is not None
        _, note = await agree_terms(queue.link.query, name, terms, is_explicit=is_explicit, by=find_actor())
        if note is not None:
            emit("rate.replaced", note=note)
    carry = RunCarrier(settings, queue.read_submitter, queue.link.query, observe=observe, emit=emit, keeps=keeps)
    return Worker(queue, leases, carry, runs=settings.worker.runs, emit=emit)


async def _read_keeps(settings: Settings) -> KeepReader:
    """Read the exemptions at the start: a file that breaks before the first run has a last valid version."""
    keeps = KeepReader(keeps_last=True)
    try:
        await anyio.to_thread.run_sync(keeps.read_every, settings)
    except SettingsError as error:
        note = "every run is refused until the exemptions are valid"
        structlog.get_logger().warning("keep.broken", reason=str(error), note=note)
    return keeps


class _Working:
    """The worker with all its parts."""

    def __init__(self, settings: Settings, workspaces: list[str]) -> None:
        self._settings, self._workspaces = settings, workspaces
        self._name = team_store(settings).terms.holder
        self._exit_code = 0
        self._worker: Worker

    async def run(self) -> int:
        """Work until stopped; returns the exit code."""
        await self._open()
        emit_event("worker.started", name=self._name, version=__version__, workspaces=", ".join(self._workspaces))
        async with anyio.create_task_group() as everything:
            await everything.start(handle_stop_signals, self._stop, everything.cancel_scope)
            await self._worker()
            emit_event("worker.stopped", name=self._name)
            everything.cancel_scope.cancel()
        return 0 if self._exit_code == 128 + signal.SIGTERM else self._exit_code

    async def _open(self) -> None:
        """Open the worker; wait for a database that is down, such as after a restart of all machines.

        Raises:
            SettingsError: when the database refuses the user, or has another schema.
        """
        reason: str | None = None
        while True:
            try:
                run_store(self._settings).prepare()
                keeps = await _read_keeps(self._settings)
                self._worker = await open_worker(
                    self._settings, self._workspaces, observe=_WorkerObserver, emit=emit_event, keeps=keeps
                )
            except StoreDownError as error:
                if reason != error.message:
                    reason = error.message
                    emit_event("store.down", reason=str(error), note="the worker waits for the database")
                await anyio.sleep(SWEEP_EVERY_S)
            else:
                return

    def _stop(self, number: signal.Signals) -> None:
        """Hand the runs over."""
        self._exit_code = 128 + number
        emit_event("worker.stopping", name=self._name)
        self._worker.stop()


def emit_event(event: str, /, **facts: Any) -> None:  # noqa: ANN401 - whatever the event is about
    """Log an event of a worker."""
    log = structlog.get_logger()
    bug = facts.pop("exc_info", None)
    if bug is not None:
        log.error(event, **facts, traceback="".join(traceback.format_exception(bug)))
    elif event in _QUIET:
        log.info(event, **facts)
    else:
        log.warning(event, **facts)
