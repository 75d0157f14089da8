"""structlog: for people on a terminal, JSON lines otherwise; always on stderr."""

import logging
import sys
from collections import Counter
from collections.abc import Mapping, MutableMapping
from functools import partial
from typing import Any

import structlog

from orchestrator.audit.events import (
    ActionDeferred,
    ActionEscalated,
    ActionUnknown,
    ApprovalAnswered,
    MessageSent,
    RunFinished,
    RunInterrupted,
    RunResumed,
    RunStarted,
    StepPlanned,
    TargetEnded,
    TargetSettled,
    WaveSoaking,
    read_event,
)
from orchestrator.audit.log import Observer
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.cli.consoles import is_coloured
from orchestrator.cvm import CvmRef
from orchestrator.outcome import TROUBLE, Outcome
from orchestrator.settings.model import LogSection
from orchestrator.text import safe_text

_Target = tuple[str, str]
"""A step and a CVM's key."""


def configure_log(settings: LogSection) -> None:
    """Set logging up by the settings."""
    console = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer: Any
    if console:
        renderer = structlog.dev.ConsoleRenderer(colors=is_coloured(sys.stderr), pad_event_to=14)
        stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
    else:
        renderer = structlog.processors.JSONRenderer(sort_keys=True)
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    escaping = [_escape_text] if console else []  # JSON does its own escaping
    structlog.configure(
        processors=[structlog.processors.add_log_level, stamp, *escaping, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level.upper()]),
        # To the current stderr at every line: a live view replaces stderr for a while.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def log_warning(settings: LogSection, event: str, **facts: object) -> None:
    """Set logging up, and log a warning before the first run."""
    configure_log(settings)
    structlog.get_logger().warning(event, **facts)


def _escape_text(logger: object, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape text from outside for the terminal, and leave out facts without a value."""
    del logger, name
    known = {key: value for key, value in event.items() if value is not None}
    return {key: safe_text(value) if isinstance(value, str) else value for key, value in known.items()}


def run_log(settings: LogSection, state: RunState, **about: Any) -> Observer:  # noqa: ANN401 - facts of any kind
    """Return an observer to log a run: failures and a line for every teepod on a terminal, else every CVM.

    Args:
        settings: the settings of the log.
        state: the replayed state of the run's log, updated with every record before this observer.
        **about: more facts for every line, such as the workspace.
    """
    return partial(log_record, **about) if logs_each_cvm(settings) else _ByTeepod(state, about)


def logs_each_cvm(settings: LogSection) -> bool:
    """Return True if every CVM has a line in the log: not on a terminal, unless wanted."""
    return settings.cvms == "each" or (settings.cvms == "auto" and not sys.stderr.isatty())


class _ByTeepod:
    """An observer to log failures, and every teepod once all of its CVMs have an outcome.

    A CVM counts with its last outcome: the final verification can change an outcome, and a later step can choose the
    CVM again.
    """

    def __init__(self, state: RunState, about: Mapping[str, Any]) -> None:
        self._state, self._about = state, about
        self._open: dict[str | None, set[_Target]] | None = None  # targets without an outcome, by teepod
        self._last: dict[str | None, dict[str, str]] = {}  # last outcome of each CVM, by teepod

    def __call__(self, record: Record) -> None:
        """Log a record, except for the many records of single CVMs."""
        match event := read_event(record):
            case TargetEnded():
                if event.outcome in TROUBLE:
                    log_record(record, **self._about)
                self._close_target(event.step, event.ref, event.outcome)
            case ActionEscalated():
                pass
            case _:
                if isinstance(event, StepPlanned) and self._open is not None:
                    for target in event.targets:
                        self._open_target(self._open, event.step, target.ref)
                log_record(record, **self._about)

    def _close_target(self, step: str, ref: CvmRef, outcome: str) -> None:
        if self._open is None:
            self._open = {}
            for target in self._state.targets.values():
                if target.outcome is None:
                    self._open_target(self._open, target.step, target.ref)
            self._open_target(self._open, step, ref)  # the state already contains the current record
        opened = self._open.get(ref.teepod, set())
        last = self._last.setdefault(ref.teepod, {})
        last[ref.key] = outcome
        if (step, ref.key) not in opened:
            return  # a changed outcome, from the final verification
        opened.remove((step, ref.key))
        if not opened:
            if set(last.values()) != {Outcome.NOT_SENT}:
                facts = {**self._about, "teepod": ref.teepod, **Counter(last.values())}
                structlog.get_logger().info("teepod.done", **facts)
            last.clear()

    @staticmethod
    def _open_target(opened: dict[str | None, set[_Target]], step: str, ref: CvmRef) -> None:
        opened.setdefault(ref.teepod, set()).add((step, ref.key))


def log_record(record: Record, **about: object) -> None:
    """Log an audit record of interest to a person: outcomes, and the run's own events.

    Args:
        record: the record.
        **about: more facts for every line, for a process with several runs.
    """
    log = structlog.get_logger(**about)
    match event := read_event(record):
        case TargetEnded():
            _log_outcome(log, event)
        case RunStarted():
            log.info(event.name, run_id=event.run_id)
        case RunResumed():
            if not event.to_abandon:
                log.info(event.name, run_id=event.run_id)
        case RunInterrupted() | RunFinished():
            log.info(event.name, run_id=event.run_id, exit_code=event.exit_code, **event.counts)
        case ApprovalAnswered() | MessageSent():
            known = ("step", "answer", "by", "via", "comment", "db_user", "message")
            log.info(event.name, **{key: record[key] for key in known if record.get(key) is not None})
        case StepPlanned():
            log.info(event.name, step=event.step, action=event.action, targets=len(list(event.targets)))
        case WaveSoaking():
            log.info(event.name, step=event.step, wave=event.wave, until=event.until)
        case ActionEscalated() | ActionDeferred() | ActionUnknown():
            _log_request(log, event)


def _log_request(log: Any, event: ActionEscalated | ActionDeferred | ActionUnknown) -> None:  # noqa: ANN401 - as below
    """Log an escalation, or a request without a result."""
    match event:
        case ActionEscalated():
            ref = event.ref
            facts = {"cvm": ref.name, "id": ref.address, "teepod": ref.teepod}
            log.warning("cvm.escalated", **facts, to=event.to, reason=event.reason)
        case ActionDeferred():
            wait = event.retry_after_s
            log.debug(f"{event.action}.deferred", cvm=event.ref.name, wait=wait, reason=event.reason)  # noqa: G004 - the name
        case ActionUnknown():
            log.debug(f"{event.action}.unknown", cvm=event.ref.name, reason=event.reason)  # noqa: G004 - the same


def _log_outcome(log: Any, event: TargetEnded) -> None:  # noqa: ANN401 - structlog gives any logger
    ref = event.ref
    facts = {"cvm": ref.name, "id": ref.address, "teepod": ref.teepod, "seconds": event.seconds}
    if isinstance(event, TargetSettled):
        log.info(f"cvm.{event.outcome}", **facts)  # noqa: G004 - the outcome is the event's name
        return
    facts["reason"] = event.reason
    if event.request_id is not None:
        facts["request_id"] = event.request_id
    log.warning(f"cvm.{event.outcome}", **facts)  # noqa: G004 - the same
