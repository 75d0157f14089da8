"""What Prometheus is told: counters of what happened since the process began, and gauges of how things stand."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator import __version__
from orchestrator.action import Action
from orchestrator.audit.events import ENDED
from orchestrator.outcome import Exit, Outcome
from orchestrator.reply import Reply
from orchestrator.service.overview import Overview

_TOO_MANY = 429
_RESULTS = ("ran", "failed", "missed", "snoozed", "overlap", "day_off", "left")
_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 180, 300, 600, 1200, 3600)


class Metrics:
    """The numbers of one service.

    Attributes:
        registry: all of them.
    """

    def __init__(self, overview: Callable[[], Overview]) -> None:
        """Set up.

        Args:
            overview: says how things stand; asked whenever the numbers are.
        """
        self.registry = registry = CollectorRegistry()
        self.firings = Counter(
            "orchestrator_firings",
            "Firings by what became of them: ran, failed (changed nothing), missed, snoozed, overlap, day_off, left.",
            ["playbook", "result"],
            registry=registry,
        )
        self.runs = Counter("orchestrator_runs", "Runs by exit code.", ["playbook", "exit_code"], registry=registry)
        self.targets = Counter(
            "orchestrator_targets", "Targets by outcome.", ["playbook", "action", "outcome"], registry=registry
        )
        self.settle = Histogram(
            "orchestrator_settle_seconds",
            "Seconds from a target's first request until it was settled.",
            ["playbook", "action"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.rate_limited = Counter(
            "orchestrator_rate_limited", "Answers 429 of the API, to any request.", ["playbook"], registry=registry
        )
        registry.register(_Gauges(overview))
        ProcessCollector(registry=registry)

    def tell(self, event: str, /, **facts: Any) -> None:  # noqa: ANN401 - whatever the event is about
        """Count what the service tells."""
        name = facts.get("playbook")
        if event == "schedule.enabled":
            self.known(str(name))
        elif event == "firing.ended":
            self.firings.labels(name, facts["result"]).inc()
            if facts["exit_code"] is not None:
                self.runs.labels(name, facts["exit_code"]).inc()
        elif event == "firing.left_out":
            self.firings.labels(name, facts["reason"]).inc(facts["count"])
        elif event == "firing.missed":
            self.firings.labels(name, "missed").inc(facts["count"])

    def known(self, playbook: str) -> None:
        """Show every series of a playbook from the start, at 0: an increase is seen only of what was there before."""
        for result in _RESULTS:
            self.firings.labels(playbook, result)
        for code in Exit:
            self.runs.labels(playbook, int(code))
        for action in Action:
            self.settle.labels(playbook, action.value)
            for outcome in Outcome:
                self.targets.labels(playbook, action.value, outcome.value)
        self.rate_limited.labels(playbook)

    def recorded(self, playbook: str, record: Mapping[str, Any]) -> None:
        """Count what a record of a run's audit log says."""
        if record["event"] not in ENDED:
            return
        self.targets.labels(playbook, record["action"], record["outcome"]).inc()
        seconds = record.get("seconds")
        if record["outcome"] == "settled" and seconds is not None:
            self.settle.labels(playbook, record["action"]).observe(seconds)

    def replied(self, playbook: str, reply: Reply[object]) -> None:
        """Count what the API answered."""
        if reply.http_status == _TOO_MANY:
            self.rate_limited.labels(playbook).inc()


class _Gauges(Collector):
    """How things stand, told when somebody asks."""

    def __init__(self, overview: Callable[[], Overview]) -> None:
        self._overview = overview

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        now = self._overview()
        yield _by_playbook(
            "next_firing_timestamp_seconds",
            "When the playbook fires next.",
            {row.name: _seconds(row.next.moment if row.next else None) for row in now.rows},
        )
        yield _by_playbook(
            "last_success_timestamp_seconds",
            "When a run of the playbook's schedule last ended with exit code 0.",
            {row.name: _seconds(row.last_success) for row in now.rows},
        )
        yield _by_playbook(
            "success_due_timestamp_seconds",
            "By when a run should have succeeded: later than this without one, something is wrong.",
            {row.name: _seconds(row.success_due) for row in now.rows},
        )
        yield _by_playbook(
            "snoozed_until_timestamp_seconds",
            "Until when the playbook is snoozed.",
            {row.name: _seconds(row.snoozed_until) for row in now.rows},
        )
        yield _by_playbook(
            "runs_under_way",
            "Runs of the playbook that go on.",
            {row.name: float(row.running is not None) for row in now.rows},
        )
        yield _by_playbook(
            "firings_waiting",
            "Firings of the playbook that wait for the run before them.",
            {row.name: float(row.waiting) for row in now.rows},
        )
        yield GaugeMetricFamily("orchestrator_invalid_playbooks", "Files that can't be used.", value=len(now.faults))
        yield GaugeMetricFamily(
            "orchestrator_troubles", "What keeps the service from doing its work.", value=len(now.troubles)
        )
        info = GaugeMetricFamily("orchestrator_build_info", "The version that runs.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info


def _by_playbook(name: str, says: str, values: Mapping[str, float | None]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"orchestrator_{name}", says, labels=["playbook"])
    for playbook, value in values.items():
        if value is not None:
            family.add_metric([playbook], value)
    return family


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
