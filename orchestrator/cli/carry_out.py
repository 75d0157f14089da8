"""A run in front of people: signals, live view or plain lines, and the summary."""

import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import anyio
import click
import structlog

from orchestrator.cli.consoles import redraws, stderr_console, stdout_console
from orchestrator.cli.print_error import print_error
from orchestrator.engine.protocols import Approver
from orchestrator.engine.rate.gate import LONG_PAUSE
from orchestrator.engine.run import Run
from orchestrator.outcome import Ending, Exit
from orchestrator.report.run.live import Progress
from orchestrator.report.run.text import print_run
from orchestrator.runs.documents import run_document, write_document
from orchestrator.runs.execute import (
    Beside,
    carry_to_end,
    deliver_notices,
    describe_outage,
    explain_early_end,
    prepare_run,
    wait_for_answers,
)
from orchestrator.runs.outage_text import wait_text
from orchestrator.runs.session import Session
from orchestrator.runs.start import OpenRun

if TYPE_CHECKING:
    from rich.console import Console

_UNNOTICED_S = 1.5
"""Seconds of waiting for notices without an explanation."""
_ENDINGS = {signal.SIGINT: Ending.SIGINT, signal.SIGTERM: Ending.SIGTERM}


async def carry_out(session: Session, opened: OpenRun, *, as_json: bool) -> int:
    """Carry out a run, show its progress, and print its summary; returns the exit code.

    Args:
        session: the connection to the cloud.
        opened: the run; its log and its claim are closed before the return.
        as_json: whether stdout is for a JSON document.
    """
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        return await _carry_out(session, opened, as_json=as_json)
    except anyio.get_cancelled_exc_class():
        # The signal came before the receiver below was ready. The log has begun, so the user has to know the run.
        code = Exit.SIGTERM if getattr(on_sigterm, "was_called", False) else Exit.SIGINT
        _show_result(opened, code, as_json=as_json)
        return int(code)


def _show_result(opened: OpenRun, code: int, *, as_json: bool) -> None:
    if as_json:
        write_document(run_document(opened.state, code, opened.stored.location), partial(click.echo, nl=False))
    else:
        print_run(stdout_console(), opened.state, code, opened.stored.location)


async def _carry_out(session: Session, opened: OpenRun, *, as_json: bool) -> int:
    log, state = opened.log, opened.state
    progress = Progress(
        state,
        lambda: session.gate.budget.rate,
        lambda: session.gate.passed,
        adaptive=session.limits.adaptive,
    )
    asks = opened.has_questions
    run = prepare_run(session, opened, _choose_approver(session, opened, progress, as_json=as_json) if asks else None)
    progress.is_ending = lambda: run.is_ending
    progress.trouble = partial(find_trouble, run, session)
    signals = Signals(run.interrupt, progress)
    # Signals are handled until the end of the output, so that no signal can cut the output off.
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
        async with deliver_notices(session, log, state) as finish:
            beside: list[Beside] = [partial(signals.listen, received), *choose_display(progress, as_json=as_json)]
            if session.settings.store.url is not None:
                beside.append(partial(_obey_cancel, session, opened.log.run_id, run))
            result = await carry_to_end(session, opened, run, beside)
            code = int(result.exit_code) if result is not None else signals.exit_code
            _show_result(opened, code, as_json=as_json)
            error = explain_early_end(result, log, session.endpoint)
            if error is not None:
                print_error(error, as_json=False)
            if session.settings.notify.has_receivers:
                await _finish_unless(received, partial(finish, result))
    return code


async def _obey_cancel(session: Session, run_id: str, run: Run, _: anyio.CancelScope) -> None:
    """Cancel the run once another person of the team wishes so."""
    from orchestrator.runs.cancel_wish import obey_wish  # noqa: PLC0415 - only with a team store
    from orchestrator.runs.stores import team_store  # noqa: PLC0415 - the same

    await obey_wish(team_store(session.settings), run_id, run)


def _choose_approver(session: Session, opened: OpenRun, progress: Progress, *, as_json: bool) -> Approver:
    """Choose who answers questions: a person at the terminal, or `orchestrator approve`."""
    from orchestrator.cli.terminal_approval import approver_of  # noqa: PLC0415 - most runs ask nothing
    from orchestrator.cli.terminal_input import open_terminal  # noqa: PLC0415 - the same

    left = wait_for_answers(session, opened)
    return approver_of(left, opened.state, progress.aside, keys=None if as_json else open_terminal())


async def _finish_unless(received: AsyncIterator[signal.Signals], waiting: Callable[[], Awaitable[None]]) -> None:
    """Wait for the delivery of notices, until a signal cancels the wait."""
    async with anyio.create_task_group() as group:
        group.start_soon(_cancel_on_signal, received, group.cancel_scope)
        group.start_soon(_explain_wait)
        await waiting()
        group.cancel_scope.cancel()


async def _explain_wait() -> None:
    await anyio.sleep(_UNNOTICED_S)
    structlog.get_logger().info("notice.waiting", note="delivering notices of the run; Ctrl-C exits at once")


async def _cancel_on_signal(received: AsyncIterator[signal.Signals], waiting: anyio.CancelScope) -> None:
    async for number in received:
        if number is not signal.SIGHUP:
            waiting.cancel()


def find_trouble(run: Run, session: Session) -> str | None:
    """Return the reason why the run can't ask the API now."""
    if run.outage is not None:
        return describe_outage(session, run.outage)
    seconds = session.gate.paused_for
    return wait_text(seconds) if seconds >= LONG_PAUSE else None


class HasNote(Protocol):
    """A view of the progress with a notice for a person."""

    note: str | None


@dataclass
class Signals:
    """Signal handler: the first Ctrl-C or SIGTERM stops sending and sets the exit code; a second exits at once.

    Attributes:
        interrupt: ends the run, or all runs.
        progress: the view with a note for a person.
        exit_code: exit code of the command after a signal.
    """

    interrupt: Callable[[Ending], object]
    progress: HasNote
    exit_code: int = 128 + signal.SIGINT
    _seen: int = 0

    async def listen(self, received: AsyncIterator[signal.Signals], everything: anyio.CancelScope) -> None:
        """Handle signals until cancelled."""
        async for number in received:
            self._handle_signal(number, everything)

    def _handle_signal(self, number: signal.Signals, everything: anyio.CancelScope) -> None:
        if number is signal.SIGHUP:
            return  # The terminal is gone. The run continues, and the audit log records the result.
        self._seen += 1
        if self._seen > 1:
            everything.cancel()
            return
        self.exit_code = 128 + number
        self.interrupt(_ENDINGS[number])
        self.progress.note = "Sending nothing more; watching the sent requests. Press Ctrl-C again to exit at once."
        structlog.get_logger().warning("interrupting", note=self.progress.note)


class Display(Protocol):
    """A view of the progress, on a terminal or as plain lines."""

    async def live(self, console: "Console") -> None:
        """Show the view until cancelled."""

    async def plain(self, write: Callable[[str], None]) -> None:
        """Write a line every few seconds until cancelled."""


def choose_display(progress: Display, *, as_json: bool) -> list[Beside]:
    """Choose the display of a run: live on a terminal, plain lines to a pipe, nothing for `--json` in a pipe."""
    if redraws(sys.stderr):
        return [lambda _: progress.live(stderr_console())]
    return [] if as_json else [lambda _: progress.plain(click.echo)]
