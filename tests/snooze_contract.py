"""Contract of the stores of snoozes. A subclass in a test module provides the fixture `snoozes`, an empty store."""

from datetime import timedelta

from orchestrator.service.protocols import SnoozeStore
from orchestrator.service.scheduler import Snooze, Snoozed
from tests.service.host import MONDAY

DAY = timedelta(days=1)


def snoozed(begins: int, until: int) -> Snoozed:
    """A snooze between two days, counted from Monday."""
    return Snoozed(Snooze(MONDAY + begins * DAY, MONDAY + until * DAY), "me@here")


class SnoozeContract:
    """Tests of every store of snoozes."""

    def test_written_snoozes_are_read_again(self, snoozes: SnoozeStore) -> None:
        assert snoozes.read_snoozes() == {}
        snoozes.set_snooze("a", snoozed(0, 2))
        snoozes.set_snooze("b", snoozed(1, 3))
        assert snoozes.read_snoozes() == {"a": snoozed(0, 2), "b": snoozed(1, 3)}

    def test_a_longer_or_shorter_snooze_begins_at_the_same_time(self, snoozes: SnoozeStore) -> None:
        snoozes.set_snooze("a", snoozed(0, 2))
        snoozes.set_snooze("a", snoozed(1, 7))
        assert snoozes.read_snoozes() == {"a": snoozed(0, 7)}
        snoozes.set_snooze("a", snoozed(9, 10))  # the first snooze was over
        assert snoozes.read_snoozes() == {"a": snoozed(9, 10)}

    def test_a_cleared_snooze_ends_now_and_skipped_firings_stay_skipped(self, snoozes: SnoozeStore) -> None:
        snoozes.set_snooze("a", snoozed(0, 9))
        assert snoozes.clear_snooze("a", MONDAY + DAY)
        assert snoozes.read_snoozes() == {"a": snoozed(0, 1)}
        assert not snoozes.clear_snooze("a", MONDAY + 2 * DAY)
        assert not snoozes.clear_snooze("b", MONDAY)

    def test_a_snooze_that_ended_long_ago_is_forgotten(self, snoozes: SnoozeStore) -> None:
        snoozes.set_snooze("a", snoozed(0, 1))
        snoozes.set_snooze("b", snoozed(500, 501))
        assert list(snoozes.read_snoozes()) == ["b"]
