"""Delivery: retries, order, time limits, and warnings instead of errors."""

from random import Random
from typing import Any

import anyio
import pytest

from orchestrator.audit.replay import RunState
from orchestrator.notify.delivery import DeliveryWorker
from orchestrator.notify.notice import Notice
from orchestrator.notify.notifier import Notifier, open_notifier
from orchestrator.notify.retry import DeliveryResult, retry_delay
from orchestrator.playbook.value_types import NoticeKind

pytestmark = pytest.mark.anyio
TAKEN = DeliveryResult(200)
DOWN = DeliveryResult(503, problem="HTTP 503 Service Unavailable")
KINDS: tuple[NoticeKind, ...] = ("start", "end", "failure", "approval", "message")


def notice(number: int = 1, kind: NoticeKind = "start") -> Notice:
    return Notice(f"r-{number}", f"event.{number}", frozenset({kind}), "text")


class Recipient:
    """Answers as its script says, the last answer for good; an answer takes some time."""

    def __init__(self, *script: DeliveryResult | Exception, seconds: float = 0.0) -> None:
        self.script = list(script)
        self.seconds = seconds
        self.got: list[tuple[float, str]] = []
        self.warnings: list[dict[str, Any]] = []

    async def __call__(self, notice: Notice) -> DeliveryResult:
        self.got.append((round(anyio.current_time(), 1), notice.id))
        await anyio.sleep(self.seconds)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def warn(self, event: str, /, **facts: object) -> None:
        self.warnings.append({"event": event, **facts})

    def worker(self, retry_for: float = 600.0) -> DeliveryWorker:
        return DeliveryWorker(
            "webhook", self, retry_for=retry_for, now=anyio.current_time, rng=_Middle(), warn=self.warn
        )

    @property
    def ids(self) -> list[str]:
        return [each for _, each in self.got]

    @property
    def times(self) -> list[float]:
        return [at - self.got[0][0] for at, _ in self.got]


class _Middle(Random):
    """Jitter that changes nothing."""

    def random(self) -> float:
        return 0.5


async def run(recipient: Recipient, *notices: Notice, drain: float = 5.0) -> float:
    """Tell of these, then finish; returns how many seconds that took."""
    async with open_notifier([recipient.worker()], KINDS, recipient.warn) as notifier:
        for each in notices:
            notifier.send_notice(each)
        began = anyio.current_time()
        await notifier.finish_delivery(drain)
        return anyio.current_time() - began


async def test_notices_are_delivered_once_and_in_order() -> None:
    recipient = Recipient(TAKEN, seconds=0.2)
    assert await run(recipient, notice(1), notice(2), notice(3)) == pytest.approx(0.6)
    assert recipient.ids == ["r-1", "r-2", "r-3"]
    assert recipient.warnings == []


async def test_a_retryable_failure_is_retried_with_growing_waits() -> None:
    recipient = Recipient(*[DOWN] * 8, TAKEN)
    async with open_notifier([recipient.worker()], KINDS, recipient.warn) as notifier:
        notifier.send_notice(notice())
        await anyio.sleep(300)
    assert recipient.times == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert recipient.warnings == []


async def test_after_retry_for_a_notice_is_dropped_with_one_warning() -> None:
    recipient = Recipient(DOWN)
    async with open_notifier([recipient.worker(retry_for=100)], KINDS, recipient.warn) as notifier:
        notifier.send_notice(notice(1))
        notifier.send_notice(notice(2))
        await anyio.sleep(100)
        assert recipient.warnings == [
            {
                "event": "notice.undelivered",
                "to": "webhook",
                "notices": "event.1",
                "reason": "HTTP 503 Service Unavailable",
            }
        ]
        assert recipient.ids[-1] == "r-2"


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 410, 413])
async def test_a_final_status_is_not_retried(status: int) -> None:
    recipient = Recipient(DeliveryResult(status, problem=f"HTTP {status}"))
    assert await run(recipient, notice()) == 0
    assert len(recipient.got) == 1
    assert recipient.warnings[0]["reason"] == f"HTTP {status}"


@pytest.mark.parametrize("status", [None, 408, 425, 429, 500, 502, 503, 504])
def test_no_answer_and_transient_statuses_are_retried(status: int | None) -> None:
    assert retry_delay(DeliveryResult(status), 1, 0.5) == 1


def test_jitter_spreads_waits_and_never_shortens_retry_after() -> None:
    waits = [retry_delay(DOWN, 3, jitter) or 0 for jitter in (0.0, 1.0)]
    assert waits == [3, 5]
    asked = [retry_delay(DeliveryResult(429, retry_after=7.0), 3, jitter) or 0 for jitter in (0.0, 1.0)]
    assert asked == pytest.approx([7, 7.7])
    assert retry_delay(DeliveryResult(429, retry_after=0.0), 3, 0.5) == 4, "nor does a wait of nothing"


