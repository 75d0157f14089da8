"""The time of the next expected success, used by the alert for overdue schedules."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.playbook.firings import Timetable
from orchestrator.playbook.schedule import Schedule
from orchestrator.service.metrics import Metrics
from orchestrator.service.scheduler import Snooze, find_success_due
from tests.service.test_web import CALM

FRIDAY = datetime(2027, 3, 5, 20, tzinfo=UTC)


def weekdays(**more: object) -> Timetable:
    return Timetable("x", Schedule.model_validate({"cron": "30 19 * * MON-FRI", "timezone": "UTC", **more}))


def test_after_a_success_on_friday_the_next_is_due_on_monday() -> None:
    assert find_success_due(weekdays(), FRIDAY, None) == datetime(2027, 3, 8, 19, 30, tzinfo=UTC)


def test_days_off_and_snoozes_are_not_due() -> None:
    assert find_success_due(weekdays(not_on="2027-03-08"), FRIDAY, None) == datetime(2027, 3, 9, 19, 30, tzinfo=UTC)
    snooze = Snooze(FRIDAY, FRIDAY + timedelta(days=4))
    assert find_success_due(weekdays(), FRIDAY, snooze) == datetime(2027, 3, 10, 19, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "labels",
    [
        ("orchestrator_runs_total", {"playbook": "x", "exit_code": "6"}),
        ("orchestrator_firings_total", {"playbook": "x", "result": "failed"}),
        ("orchestrator_targets_total", {"playbook": "x", "action": "stop", "outcome": "unsettled"}),
        ("orchestrator_settle_seconds_count", {"playbook": "x", "action": "restart"}),
        ("orchestrator_rate_limited_total", {"playbook": "x"}),
    ],
)
def test_every_series_is_there_from_the_start(labels: tuple[str, dict[str, str]]) -> None:
    metrics = Metrics(lambda: CALM)
    metrics.add_playbook("x")
    assert metrics.registry.get_sample_value(*labels) == 0
