"""Notifications about a run: the notifier of the settings and the playbook, attached to the run's log."""

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import anyio

from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import new_run_id
from orchestrator.engine.result import RunResult
from orchestrator.errors import OrchestratorError
from orchestrator.notify.channels.channel import Channel
from orchestrator.notify.channels.registry import read_channels
from orchestrator.notify.delivery import DeliveryWorker
from orchestrator.notify.from_events import (
    make_test_notice,
    notice_of_log_failure,
    notice_of_refusal,
    notice_of_start,
)
from orchestrator.notify.notifier import Notifier, open_notifier
from orchestrator.notify.transport import WebhookTransport
from orchestrator.outcome import Ending
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.value_types import NoticeKind
from orchestrator.runs.session import RunObserver, Session
from orchestrator.runs.stores import find_actor
from orchestrator.settings.load import Settings
from orchestrator.settings.model import NotifySection
from orchestrator.times import timestamp, utc_now

_AFTER_A_SIGNAL = 1.0
"""Seconds to wait for notices after Ctrl-C."""


@asynccontextmanager
async def send_notices(session: Session, log: AuditLog, state: RunState) -> AsyncIterator[Notifier]:
    """Send notices about a run for the length of the block.

    Args:
        session: the session with the settings.
        log: the open audit log.
        state: the replayed state of the log, kept up to date by the log.
    """
    settings = session.settings.notify
    declared = state.started.notice_kinds
    kinds = settings.on if declared is None else declared
    async with _open_channels(settings, kinds, session.observer) as notifier:
        if notifier.has_recipients:
            notifier.send_notice(notice_of_start(state))
            log.observers.append(notifier.make_observer(state))
        yield notifier


async def finish_notices(
    notifier: Notifier, settings: NotifySection, state: RunState, result: RunResult | None
) -> None:
    """Wait a limited time for undelivered notices after the end of a run.

    Args:
        notifier: the notifier of the run.
        settings: the settings with the time limit.
        state: the replayed state of the log.
        result: the result of the run; None for a run left at once.
    """
    if result is not None and result.ending is Ending.LOG_FAILED:
        notifier.send_notice(notice_of_log_failure(state, result.error.message if result.error else ""))
    interrupted = result is None or result.ending in {Ending.SIGINT, Ending.SIGTERM}
    within = min(settings.drain, _AFTER_A_SIGNAL) if interrupted else settings.drain
    await notifier.finish_delivery(within)


async def notify_refusal(
    settings: Settings,
    loaded: LoadedPlaybook,
    error: OrchestratorError,
    cloud_url: str,
    observer: RunObserver,
    *,
    number: str | None = None,
    simulated: bool = False,
) -> None:
    """Send a notice about an unattended run refused at its start.

    Args:
        settings: the settings with the channels.
        loaded: the playbook.
        error: the reason.
        cloud_url: the address of the run's cloud.
        observer: receives a warning about every undelivered notice.
        number: the unique part of the notice's id; generated when None.
        simulated: whether the cloud is a simulated cloud.
    """
    on = loaded.playbook.notify.on
    now = utc_now()
    notice = notice_of_refusal(
        loaded.playbook.name,
        error.message,
        int(error.exit_code),
        number=number or new_run_id(now),
        at=timestamp(now),
        actor=find_actor(),
        cloud_url=cloud_url,
        simulated=simulated,
        workspace_name=settings.workspace_name,
    )
    async with _open_channels(settings.notify, settings.notify.on if on is None else on, observer) as notifier:
        notifier.send_notice(notice)
        await notifier.finish_delivery(settings.notify.drain)


async def send_test_notices(settings: Settings) -> dict[str, str]:
    """Send a notice marked as a test once through each usable channel.

    Returns:
        By channel, the reason for a failure; empty after success.
    """
    now = utc_now()
    notice = make_test_notice(
        number=new_run_id(now), at=timestamp(now), actor=find_actor(), cloud_url=settings.find_base_url()
    )
    problems: dict[str, str] = {}

    async def deliver(channel: Channel) -> None:
        """Send the notice through a channel, and record the result."""
        transport = WebhookTransport(channel, settings.notify.timeout)
        try:
            problems[channel.name] = (await transport(notice)).problem
        finally:
            await transport.aclose()

    async with anyio.create_task_group() as group:
        for channel in read_channels(settings.notify)[0]:
            group.start_soon(deliver, channel)
    return problems


@asynccontextmanager
async def _open_channels(
    settings: NotifySection, kinds: Collection[NoticeKind], observer: RunObserver
) -> AsyncIterator[Notifier]:
    """Open a notifier with a worker for every channel, for the length of the block."""
    warn = observer.on_warning
    channels, errors = read_channels(settings)
    for error in errors:
        warn("notice.lost", reason=str(error), hint=error.hint)
    now = anyio.current_time
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
