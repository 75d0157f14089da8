"""Exemptions by command in the team store, for the runs of all machines."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from orchestrator.errors import SettingsError
from orchestrator.playbook.keep import KeepEntry
from orchestrator.times import timestamp

_OPERATOR = "use a user with the role orchestrator_operator"


class StoreKeeps:
    """The exemptions in the team store, as `KeepStore`."""

    def __init__(self, query: Callable[[str, Sequence[object]], list[tuple[Any, ...]]], source: str, by: str) -> None:
        """Set up.

        Args:
            query: executes a statement, for any thread.
            source: the source of the exemptions, for people.
            by: user@host.
        """
        self._query, self._source, self._by = query, source, by

    def read_entries(self) -> tuple[KeepEntry, ...]:
        """Read all exemptions, as `KeepStore.read_entries`."""
        rows = self._query('SELECT "key", "value", until, owner, reason FROM orchestrator.read_keeps()', [])
        return tuple(
            KeepEntry(key, value, until, owner, reason, self._source) for key, value, until, owner, reason in rows
        )

    def add_entries(self, entries: Iterable[KeepEntry], now: datetime) -> None:
        """Add exemptions, as `KeepStore.add_entries`."""
        del now  # the database has its own clock
        rows = [
            {
                "key": each.key,
                "value": each.value,
                "until": timestamp(each.until),
                "owner": each.owner,
                "reason": each.reason,
            }
            for each in entries
        ]
        self._change("SELECT orchestrator.add_keeps(%s::jsonb, %s)", [json.dumps(rows), self._by])

    def remove_entries(self, values: Collection[str], now: datetime) -> list[str]:
        """End exemptions, as `KeepStore.remove_entries`."""
        del now
        return [value for (value,) in self._change("SELECT orchestrator.remove_keeps(%s::text[])", [list(values)])]

    def _change(self, statement: str, arguments: Sequence[object]) -> list[tuple[Any, ...]]:
        try:
            return self._query(statement, arguments)
        except SettingsError as error:
            error.hint = error.hint or _OPERATOR
            raise
