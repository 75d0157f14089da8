"""Carrying a run out in front of people: signals, live view or plain lines, and the summary."""

import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import anyio
import click
import structlog

from orchestrator.audit.claims import Claim
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.cli.colour import redraws
from orchestrator.cli.consoles import stderr, stdout
from orchestrator.cli.print_error import report
from orchestrator.cli.terminal_input import terminal
from orchestrator.engine.job import Work
from orchestrator.engine.protocols import Approver
from orchestrator.engine.rate.breaker import Outage
from orchestrator.engine.rate.gate import LONG_PAUSE
from orchestrator.engine.read.status import Seen
from orchestrator.engine.result import Due, RunResult
from orchestrator.engine.run import Run
from orchestrator.engine.wave import SettleSettings
from orchestrator.errors import CloudError, OrchestratorError
from orchestrator.moment import parse_timestamp
from orchestrator.outcome import Ending
from orchestrator.playbook.resolved_steps import AnyPlanned
from orchestrator.report.run.live import Progress
from orchestrator.report.run.text import print_run
from orchestrator.runs.approval import approver_of
from orchestrator.runs.claims import RunClaim
from orchestrator.runs.documents import run_document, write_document
from orchestrator.runs.notifications import finish, finish_unless, notices
from orchestrator.runs.outage_text import outage_text, wait_text
from orchestrator.runs.session import Session

_LEAVES_DOUBT = frozenset({Ending.KEY_REFUSED, Ending.CLOUD_DOWN, Ending.TIMED_OUT, Ending.LOG_FAILED})
"""Endings after which a request may be without its answer."""

_ENDINGS = {signal.SIGINT: Ending.SIGINT, signal.SIGTERM: Ending.SIGTERM}


async def carry_out(
    session: Session,
    log: AuditLog,
    state: RunState,
    works: Sequence[Work],
    steps: Sequence[AnyPlanned],
    *,
    workspace_size: int,
    as_json: bool,
    claim: Claim,
    fresh: Mapping[str, Seen] | None = None,
) -> int:
    """Run, show how it goes, and say how it went.

    Args:
        session: the line to the cloud.
        log: the open audit log; closed before this returns.
        state: what it says, kept up to date by it.
        works: every target.
        steps: the steps in order.
        workspace_size: how many CVMs the list has.
        as_json: whether stdout is for one JSON document.
        claim: the run's claim on its CVMs; released once nothing more is sent.
        fresh: statuses that were read just now.
    """
    progress = Progress(
        state,
        lambda: session.gate.gcra.rate,
        lambda: session.gate.passed,
        adaptive=session.limits.adaptive,
    )
    approver = approver_of(log, state, progress.aside, keys=None if as_json else terminal())
    run = run_of(session, log, state, works, workspace_size, approver=approver, claim=claim)
    progress.is_ending = lambda: run.is_ending
    progress.trouble = partial(_trouble, run, session)
    signals = _Signals(run, progress)
    # Signals are taken until the last word is out, so that none of them can cut it off.
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
        async with notices(session, log, state) as notifier:
            beside = (partial(signals.listen, received), _show(progress, as_json=as_json))
            result = await to_its_end(session, log, run, steps, beside=beside, fresh=fresh, claim=claim)
            code = int(result.exit_code) if result is not None else signals.exit_code
            if as_json:
                write_document(run_document(state, code, log.path), partial(click.echo, nl=False))
            else:
                print_run(stdout(), state, code, log.path)
            error = why_early(result, log)
            if error is not None:
                report(error, as_json=False)
            await finish_unless(received, partial(finish, notifier, session.settings.notify, state, result))
    return code


def run_of(
    session: Session,
    log: AuditLog,
    state: RunState,
    works: Sequence[Work],
    workspace_size: int,
    *,
    approver: Approver | None = None,
    claim: Claim | None = None,
) -> Run:
    """A run that goes on from what its log says.

    Args:
        session: the line to the cloud.
        log: the open audit log.
        state: what it says, kept up to date by it.
        works: every target.
        workspace_size: how many CVMs the list has.
        approver: where questions are answered; by default nowhere but by `orchestrator approve`.
        claim: the run's claim on its CVMs.
    """
    return Run(
        works,
        cloud=session.cloud,
        sink=log,
        clock=session.clock,
        gate=session.gate,
        limits=session.limits,
        settle=_settle_of(session),
        rng=session.rng,
        workspace_size=workspace_size,
        requests=state.requests,
        passed=state.passed,
        refused=state.refused,
        approver=approver or approver_of(log, state),
        due=_due(session, state),
        left_alone=bool(state.left_alone),
        claim=None if claim is None else RunClaim(claim, session.settings.settle.recheck_after),
        on_outage=partial(_warn_of_outage, session),
        soaks={wave: parse_timestamp(until) for wave, until in state.soaks.items()},
    )


def _warn_of_outage(session: Session, outage: Outage | None) -> None:
    """Log that the API is down, or that it answers again."""
    log = structlog.get_logger()
    if outage is None:
        log.warning("api.up", note="The API answers again: the run goes on.")
    else:
        log.warning("api.down", note=_outage_text(session, outage))


