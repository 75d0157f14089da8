"""Ledger of a run: audit records, states and counts of its targets."""

from collections import Counter
from collections.abc import Iterable, Sequence

from orchestrator.audit.events import Event
from orchestrator.engine.job import Job, RequestPhase
from orchestrator.engine.protocols import AuditSink, Clock
from orchestrator.outcome import COUNTS_AS_FAILURE, Outcome, Reason, SkipReason
from orchestrator.playbook.resolved_steps import PlannedStep
from orchestrator.reply import Reply, StatusRead
from orchestrator.run_bill import BilledTarget, charges_nothing, run_bill
from orchestrator.times import timestamp


class Ledger:
    """Writes the records of a run's targets, and counts their outcomes.

    Attributes:
        jobs: every target of the run.
        counts: the number of targets by final outcome.
        sent: the number of announced actions.
        requests: the number of requests for these actions.
    """

    def __init__(self, jobs: Iterable[Job], sink: AuditSink, clock: Clock, requests: int = 0) -> None:
        self.jobs = list(jobs)
        self.counts: Counter[Outcome] = Counter(
            job.outcome for job in self.jobs if job.outcome and not job.is_superseded
        )
        self.sent = sum(job.attempts for job in self.jobs)
        self.requests = requests
        self._sink = sink
        self._clock = clock

    @property
    def failure_count(self) -> int:
        """Number of targets with an outcome counted by `max_failures`."""
        return sum(self.counts[outcome] for outcome in COUNTS_AS_FAILURE)

    def failure_count_of(self, step: str) -> int:
        """Number of failures among the targets of a step."""
        return sum(job.step == step and job.outcome in COUNTS_AS_FAILURE for job in self.jobs)

    @property
    def settled_within(self) -> dict[str, float]:
        """Seconds by action within which nine in ten settled targets settled after their first request."""
        seconds: dict[str, list[float]] = {}
        for job in self.jobs:
            if job.outcome is Outcome.SETTLED and job.seconds is not None and job.escalated_at is None:
                seconds.setdefault(job.action.value, []).append(job.seconds)
        return {action: sorted(found)[(9 * len(found) - 1) // 10] for action, found in seconds.items()}

    async def flush(self) -> None:
        """Return once all records so far are durable."""
        await self._sink.flush()

    def record_intent(self, jobs: Sequence[Job]) -> None:
        """Record the intent of a request, with a record for every target; a shared request has a batch number."""
        self.requests += 1
        now = self._clock.now()
        for job in jobs:
            job.attempts += 1
            job.times_before = job.first_sent, job.announced_at
            job.first_sent = now if job.first_sent is None else job.first_sent
            job.announced_at = now if job.announced_at is None else job.announced_at
            job.batch = self.requests if len(jobs) > 1 else None
            self._write_record(Event.ACTION_INTENT, job, attempt=job.attempts)
        self.sent += len(jobs)

    def record_acceptance(self, job: Job, reply: Reply[object] | None, status: str | None = None) -> None:
        """Record the effect of an action, shown by its reply, or by a status if `reply` is None."""
        job.mark_accepted(self._clock.now())
        fields: dict[str, object] = {"attempt": job.attempts, "observed": reply is None}
        if reply is not None:
            fields |= _reply_fields(reply)
        if status is not None:
            fields["status"] = job.status = status
        fields["billing"] = job.note.document(timestamp(self._clock.wall()))
        self._write_record(Event.ACTION_ACCEPTED, job, **fields)

    def record_reply(self, event: str, job: Job, reply: Reply[object], reason: str, **fields: object) -> None:
        """Record the reply to a request: refused, deferred, failed or unknown."""
        self._write_record(event, job, attempt=job.attempts, reason=reason or None, **_reply_fields(reply), **fields)

    def record_not_sent(self, job: Job, reason: str) -> None:
        """Record an announced request as not sent, so without effect."""
        self._write_record(
            Event.ACTION_DEFERRED, job, attempt=job.attempts, retry_after_s=None, sent=False, reason=reason
        )

    def record_not_permitted(self, job: Job, reason: str) -> None:
        """Record an announced request as refused by the permit: the target's times do not count from this request."""
        self.record_not_sent(job, reason)
        job.first_sent, job.announced_at = job.times_before

    def record_unanswered(self, job: Job, reason: str = "the run was stopped before the answer came") -> None:
        """Record a sent request as unanswered: the run no longer waits for the answer."""
        if job.phase is RequestPhase.UNANSWERED:
            job.phase = RequestPhase.IN_DOUBT
        self._write_record(Event.ACTION_UNKNOWN, job, attempt=job.attempts, reason=reason)

    def record_status(self, job: Job, read: StatusRead) -> None:
        """Record a status if the status has changed."""
        if read.status != job.status:
            job.status = read.status
            self._write_record(Event.TARGET_STATUS, job, status=read.status, in_progress=read.in_progress)

    def record_unsent(self, job: Job, outcome: Outcome, why: Reason) -> None:
        """Record the outcome of a target without a request."""
        self.record_outcome(job, outcome, why.text, code=why.code)

    def end_withheld(self, job: Job, why: Reason) -> None:
        """End a target because no more requests may be sent for this target."""
        if job.billed:  # the shutdown was accepted, and the planned stop may not be sent
            self.record_outcome(job, Outcome.UNSETTLED, why.text, code=why.code)
        else:
            self.record_unsent(job, Outcome.NOT_SENT, why)

    def record_outcome(
        self,
        job: Job,
        outcome: Outcome,
        reason: str | None = None,
        reply: Reply[object] | None = None,
        code: SkipReason | None = None,
    ) -> None:
        """Record the outcome of a target; a later outcome (`resurrected`) replaces the earlier outcome."""
        if job.outcome is not None:
            self.counts[job.outcome] -= 1
        job.outcome = outcome
        self.counts[outcome] += 1
        event = Event.TARGET_SETTLED if outcome in {Outcome.SETTLED, Outcome.GONE} else Event.TARGET_FAILED
        fields = _reply_fields(reply) if reply is not None else {}
        if code is not None:
            fields["code"] = code.value
        seconds = None if job.first_sent is None else round(self._clock.now() - job.first_sent, 3)
        job.seconds = seconds
        self._write_record(
            event, job, outcome=outcome.value, status=job.status, seconds=seconds, reason=reason, **fields
        )

    def record_escalation(self, job: Job, reason: str) -> None:
        """Record an escalation: the CVM did not go down by itself and is to be stopped."""
        stronger = job.action.spec.escalates_to or job.action
        self._write_record(Event.ACTION_ESCALATED, job, to=stronger.value, reason=reason)
        job.switch_action(self._clock.now())

    def record_follow_up(self, step: PlannedStep, sources: Sequence[Job], jobs: Sequence[Job]) -> None:
        """Record a follow-up step: targets of an earlier step become targets of this step."""
        targets = [
            {
                "step": job.step,
                "action": job.action.value,
                "cvm": job.document,
                "status": job.before,
                "billing": job.note.plan_fields(),
                "wave": job.wave,
            }
            for job in jobs
        ]
        self._sink.record(Event.STEP_PLANNED, step=step.name, action=step.action.value, targets=targets)
        for job in sources:
            job.is_superseded = True
            if job.outcome is not None:
                self.counts[job.outcome] -= 1
        self.jobs += jobs

    def record_operations(self, job: Job, correlation_ids: Sequence[str]) -> None:
        """Record the operations of a target's requests, by the API's ids."""
        self._write_record(Event.TARGET_OPERATION, job, correlation_ids=list(correlation_ids))

    def record_step_event(self, event: str, step: str, **fields: object) -> None:
        """Write a record about a step as a whole."""
        self._sink.record(event, step=step, **fields)

    def record_run_event(self, event: str, **fields: object) -> None:
        """Write a record about the run as a whole, with counts and money: the same figures as `RunState.money`."""
        counts = {outcome.value: number for outcome, number in self.counts.items() if number}
        money = run_bill(
            BilledTarget(
                job.ref.key,
                job.action,
                job.outcome,
                job.status,
                billed=job.billed,
                charges=not charges_nothing(job.note.codes),
                compute=job.note.rates.compute,
                storage=job.note.rates.storage,
            )
            for job in self.jobs
        )
        self._sink.record(event, counts=counts, money=money, requests=self.requests, **fields)

    def _write_record(self, event: str, job: Job, **fields: object) -> None:
        if job.batch is not None and event.startswith("action."):
            fields["batch"] = job.batch
        self._sink.record(event, step=job.step, action=job.action.value, cvm=job.document, **fields)


def _reply_fields(reply: Reply[object]) -> dict[str, object]:
    return {
        "http_status": reply.http_status,
        "request_id": reply.request_id,
        "latency_ms": round(reply.latency * 1000),
    }