async def test_retry_after_also_delays_the_next_notice() -> None:
    recipient = Recipient(DeliveryResult(429, retry_after=40.0), TAKEN)
    async with open_notifier([recipient.worker(retry_for=30)], KINDS, recipient.warn) as notifier:
        notifier.send_notice(notice(1))
        await anyio.sleep(20)
        notifier.send_notice(notice(2))
        await anyio.sleep(100)
    assert recipient.ids == ["r-1", "r-2"]
    assert recipient.times == pytest.approx([0, 42])


async def test_a_hanging_recipient_costs_a_bounded_wait_and_one_warning() -> None:
    recipient = Recipient(TAKEN, seconds=10_000)
    assert await run(recipient, notice(1), notice(2), drain=5) == 5
    assert recipient.warnings == [
        {
            "event": "notice.undelivered",
            "to": "webhook",
            "notices": "event.1 event.2",
            "reason": "the run ended before delivery",
        }
    ]


async def test_the_end_of_the_run_cuts_a_backoff_short() -> None:
    recipient = Recipient(*[DOWN] * 7, TAKEN)
    async with open_notifier([recipient.worker()], KINDS, recipient.warn) as notifier:
        notifier.send_notice(notice(1))
        await anyio.sleep(70)  # tried at 63, to be tried again at 123
        notifier.send_notice(notice(2))
        await notifier.finish_delivery(5)
    assert recipient.times == [0, 1, 3, 7, 15, 31, 63, 70, 70]
    assert recipient.ids[-1] == "r-2"
    assert recipient.warnings == []


async def test_at_the_end_attempts_are_a_second_apart() -> None:
    recipient = Recipient(DOWN, DOWN, DOWN, TAKEN)
    assert await run(recipient, notice(), drain=5) == 3
    assert recipient.warnings == []


async def test_at_the_end_a_long_retry_after_is_not_waited_for() -> None:
    recipient = Recipient(DeliveryResult(429, retry_after=60.0, problem="HTTP 429"))
    assert await run(recipient, notice(1), notice(2), drain=5) == 0
    assert len(recipient.got) == 1
    assert [each["notices"] for each in recipient.warnings] == ["event.1", "event.2"]


async def test_at_the_end_a_short_retry_after_is_kept() -> None:
    recipient = Recipient(DeliveryResult(429, retry_after=3.0, problem="HTTP 429"), TAKEN)
    assert await run(recipient, notice(), drain=5) == pytest.approx(3.15)
    assert recipient.warnings == []


async def test_a_full_queue_drops_the_oldest_notice() -> None:
    recipient = Recipient(TAKEN)
    await run(recipient, *(notice(number) for number in range(103)))
    assert recipient.ids == [f"r-{number}" for number in range(3, 103)]
    assert [each["notices"] for each in recipient.warnings] == ["event.0", "event.1", "event.2"]


async def test_a_hanging_recipient_does_not_delay_another() -> None:
    slow, quick = Recipient(TAKEN, seconds=10_000), Recipient(TAKEN)
    async with open_notifier([slow.worker(), quick.worker()], KINDS, slow.warn) as notifier:
        notifier.send_notice(notice())
        await anyio.sleep(0.1)
        assert quick.ids == ["r-1"]


async def test_an_internal_error_in_delivery_does_not_end_the_worker() -> None:
    recipient = Recipient(RuntimeError("oh"), TAKEN)
    await run(recipient, notice(1), notice(2))
    assert recipient.ids == ["r-1", "r-2"]
    assert recipient.warnings[0]["reason"] == "internal error: RuntimeError"


async def test_only_selected_kinds_are_sent() -> None:
    recipient = Recipient(TAKEN)
    async with open_notifier([recipient.worker()], ("end", "failure"), recipient.warn) as notifier:
        for number, kind in enumerate(KINDS):
            notifier.send_notice(notice(number, kind))
        await notifier.finish_delivery(1)
    assert recipient.ids == ["r-1", "r-2"]


async def test_an_invalid_record_is_a_warning_not_an_exception() -> None:
    recipient = Recipient(TAKEN)
    observe = Notifier([], KINDS, recipient.warn).make_observer(RunState())
    observe({"event": "run.finished"})
    assert recipient.warnings == [
        {"event": "notice.lost", "notices": "run.finished", "reason": "internal error: KeyError"}
    ]


async def test_an_exception_of_the_block_is_raised_unchanged() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_notifier([Recipient(TAKEN).worker()], KINDS, Recipient(TAKEN).warn):
            raise ZeroDivisionError
