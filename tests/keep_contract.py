"""Contract of the stores of exemptions. A subclass in a test module provides the fixture `store`."""

from datetime import UTC, datetime, timedelta

from orchestrator.playbook.keep import KeepEntry
from orchestrator.runs.keeping import COMMAND, KeepStore

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=2)


def entry(value: str = "web-1", until: datetime = LATER, key: str = "name") -> KeepEntry:
    """An exemption."""
    return KeepEntry(key, value, until, "ann", "demo", COMMAND)


class KeepContract:
    """Tests of every store of exemptions."""

    def test_exemptions_are_added_replaced_and_ended(self, store: KeepStore) -> None:
        store.add_entries([entry(), entry("cvm_1", key="id")], NOW)
        longer = entry(until=NOW + timedelta(days=9))
        store.add_entries([longer], NOW)
        assert {each.value: each for each in store.read_entries()} == {
            "web-1": longer,
            "cvm_1": entry("cvm_1", key="id"),
        }
        assert store.remove_entries(["cvm_1", "web-7"], NOW) == ["cvm_1"]
        assert [each.value for each in store.read_entries()] == ["web-1"]

    def test_an_expired_exemption_stays_listed_for_some_time(self, store: KeepStore) -> None:
        store.add_entries([entry("old", NOW - timedelta(days=91)), entry("past", NOW - timedelta(days=1))], NOW)
        assert [each.value for each in store.read_entries()] == ["past"]
        assert store.remove_entries(["past"], NOW) == [], "it had ended already"
