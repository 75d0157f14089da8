"""Notices of a run: the kinds of notices, and the wait for undelivered notices; on virtual time."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from orchestrator.engine.result import RunResult
from orchestrator.errors import AuditError, GuardError
from orchestrator.notify.delivery import DeliveryWorker
from orchestrator.notify.notice import Notice
from orchestrator.notify.notifier import Notifier
from orchestrator.outcome import Ending, Exit
from orchestrator.runs.notifications import finish_notices, notify_refusal, send_notices
from orchestrator.runs.session import RunObserver
from orchestrator.settings.load import Settings
from orchestrator.settings.model import NotifySection
from tests.engine.fakes import FakeCloud
from tests.logs import build_records, replay
from tests.runs.sessions import request_of, session_of
from tests.runs.test_start import start

pytestmark = pytest.mark.anyio
DRAIN = 5.0
COMPLETED = RunResult(Ending.COMPLETED, Exit.OK)
BROKEN = NotifySection(webhook_url_file=Path("/nonexistent/url"))


class Channel(DeliveryWorker):
    """A channel without answers: collects notices, and waits as long as allowed."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def queue_notice(self, notice: Notice) -> None:
        self.notices.append(notice)

    async def finish_delivery(self, within: float) -> None:
        await anyio.sleep(within)


class Warned(RunObserver):
    """Collects warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def on_warning(self, event: str, /, **facts: object) -> None:
        del facts
        self.warnings.append(event)


async def finish(result: RunResult | None, drain: float = DRAIN) -> tuple[float, list[str]]:
    """Wait for notices; return the seconds, and the sent notices."""
    channel, began = Channel(), anyio.current_time()
    notifier = Notifier([channel], NotifySection().on, lambda *_args, **_facts: None)
    state = replay(build_records())
    await finish_notices(notifier, NotifySection(drain=drain), state, result)
    return anyio.current_time() - began, [notice.event for notice in channel.notices]


@pytest.mark.parametrize(
    ("result", "seconds"),
    [
        (COMPLETED, DRAIN),
        (RunResult(Ending.SIGINT, Exit.SIGINT), 1.0),
        (RunResult(Ending.SIGTERM, Exit.SIGTERM), 1.0),
        (None, 1.0),
    ],
)
async def test_a_run_waits_for_its_notices_but_only_a_second_after_a_signal(
    result: RunResult | None, seconds: float
) -> None:
    assert await finish(result) == (seconds, [])


async def test_a_short_limit_also_holds_after_a_signal() -> None:
    assert (await finish(RunResult(Ending.SIGINT, Exit.SIGINT), drain=0.2))[0] == pytest.approx(0.2)


async def test_a_failed_log_is_reported_by_a_notice() -> None:
    failed = RunResult(Ending.LOG_FAILED, Exit.ENDED_EARLY, AuditError("disk full"))
    assert len((await finish(failed))[1]) == 1


async def test_without_channels_the_log_gets_no_observer(tmp_path: Path) -> None:
    session = session_of(FakeCloud(1), tmp_path)
    opened = await start(session)
    before = list(opened.log.observers)
    async with send_notices(session, opened.log, opened.state) as notifier:
        assert not notifier.has_recipients
        assert opened.log.observers == before


async def test_an_unusable_channel_is_a_warning_and_never_an_error(tmp_path: Path) -> None:
    observer = Warned()
    session = session_of(FakeCloud(1), tmp_path, observer)
    session = replace(session, settings=Settings(notify=BROKEN, audit=session.settings.audit))
    opened = await start(session)
    async with send_notices(session, opened.log, opened.state):
        pass
    loaded = request_of().loaded
    await notify_refusal(session.settings, loaded, GuardError("no"), "https://cloud.example", observer)
    assert observer.warnings == ["notice.lost", "notice.lost"]
