"""The pushed playbooks and the snoozes in the team store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator.postgres.link import Query
from orchestrator.postgres.migrate import explain_errors

if TYPE_CHECKING:
    import psycopg

_OPERATOR = "use a user with the role orchestrator_operator"
_READER = "use a user with the role orchestrator_viewer, orchestrator_operator or orchestrator_worker"
_LAST_PUSH = "SELECT orchestrator.read_last_push()"
_PLAYBOOKS = "SELECT name, file, source, sha256, pushed_by, pushed_at FROM orchestrator.read_playbooks()"
_CALENDARS = "SELECT path, data FROM orchestrator.read_calendars()"
_SNOOZES = "SELECT playbook, begins, until, snoozed_by FROM orchestrator.read_snoozes()"


@dataclass(frozen=True, slots=True)
class StoredPlaybook:
    """A playbook in the store.

    Attributes:
        name: the name of the playbook.
        file: the name of its file in the pushed folder.
        source: the bytes of the file.
        sha256: the hash of the bytes, in hex.
        pushed_by: the person of the last push with a change, user@host.
        pushed_at: the time of that push.
    """

    name: str
    file: str
    source: bytes = field(repr=False)
    sha256: str
    pushed_by: str = ""
    pushed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PushedFolder:
    """The folder of playbooks in the store.

    Attributes:
        push: number of the last push; 0 before the first push.
        playbooks: the playbooks, by name.
        calendars: the calendar files, by path relative to the folder.
    """

    push: int = 0
    playbooks: Sequence[StoredPlaybook] = ()
    calendars: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Change:
    """A change by a push.

    Attributes:
        kind: `playbook` or `calendar`.
        name: the name of the playbook, or the path of the calendar.
        change: `added`, `changed`, `unchanged`, `removed`, or `kept`: not in the pushed folder, and not removed.
    """

    kind: str
    name: str
    change: str


@dataclass(frozen=True, slots=True)
class StoredSnooze:
    """A snooze in the store.

    Attributes:
        playbook: the name of the playbook.
        begins: start of the snooze.
        until: end of the snooze, excluded.
        by: the person, user@host.
    """

    playbook: str
    begins: datetime
    until: datetime
    by: str


def push_playbooks(connection: "psycopg.Connection", folder: PushedFolder, *, prune: bool, by: str) -> list[Change]:
    """Push a folder; two pushes at the same time follow each other.

    Args:
        connection: the connection.
        folder: the valid playbooks and their calendars.
        prune: whether to remove playbooks and calendars not in the folder.
        by: the person, user@host.

    Raises:
        SettingsError: when the user may not push.
        StoreDownError: when the connection breaks.
    """
    found = folder.playbooks
    columns: list[list[object]] = [
        [each.name for each in found],
        [each.file for each in found],
        [each.source for each in found],
        [each.sha256 for each in found],
        list(folder.calendars),
        list(folder.calendars.values()),
    ]
    with explain_errors(_OPERATOR):
        rows = connection.execute(
            "SELECT kind, name, change FROM orchestrator.push_playbooks"
            "(%s::text[], %s::text[], %s::bytea[], %s::text[], %s::text[], %s::bytea[], %s, %s)",
            [*columns, prune, by],
        ).fetchall()
    return [Change(*row) for row in rows]


def read_pushed(connection: "psycopg.Connection") -> PushedFolder:
    """Read the pushed playbooks, all of the same push.

    Raises:
        SettingsError: when the user may not read.
        StoreDownError: when the connection breaks.
    """
    with explain_errors(_READER), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        ((push,),) = connection.execute(_LAST_PUSH).fetchall()
        playbooks = [StoredPlaybook(*row) for row in connection.execute(_PLAYBOOKS).fetchall()]
        return PushedFolder(push, playbooks, dict(connection.execute(_CALENDARS).fetchall()))


async def read_changed(query: Query, known: int) -> PushedFolder | None:
    """Read the pushed playbooks after a push; None while `known` is the last push.

    Args:
        query: executes a statement.
        known: number of the last push that was read.

    Raises:
        SettingsError: when the user may not read.
        StoreDownError: when the database can't be reached.
    """
    ((push,),) = await query(_LAST_PUSH, [])
    while push != known:
        playbooks = [StoredPlaybook(*row) for row in await query(_PLAYBOOKS, [])]
        calendars: dict[str, bytes] = dict(await query(_CALENDARS, []))
        ((after,),) = await query(_LAST_PUSH, [])
        if after == push:  # no push in between: all are of the same push
            return PushedFolder(push, playbooks, calendars)
        push = after
    return None


async def read_snoozes(query: Query) -> list[StoredSnooze]:
    """Read all snoozes, also ended snoozes.

    Raises:
        SettingsError: when the user may not read.
        StoreDownError: when the database can't be reached.
    """
    return [StoredSnooze(*row) for row in await query(_SNOOZES, [])]


def list_snoozes(connection: "psycopg.Connection") -> list[StoredSnooze]:
    """List all snoozes, also ended snoozes.

    Raises:
        SettingsError: when the user may not read.
        StoreDownError: when the connection breaks.
    """
    with explain_errors(_READER):
        return [StoredSnooze(*row) for row in connection.execute(_SNOOZES).fetchall()]


def set_snooze(connection: "psycopg.Connection", snooze: StoredSnooze) -> None:
    """Snooze a playbook, or change the end of its snooze.

    Raises:
        SettingsError: when the user may not snooze.
        StoreDownError: when the connection breaks.
    """
    values = [snooze.playbook, snooze.begins, snooze.until, snooze.by]
    with explain_errors(_OPERATOR):
        connection.execute("SELECT orchestrator.set_snooze(%s, %s, %s, %s)", values)


def clear_snooze(connection: "psycopg.Connection", playbook: str, now: datetime) -> bool:
    """End the snooze of a playbook now; False without an active snooze.

    Raises:
        SettingsError: when the user may not snooze.
        StoreDownError: when the connection breaks.
    """
    with explain_errors(_OPERATOR):
        row = connection.execute("SELECT orchestrator.clear_snooze(%s, %s)", [playbook, now]).fetchone()
    return row == (True,)


def read_journal(connection: "psycopg.Connection") -> list[tuple[int, dict[str, object]]]:
    """Read the journal of the schedules from the last snapshot on.

    Raises:
        SettingsError: when the user may not read.
        StoreDownError: when the connection breaks.
    """
    with explain_errors(_READER):
        return list(connection.execute("SELECT seq, line FROM orchestrator.read_journal_tail()").fetchall())
