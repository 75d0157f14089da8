"""What happened to every target: written to the audit trail first, then taken into the engine's own account."""

from collections import Counter
from collections.abc import Iterable, Sequence

from orchestrator.action import Action
from orchestrator.engine.job import Job
from orchestrator.engine.protocols import AuditSink, Clock
from orchestrator.moment import timestamp
from orchestrator.outcome import COUNTS_AS_FAILURE, Outcome
from orchestrator.playbook.resolved_steps import PlannedStep
from orchestrator.reply import Reply, StatusRead
from orchestrator.run_bill import BilledTarget, run_bill
from orchestrator.skip_reason import Reason, SkipReason


class Ledger:
    """Writes the records of a run's targets, and counts how they end.

    Attributes:
        jobs: every target of the run.
        counts: how many ended in each way, by the last word on each.
        sent: how many actions were announced.
        requests: how many requests they were sent in.
    """

    def __init__(self, jobs: Iterable[Job], sink: AuditSink, clock: Clock, requests: int = 0) -> None:
        self.jobs = list(jobs)
        self.counts: Counter[Outcome] = Counter(
            work.outcome for work in self.jobs if work.outcome and not work.taken_up
        )
        self.sent = sum(work.attempts for work in self.jobs)
        self.requests = requests
        self._sink = sink
        self._clock = clock

    @property
    def failures(self) -> int:
        """How many targets ended in a way that `max_failures` counts."""
        return sum(self.counts[outcome] for outcome in COUNTS_AS_FAILURE)

    def failures_of(self, step: str) -> int:
        """The same among the targets of one step."""
        return sum(work.step == step and work.outcome in COUNTS_AS_FAILURE for work in self.jobs)

    @property
    def settled_within(self) -> dict[str, float]:
        """By action: within how many seconds of their first request nine in ten of those that settled had done so."""
        seconds: dict[str, list[float]] = {}
        for work in self.jobs:
            if work.outcome is Outcome.SETTLED and work.seconds is not None and work.escalated_at is None:
                seconds.setdefault(work.action.value, []).append(work.seconds)
        return {action: sorted(found)[(9 * len(found) - 1) // 10] for action, found in seconds.items()}

    async def flush(self) -> None:
        """Return once everything written so far is durable."""
        await self._sink.flush()

    def intend(self, jobs: Sequence[Job]) -> None:
        """A request for these is about to be sent: one record each, which tell by a number that they share it."""
        self.requests += 1
        now = self._clock.now()
        for work in jobs:
            work.attempts += 1
            work.first_sent = now if work.first_sent is None else work.first_sent
            work.asked_since = now if work.asked_since is None else work.asked_since
            work.batch = self.requests if len(jobs) > 1 else None
            self._write("action.intent", work, attempt=work.attempts)
        self.sent += len(jobs)

    def accepted(self, work: Job, reply: Reply[object] | None, status: str | None = None) -> None:
        """An action took effect: by its answer, or (without one) as a status read showed."""
        work.accepted_at, work.billed = self._clock.now(), True
        fields: dict[str, object] = {"attempt": work.attempts, "observed": reply is None}
        if reply is not None:
            fields |= _answer(reply)
        if status is not None:
            fields["status"] = work.status = status
        fields["billing"] = work.note.document(timestamp(self._clock.wall()))
        self._write("action.accepted", work, **fields)

    def answered(self, event: str, work: Job, reply: Reply[object], reason: str, **fields: object) -> None:
        """A request was refused, deferred, failed, or its outcome is unknown."""
        self._write(event, work, attempt=work.attempts, reason=reason or None, **_answer(reply), **fields)

    def not_sent(self, work: Job, reason: str) -> None:
        """A request that was announced is not sent after all, so it had no effect."""
        self._write("action.deferred", work, attempt=work.attempts, retry_after_s=None, sent=False, reason=reason)

    def record_unanswered(self, work: Job, reason: str = "the run was stopped before the answer came") -> None:
        """A request was sent, and its answer is not waited for any more."""
        work.unanswered = False
        self._write("action.unknown", work, attempt=work.attempts, reason=reason)

    def status(self, work: Job, read: StatusRead) -> None:
        """A status was seen; it is written down when it is another than before."""
        if read.status != work.status:
            work.status = read.status
            self._write("target.status", work, status=read.status, in_progress=read.in_progress)

    def left_alone(self, work: Job, outcome: Outcome, why: Reason) -> None:
        """A target has its outcome without a request."""
        self.ended(work, outcome, why.text, code=why.code)

    def withheld(self, work: Job, why: Reason) -> None:
        """A target ends because nothing more may be sent for it."""
        if work.billed:  # its shutdown was accepted, and the stop that was to follow may not go out
            self.ended(work, Outcome.UNSETTLED, why.text, code=why.code)
        else:
            self.left_alone(work, Outcome.NOT_SENT, why)

    def ended(
        self,
        work: Job,
        outcome: Outcome,
        reason: str | None = None,
        reply: Reply[object] | None = None,
        code: SkipReason | None = None,
    ) -> None:
        """A target has its outcome; a later one (`resurrected`) takes the place of an earlier one."""
        if work.outcome is not None:
            self.counts[work.outcome] -= 1
        work.outcome = outcome
        self.counts[outcome] += 1
        event = "target.settled" if outcome in {Outcome.SETTLED, Outcome.GONE} else "target.failed"
        fields = _answer(reply) if reply is not None else {}
        if code is not None:
            fields["code"] = code.value
        seconds = None if work.first_sent is None else round(self._clock.now() - work.first_sent, 3)
        work.seconds = seconds
        self._write(event, work, outcome=outcome.value, status=work.status, seconds=seconds, reason=reason, **fields)

    def escalated(self, work: Job, reason: str) -> None:
        """A CVM did not go down by itself: its power is to be pulled."""
        self._write("action.escalated", work, to=Action.STOP.value, reason=reason)
        work.escalate(self._clock.now())

    def taken_up(self, step: PlannedStep, sources: Sequence[Job], jobs: Sequence[Job]) -> None:
        """A step takes up what became of these targets of an earlier one, as targets of its own."""
        targets = [
            {
                "step": work.step,
                "action": work.action.value,
                "cvm": work.document,
                "status": work.before,
                "billing": work.note.fields(),
                "wave": work.wave,
            }
            for work in jobs
        ]
        self._sink.record("step.planned", step=step.name, action=step.action.value, targets=targets)
        for work in sources:
            work.taken_up = True
            if work.outcome is not None:
                self.counts[work.outcome] -= 1
        self.jobs += jobs

    def about_step(self, event: str, step: str, **fields: object) -> None:
        """A record about a step as a whole."""
        self._sink.record(event, step=step, **fields)

    def run_event(self, event: str, **fields: object) -> None:
        """A record about the run as a whole, with its counts and money."""
        counts = {outcome.value: number for outcome, number in self.counts.items() if number}
        self._sink.record(event, counts=counts, money=self._money(), requests=self.requests, **fields)

    def _money(self) -> dict[str, object]:
        """What `RunState.money` reads out of the log."""
        return run_bill(
            BilledTarget(
                work.ref.key,
                work.action,
                work.outcome,
                work.status,
                billed=work.billed,
                charges=work.note.triggered is not False or work.action.leaves_running,
                compute=work.note.rates.compute,
                storage=work.note.rates.storage,
            )
            for work in self.jobs
        )

    def _write(self, event: str, work: Job, **fields: object) -> None:
        if work.batch is not None and event.startswith("action."):
            fields["batch"] = work.batch
        self._sink.record(event, step=work.step, action=work.action.value, cvm=work.document, **fields)


def _answer(reply: Reply[object]) -> dict[str, object]:
    return {
        "http_status": reply.http_status,
        "request_id": reply.request_id,
        "latency_ms": reply.latency_ms,
    }
