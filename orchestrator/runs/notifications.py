"""Telling others how a run goes: the notifier that the settings and the playbook ask for, hung into a run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from signal import Signals

import anyio
import structlog

from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import new_run_id
from orchestrator.engine.result import RunResult
from orchestrator.errors import OrchestratorError
from orchestrator.moment import timestamp, utc_now
from orchestrator.notify.channels.registry import read_channels
from orchestrator.notify.delivery import DeliveryWorker
from orchestrator.notify.from_events import notice_of_log_failure, notice_of_refusal, notice_of_start
from orchestrator.notify.notifier import Notifier, open_notifier
from orchestrator.notify.transport import WebhookTransport
from orchestrator.outcome import Ending
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.value_types import NoticeKind
from orchestrator.runs.actor import actor
from orchestrator.runs.session import Session
from orchestrator.settings.load import Settings
from orchestrator.settings.model import Notify

_AFTER_A_SIGNAL = 1.0
"""Seconds; whoever pressed Ctrl-C does not want to wait for much."""
_UNNOTICED = 1.5
"""Seconds; who waits for longer is told what for."""


@asynccontextmanager
async def notices(session: Session, log: AuditLog, state: RunState) -> AsyncIterator[Notifier]:
    """A notifier that tells of this run for as long as the block lasts.

    Args:
        session: with the settings.
        log: the open audit log.
        state: what it says, kept up to date by it.
    """
    settings = session.settings.notify
    kinds = state.started.get("notify", {}).get("on", settings.on)
    async with _open_channels(settings, kinds) as notifier:
        if notifier.has_recipients:
            notifier.send_notice(notice_of_start(state))
            log.observers.append(notifier.make_observer(state))
        yield notifier


async def finish(notifier: Notifier, settings: Notify, state: RunState, result: RunResult | None) -> None:
    """Wait a little for what is not yet delivered, once a run is over.

    Args:
        notifier: of the run.
        settings: how long.
        state: what the log says.
        result: how the run ended; None when it was left at once.
    """
    if result is not None and result.ending is Ending.LOG_FAILED:
        notifier.send_notice(notice_of_log_failure(state, result.error.message if result.error else ""))
    interrupted = result is None or result.ending in {Ending.SIGINT, Ending.SIGTERM}
    within = min(settings.drain, _AFTER_A_SIGNAL) if interrupted else settings.drain
    await notifier.finish_delivery(within)


async def finish_unless(received: AsyncIterator[Signals], waiting: Callable[[], Awaitable[None]]) -> None:
    """Wait for the end of something, or for a signal that says not to.

    Args:
        received: the signals.
        waiting: what to wait for.
    """
    async with anyio.create_task_group() as group:
        group.start_soon(_until_a_signal, received, group.cancel_scope)
        group.start_soon(_say_what_it_waits_for)
        await waiting()
        group.cancel_scope.cancel()


async def tell_refused(
    settings: Settings,
    loaded: LoadedPlaybook,
    error: OrchestratorError,
    cloud_url: str,
    *,
    number: str | None = None,
    simulated: bool = False,
) -> None:
    """Tell that a run which nobody watches did not begin.

    Args:
        settings: with whom to tell.
        loaded: the playbook.
        error: why.
        cloud_url: where the run was to be.
        number: what makes the notice's id one of its own; made up when None.
        simulated: whether that was a simulation.
    """
    on = loaded.playbook.notify.on
    now = utc_now()
    notice = notice_of_refusal(
        loaded.playbook.name,
        error.message,
        int(error.exit_code),
        number=number or new_run_id(now),
        at=timestamp(now),
        actor=actor(),
        cloud_url=cloud_url,
        simulated=simulated,
    )
    async with _open_channels(settings.notify, settings.notify.on if on is None else on) as notifier:
        notifier.send_notice(notice)
        await notifier.finish_delivery(settings.notify.drain)


@asynccontextmanager
async def _open_channels(settings: Notify, kinds: Collection[NoticeKind]) -> AsyncIterator[Notifier]:
    """Open a notifier with a worker for each channel, for the length of the block."""
    warn = structlog.get_logger().warning
    channels, errors = read_channels(settings)
    for error in errors:
        warn("notice.lost", reason=str(error), hint=error.hint)
    now = asyncio.get_running_loop().time
    async with AsyncExitStack() as stack:
        workers = []
        for channel in channels:
            transport = WebhookTransport(channel, settings.timeout)
            stack.push_async_callback(transport.aclose)
            rng = Random()  # noqa: S311 - jitter, not secrets
            workers.append(
                DeliveryWorker(channel.name, transport, retry_for=settings.retry_for, now=now, rng=rng, warn=warn)
            )
        yield await stack.enter_async_context(open_notifier(workers, kinds, warn))


async def _say_what_it_waits_for() -> None:
    await anyio.sleep(_UNNOTICED)
    structlog.get_logger().info("notice.waiting", note="for those who are told of the run; Ctrl-C leaves at once")


async def _until_a_signal(received: AsyncIterator[Signals], waiting: anyio.CancelScope) -> None:
    async for number in received:
        if number is not Signals.SIGHUP:
            waiting.cancel()
