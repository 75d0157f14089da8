"""Metrics for Prometheus: counters since the start of the process, and gauges of the current state."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator import __version__
from orchestrator.action import Action
from orchestrator.audit.events import (
    ApprovalAnswered,
    ApprovalRequested,
    RunFinished,
    RunInterrupted,
    RunStarted,
    TargetEnded,
    read_event,
)
from orchestrator.audit.record import Record
from orchestrator.outcome import Exit, Outcome
from orchestrator.reply import Reply
from orchestrator.service.api_state import ApiState
from orchestrator.service.overview import Overview

_TOO_MANY = 429
_WORKSPACE = "workspace"
_RESULTS = ("ran", "failed", "missed", "snoozed", "overlap", "day_off", "frozen", "left")
_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 180, 300, 600, 1200, 3600)


class Metrics:
    """Metrics of the service.

    Attributes:
        registry: the registry of all metrics.
        api: the state of the API.
    """

    def __init__(self, overview: Callable[[], Overview]) -> None:
        """Set up.

        Args:
            overview: returns the current state, for each scrape.
        """
        self.api = ApiState()
        self._questions: dict[str, str] = {}
        self.registry = registry = CollectorRegistry()
        self.firings = Counter(
            "orchestrator_firings",
            "Firings by result: ran, failed (changed nothing), missed, snoozed, overlap, day_off, frozen, left.",
            ["playbook", "result"],
            registry=registry,
        )
        self.runs = Counter("orchestrator_runs", "Runs by exit code.", ["playbook", "exit_code"], registry=registry)
        self.targets = Counter(
            "orchestrator_targets",
            "Targets by outcome.",
            ["playbook", "action", "outcome", _WORKSPACE],
            registry=None,
        )
        self.settle = Histogram(
            "orchestrator_settle_seconds",
            "Seconds from the first request to a target until the target settled.",
            ["playbook", "action", _WORKSPACE],
            buckets=_SECONDS,
            registry=None,
        )
        self.rate_limited = Counter(
            "orchestrator_rate_limited", "API replies with status 429.", ["playbook", _WORKSPACE], registry=None
        )
        for collector in (self.targets, self.settle, self.rate_limited):
            registry.register(_WithoutEmptyName(collector))
        registry.register(_Gauges(overview))
        registry.register(_RunGauges(self.api, self._questions))
        ProcessCollector(registry=registry)

    def count_event(self, event: str, /, **facts: Any) -> None:  # noqa: ANN401 - fields differ by event
        """Count an event of the service."""
        name = facts.get("playbook")
        if event == "schedule.enabled":
            self.add_playbook(str(name))
        elif event == "firing.ended":
            self.firings.labels(name, facts["result"]).inc()
            if facts["exit_code"] is not None:
                self.runs.labels(name, facts["exit_code"]).inc()
        elif event == "firing.left_out":
            self.firings.labels(name, facts["reason"]).inc(facts["count"])
        elif event == "firing.missed":
            self.firings.labels(name, "missed").inc(facts["count"])

    def add_playbook(self, playbook: str) -> None:
        """Create every series of a playbook at 0: Prometheus sees an increase only of an existing series."""
        for result in _RESULTS:
            self.firings.labels(playbook, result)
        for code in Exit:
            self.runs.labels(playbook, int(code))
        self._add_workspace(playbook, "")

    def _add_workspace(self, playbook: str, workspace: str) -> None:
        """Create the series of a playbook in a workspace at 0; an empty name stands for the default key."""
        for action in Action:
            self.settle.labels(playbook, action.value, workspace)
            for outcome in Outcome:
                self.targets.labels(playbook, action.value, outcome.value, workspace)
        self.rate_limited.labels(playbook, workspace)

    def count_record(self, playbook: str, record: Record, workspace: str | None = None) -> None:
        """Count an outcome in a record of a run's audit log; `workspace` is the workspace's name in the settings."""
        event, name = read_event(record), workspace or ""
        match event:
            case RunStarted():
                self._add_workspace(playbook, name)
            case ApprovalRequested():
                self._questions[event.run_id] = playbook
            case ApprovalAnswered() | RunInterrupted() | RunFinished():
                self._questions.pop(event.run_id, None)
        if not isinstance(event, TargetEnded):
            return
        self.targets.labels(playbook, event.action, event.outcome, name).inc()
        if event.outcome == Outcome.SETTLED and event.seconds is not None:
            self.settle.labels(playbook, event.action, name).observe(event.seconds)

    def count_reply(self, playbook: str, workspace: str | None, reply: Reply[object]) -> None:
        """Count a reply of the API."""
        self.api.note_reply(reply)
        if reply.http_status == _TOO_MANY:
            self.rate_limited.labels(playbook, workspace or "").inc()


class _RunGauges(Collector):
    """The open questions of this process's runs, and the outage that they meet."""

    def __init__(self, api: ApiState, questions: Mapping[str, str]) -> None:
        self._api, self._questions = api, questions

    def describe(self) -> Iterable[Metric]:
        """Return no metric: the names are in the metrics themselves."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        waiting = GaugeMetricFamily(
            "orchestrator_open_questions", "Runs of this process that wait for an answer.", labels=["playbook"]
        )
        for playbook, count in Tally(self._questions.values()).items():
            waiting.add_metric([playbook], count)
        yield waiting
        down = "1 while the runs of this process meet an outage of the API, else 0."
        yield GaugeMetricFamily("orchestrator_api_down", down, value=float(self._api.down is not None))


class _WithoutEmptyName(Collector):
    """The series of a metric; runs of the default key have no label for the workspace."""

    def __init__(self, metric: Counter | Histogram) -> None:
        self._metric = metric

    def describe(self) -> Iterable[Metric]:
        """Return the metric without its series."""
        return self._metric.describe()

    def collect(self) -> Iterable[Metric]:
        """Return the metric."""
        for metric in self._metric.collect():
            metric.samples = [
                sample if sample.labels.get(_WORKSPACE) else sample._replace(labels=_leave_name_out(sample.labels))
                for sample in metric.samples
            ]
            yield metric


def _leave_name_out(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name != _WORKSPACE}


class _Gauges(Collector):
    """Gauges of the current state, computed at every scrape."""

    def __init__(self, overview: Callable[[], Overview]) -> None:
        self._overview = overview

    def collect(self) -> Iterable[Metric]:
        """Return all gauges."""
        now = self._overview()
        yield _build_family(
            "next_firing_timestamp_seconds",
            "Time of the playbook's next firing.",
            {row.name: _to_seconds(row.next.moment if row.next else None) for row in now.rows},
        )
        yield _build_family(
            "last_success_timestamp_seconds",
            "End of the last scheduled run with exit code 0.",
            {row.name: _to_seconds(row.last_success) for row in now.rows},
        )
        yield _build_family(
            "success_due_timestamp_seconds",
            "Time of the next expected success; a later time without a success means a problem.",
            {row.name: _to_seconds(row.success_due) for row in now.rows},
        )
        yield _build_family(
            "snoozed_until_timestamp_seconds",
            "End of the playbook's snooze.",
            {row.name: _to_seconds(row.snoozed_until) for row in now.rows},
        )
        yield _build_family(
            "runs_under_way",
            "Active runs of the playbook.",
            {row.name: float(row.running is not None) for row in now.rows},
        )
        yield _build_family(
            "firings_waiting",
            "Firings of the playbook in the queue behind an active run.",
            {row.name: float(row.waiting) for row in now.rows},
        )
        yield GaugeMetricFamily(
            "orchestrator_invalid_playbooks",
            "Invalid files: playbooks and exemptions.",
            value=len(now.faults),
        )
        expired = sum(entry.has_expired(now.now) for entry in now.kept)
        kept = GaugeMetricFamily("orchestrator_exemptions", "Exemptions of CVMs from stops.", labels=["state"])
        kept.add_metric(["in_force"], len(now.kept) - expired)
        kept.add_metric(["expired"], expired)
        yield kept
        yield GaugeMetricFamily("orchestrator_troubles", "Problems of the service itself.", value=len(now.troubles))
        if now.leader is not None or now.is_standby:
            says = "1 in the process with the duty of the schedules, 0 on a standby; only with a team store."
            yield GaugeMetricFamily("orchestrator_leader", says, value=int(not now.is_standby))
        info = GaugeMetricFamily("orchestrator_build_info", "Version of the service.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info


def _build_family(name: str, says: str, values: Mapping[str, float | None]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"orchestrator_{name}", says, labels=["playbook"])
    for playbook, value in values.items():
        if value is not None:
            family.add_metric([playbook], value)
    return family


def _to_seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
