"""structlog: for people on a terminal, JSON lines otherwise; always on stderr."""

import logging
import sys
from collections import Counter
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from orchestrator.audit.events import ENDED, Event
from orchestrator.audit.log import Observer
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.colour import is_coloured
from orchestrator.cvm import CvmRef
from orchestrator.outcome import TROUBLE, Outcome
from orchestrator.safe_text import safe_text
from orchestrator.settings.model import LogSection

_HEARD = frozenset(
    {
        Event.RUN_STARTED,
        Event.RUN_RESUMED,
        Event.RUN_INTERRUPTED,
        Event.RUN_FINISHED,
        Event.TARGET_SETTLED,
        Event.TARGET_FAILED,
        Event.ACTION_DEFERRED,
        Event.ACTION_UNKNOWN,
        Event.ACTION_ESCALATED,
        Event.STEP_PLANNED,
        Event.WAVE_SOAKING,
        Event.APPROVAL_ANSWERED,
        Event.NOTICE,
    }
)

_Target = tuple[str, str]
"""A step and a CVM's key."""


class _Stderr:
    """A stream to the current stderr: a live view replaces stderr for a while."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


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
    stream: Any = _Stderr()
    target: TextIO = stream
    structlog.configure(
        processors=[structlog.processors.add_log_level, stamp, _escape_text if console else _keep_text, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=target),
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


def _keep_text(logger: object, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the event unchanged; JSON does its own escaping."""
    del logger, name
    return event


def run_log(settings: LogSection, state: RunState) -> Observer:
    """Return an observer to log a run: failures and a line for every teepod on a terminal, else every CVM.

    Args:
        settings: the settings of the log.
        state: the replayed state of the run's log, updated with every record before this observer.
    """
    each = settings.cvms == "each" or (settings.cvms == "auto" and not sys.stderr.isatty())
    return log_record if each else _ByTeepod(state)


class _ByTeepod:
    """An observer to log failures, and every teepod once all of its CVMs have an outcome.

    A CVM counts with its last outcome: the final verification can change an outcome, and a later step can choose the
    CVM again.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._open: dict[str | None, set[_Target]] | None = None  # targets without an outcome, by teepod
        self._last: dict[str | None, dict[str, str]] = {}  # last outcome of each CVM, by teepod

    def __call__(self, record: Record) -> None:
        """Log a record, except for the many records of single CVMs."""
        event = record["event"]
        if event not in ENDED:
            if event == Event.STEP_PLANNED and self._open is not None:
                for entry in record["targets"]:
                    self._open_target(self._open, record["step"], CvmRef.of(entry["cvm"]))
            if event != Event.ACTION_ESCALATED:
                log_record(record)
            return
        if record["outcome"] in TROUBLE:
            log_record(record)
        self._close_target(record["step"], CvmRef.of(record["cvm"]), record["outcome"])

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
                structlog.get_logger().info("teepod.done", teepod=ref.teepod, **Counter(last.values()))
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
    event: str = record["event"]
    if event not in _HEARD or record.get("to_abandon"):
        return
    log = structlog.get_logger(**about)
    if event in ENDED:
        ref = CvmRef.of(record["cvm"])
        facts = {"cvm": ref.name, "id": ref.address, "teepod": ref.teepod, "seconds": record.get("seconds")}
        if event == Event.TARGET_SETTLED:
            log.info(f"cvm.{record['outcome']}", **facts)  # noqa: G004 - the outcome is the event's name
        else:
            facts |= {"reason": record.get("reason")}
            if record.get("request_id") is not None:
                facts["request_id"] = record["request_id"]
            log.warning(f"cvm.{record['outcome']}", **facts)  # noqa: G004 - the same
    elif event in {Event.RUN_STARTED, Event.RUN_RESUMED}:
        log.info(event, run_id=record["run_id"])
    elif event in {Event.RUN_INTERRUPTED, Event.RUN_FINISHED}:
        log.info(event, run_id=record["run_id"], exit_code=record.get("exit_code"), **record["counts"])
    elif event in {Event.APPROVAL_ANSWERED, Event.NOTICE}:
        said = ("step", "answer", "by", "via", "comment", "message")
        log.info(event, **{key: record[key] for key in said if record.get(key) is not None})
    elif event == Event.STEP_PLANNED:
        log.info(event, step=record["step"], action=record["action"], targets=len(record["targets"]))
    elif event == Event.WAVE_SOAKING:
        log.info(event, step=record["step"], wave=record["wave"], until=record["until"])
    else:
        _log_request(log, record)


def _log_request(log: Any, record: Record) -> None:  # noqa: ANN401 - whatever structlog gives
    """Log an escalation, a deferral or another unfinished request."""
    ref, reason = CvmRef.of(record["cvm"]), record["reason"]
    if record["event"] == Event.ACTION_ESCALATED:
        log.warning("cvm.escalated", cvm=ref.name, id=ref.address, teepod=ref.teepod, to=record["to"], reason=reason)
    elif record["event"] == Event.ACTION_DEFERRED:
        wait = record.get("retry_after_s")
        log.debug(f"{record['action']}.deferred", cvm=ref.name, wait=wait, reason=reason)  # noqa: G004 - the event's name
    else:
        log.debug(f"{record['action']}.unknown", cvm=ref.name, reason=reason)  # noqa: G004 - the same