def _outage_text(session: Session, outage: Outage) -> str:
    now = session.clock.now()
    return outage_text(outage.reason, outage.next_probe - now, outage.gives_up_at - now)


def _trouble(run: Run, session: Session) -> str | None:
    """What keeps the run from asking the API right now."""
    if run.outage is not None:
        return _outage_text(session, run.outage)
    seconds = session.gate.paused_for
    return wait_text(seconds) if seconds >= LONG_PAUSE else None


def _due(session: Session, state: RunState) -> Due | None:
    """By when every target is to be asked, measured from the run's own start, however often it was resumed."""
    deadline = state.planned.get("deadline")
    if deadline is None:
        return None
    since = (session.clock.wall() - parse_timestamp(state.started["ts"])).total_seconds()
    return Due(deadline["seconds"], session.clock.now() - since + deadline["seconds"])


Beside = Callable[[anyio.CancelScope], Coroutine[Any, Any, None]]
"""Something that goes on while a run does, and may leave the run at once by cancelling this scope."""


async def to_its_end(
    session: Session,
    log: AuditLog,
    run: Run,
    steps: Sequence[AnyPlanned],
    *,
    beside: Sequence[Beside] = (),
    fresh: Mapping[str, Seen] | None = None,
    claim: Claim,
) -> RunResult | None:
    """Carry a run out, keep what was learnt of the API, and close the log.

    Args:
        session: the line to the cloud.
        log: the open audit log.
        run: the run.
        steps: the steps in order.
        beside: what goes on meanwhile.
        fresh: statuses that were read just now.
        claim: the run's claim on its CVMs, released at the end.

    Returns:
        How it ended; None when it was left at once.
    """
    result: RunResult | None = None
    try:
        async with anyio.create_task_group() as group:
            for each in beside:
                group.start_soon(each, group.cancel_scope)
            run.take_in(fresh or {})
            result = await run(steps)
            group.cancel_scope.cancel()
    finally:
        log.close()
        claim.release(has_ended=result is not None and result.ending not in _LEAVES_DOUBT)
        session.remember(
            batch_size=run.reader.batch_size,
            batch_missing=run.reader.batch_missing,
            settle=run.ledger.settled_within,
        )
    return result


def _settle_of(session: Session) -> SettleSettings:
    """How the watch goes about it."""
    settle = session.settings.settle
    return SettleSettings(
        recheck_after=settle.recheck_after,
        poll_min=settle.poll_min,
        poll_max=settle.poll_max,
        batch_size=session.batch_size,
        batch_missing=session.batch_missing,
        cloud_down=settle.cloud_down,
        whole_run=settle.whole_run,
        look_again_after=session.settings.guards.recheck_after,
    )


def why_early(result: RunResult | None, log: AuditLog) -> OrchestratorError | None:
    """What a person has to put right before `resume` can go on."""
    if result is None:
        return None
    if result.ending is Ending.KEY_REFUSED:
        hint = f"check PHALA_CLOUD_API_KEY, then `orchestrator resume {log.run_id}`"
        return CloudError("the API refuses the key, so nothing more was sent", hint=hint)
    if result.ending in _WHY:
        return CloudError(_WHY[result.ending], hint=f"later: `orchestrator resume {log.run_id}`")
    return result.error


_WHY = {
    Ending.CLOUD_DOWN: "the API was down for too long (settle.cloud_down), so nothing more was sent",
    Ending.TIMED_OUT: "the run took too long (settle.whole_run), so nothing more was sent",
}


class _Signals:
    """The first Ctrl-C or SIGTERM sends nothing more and decides the exit code; a second one leaves at once."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self.exit_code = 128 + signal.SIGINT
        self._run, self._progress = run, progress
        self._seen = 0

    async def listen(self, received: AsyncIterator[signal.Signals], everything: anyio.CancelScope) -> None:
        """Take signals until cancelled."""
        async for number in received:
            self._take(number, everything)

    def _take(self, number: signal.Signals, everything: anyio.CancelScope) -> None:
        if number is signal.SIGHUP:
            return  # The terminal is gone. The run goes on, and the audit log says how it went.
        self._seen += 1
        if self._seen > 1:
            everything.cancel()
            return
        self.exit_code = 128 + number
        self._run.interrupt(_ENDINGS[number])
        self._progress.note = "Sending nothing more; watching what was sent. Press Ctrl-C again to leave at once."
        structlog.get_logger().warning("interrupting", note=self._progress.note)


def _show(progress: Progress, *, as_json: bool) -> Beside:
    """How to show a run: live on a terminal, in plain lines to a pipe, not at all beside a JSON document in a pipe."""

    async def live(_: anyio.CancelScope) -> None:
        await progress.live(stderr())

    async def plain(_: anyio.CancelScope) -> None:
        await progress.plain(click.echo)

    async def nothing(_: anyio.CancelScope) -> None:
        return

    if redraws(sys.stderr):
        return live
    return nothing if as_json else plain
