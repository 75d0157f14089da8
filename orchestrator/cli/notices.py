"""Telling others how a run goes: the notifier that the settings and the playbook ask for, hung into a run."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from signal import Signals

import anyio
import structlog

from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.cli.session import Session
from orchestrator.engine.run import RunResult
from orchestrator.notify.courier import Courier
from orchestrator.notify.messages import slack_body, webhook_body
from orchestrator.notify.notice import cut_off, opening
from orchestrator.notify.notifier import Notifier, notifying
from orchestrator.notify.post import WebhookPost
from orchestrator.notify.recipients import Recipient
from orchestrator.notify.signature import headers
from orchestrator.outcome import Ending

_AFTER_A_SIGNAL = 1.0
"""Seconds; whoever pressed Ctrl-C does not want to wait for much."""


@asynccontextmanager
async def notices(session: Session, log: AuditLog, state: RunState) -> AsyncIterator[Notifier]:
    """A notifier that tells of this run for as long as the block lasts.

    Args:
        session: with the settings, and whom they name.
        log: the open audit log.
        state: what it says, kept up to date by it.
    """
    settings = session.settings.notify
    kinds = state.started.get("notify", {}).get("on", settings.on)
    warn = structlog.get_logger().warning
    async with AsyncExitStack() as stack:
        couriers = []
        for recipient in session.recipients:
            post = _post(recipient, settings.timeout)
            stack.push_async_callback(post.aclose)
            couriers.append(
                Courier(
                    recipient.name,
                    post,
                    retry_for=settings.retry_for,
                    now=session.clock.now,
                    rng=session.rng,
                    warn=warn,
                )
            )
        notifier = await stack.enter_async_context(notifying(couriers, kinds, warn))
        if couriers:
            notifier.tell(opening(state))
            log.observers.append(notifier.observing(state))
        yield notifier


async def last_words(
    notifier: Notifier,
    session: Session,
    state: RunState,
    result: RunResult | None,
    received: AsyncIterator[Signals],
    *,
    interrupted: bool,
) -> None:
    """Wait a little for what is not yet delivered; a signal ends the wait.

    Args:
        notifier: of the run.
        session: with the settings.
        state: what the log says.
        result: how the run ended; None when it was left at once.
        received: the signals.
        interrupted: whether a signal ended the run.
    """
    if result is not None and result.ending is Ending.LOG_FAILED:
        notifier.tell(cut_off(state, result.error.message if result.error else ""))
    drain = session.settings.notify.drain
    async with anyio.create_task_group() as group:
        group.start_soon(_until_a_signal, received, group.cancel_scope)
        await notifier.finish(min(drain, _AFTER_A_SIGNAL) if interrupted else drain)
        group.cancel_scope.cancel()


async def _until_a_signal(received: AsyncIterator[Signals], waiting: anyio.CancelScope) -> None:
    async for number in received:
        if number is not Signals.SIGHUP:
            waiting.cancel()


def _post(recipient: Recipient, timeout: float) -> WebhookPost:
    if recipient.name == "slack":
        return WebhookPost(recipient.url, slack_body, lambda *_: {}, timeout)
    head = partial(_head, secret=recipient.secret)
    return WebhookPost(recipient.url, webhook_body, head, timeout)


def _head(notice_id: str, body: bytes, *, secret: str | None) -> dict[str, str]:
    return headers(notice_id, body, at=int(time.time()), secret=secret)
