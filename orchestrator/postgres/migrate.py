"""Create and change the schema of the team store. Migrations only expand, so that running workers stay able to work."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError, SettingsError, StoreDownError
from orchestrator.postgres.connect import EXTRA

if TYPE_CHECKING:
    import psycopg

_LOCK = 0x6F72_6368_6573_7472
"""Key of the advisory lock of migrations: `orchestr` in ASCII."""

_NAME = re.compile(r"(\d{3})_(\w+)\.sql")
_OLDEST = re.compile(r"-- oldest client: (\d+)\n")
_QUEUE = "-- include: procrastinate\n"
"""Place of Procrastinate's own schema in a migration."""


@dataclass(frozen=True, slots=True)
class Migration:
    """A step of the schema.

    Attributes:
        version: version of the schema after the migration, counted from 1.
        name: name of the migration.
        oldest_client: lowest version that a client must know to work with this schema.
        sql: the statements.
    """

    version: int
    name: str
    oldest_client: int
    sql: str


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """Version of the schema in a database.

    Attributes:
        version: the version; 0 without a schema.
        oldest_client: lowest version that a client must know.
    """

    version: int
    oldest_client: int


def list_migrations() -> tuple[Migration, ...]:
    """List all migrations of this program, in order.

    Raises:
        SettingsError: when Procrastinate, with the schema of its queue, is missing.
    """
    return tuple(_read_migrations())


def _read_migrations() -> Iterator[Migration]:
    folder = resources.files("orchestrator.postgres") / "schema"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if found := _NAME.fullmatch(file.name):
            sql = file.read_text(encoding="utf-8")
            oldest = _OLDEST.match(sql)
            assert oldest is not None  # noqa: S101 - every file begins so; a test reads all files
            if _QUEUE in sql:
                sql = sql.replace(_QUEUE, _read_queue_schema())
            yield Migration(int(found[1]), found[2], int(oldest[1]), sql)


def _read_queue_schema() -> str:
    """Read Procrastinate's schema from its package, without an import of the package."""
    found = find_spec("procrastinate")
    if found is None or found.origin is None:
        raise SettingsError("the team store needs the extra `postgres`: there is no procrastinate", hint=EXTRA)
    return (Path(found.origin).parent / "sql" / "schema.sql").read_text(encoding="utf-8")


def read_version(connection: "psycopg.Connection") -> SchemaVersion:
    """Read the version of the schema.

    Raises:
        SettingsError: when the user has no rights in the schema.
        StoreDownError: when the connection breaks.
    """
    with explain_errors():
        row = connection.execute("SELECT to_regnamespace('orchestrator') IS NULL").fetchone()
        if row == (True,):
            return SchemaVersion(0, 0)
        # A schema of the same name without our function is an empty schema, such as one made by an administrator.
        found = connection.execute(
            "SELECT 1 FROM pg_proc WHERE proname = 'read_version' AND pronamespace = to_regnamespace('orchestrator')"
        ).fetchone()
        if found is None:
            return SchemaVersion(0, 0)
        version = connection.execute("SELECT * FROM orchestrator.read_version()").fetchone()
    assert version is not None  # noqa: S101 - the function returns one row
    return SchemaVersion(version[0] or 0, version[1] or 0)


def check_version(found: SchemaVersion, known: int | None = None) -> None:
    """Refuse a schema unusable for this program.

    Args:
        found: the version in the database.
        known: the newest version that this program knows; default: of its last migration.

    Raises:
        SettingsError: when the schema is missing, too old or too new.
    """
    known = list_migrations()[-1].version if known is None else known
    if found.version == 0:
        raise SettingsError("the database has no schema `orchestrator`", hint="run `orchestrator store migrate`")
    if found.version < known:
        message = f"the schema has version {found.version}; this orchestrator needs version {known}"
        raise SettingsError(message, hint="run `orchestrator store migrate`")
    if found.oldest_client > known:
        message = f"the schema has version {found.version}; this orchestrator knows version {known} only"
        raise SettingsError(message, hint="install a newer orchestrator")


def migrate(connection: "psycopg.Connection", migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Apply all missing migrations in one transaction; return the applied migrations.

    A second process waits for the first process, and then has nothing to do.

    Raises:
        SettingsError: when the user may not change the schema.
        StoreDownError: when the connection breaks; nothing is changed then.
    """
    every = list_migrations() if migrations is None else migrations
    rights = "run as a role with CREATEROLE and CREATE on the database, or apply `store migrate --sql`"
    with explain_errors(rights), connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        pending = [each for each in every if each.version > read_version(connection).version]
        if pending:
            connection.execute(_join(pending).encode())
        return pending


def format_sql(version: int = 0, migrations: Sequence[Migration] | None = None) -> str:
    """Return the SQL of all migrations after a version, as one transaction; empty without such migrations."""
    every = list_migrations() if migrations is None else migrations
    pending = [each for each in every if each.version > version]
    return f"BEGIN;\nSELECT pg_advisory_xact_lock({_LOCK});\n{_join(pending)}COMMIT;\n" if pending else ""


def _join(migrations: Sequence[Migration]) -> str:
    roles = (resources.files("orchestrator.postgres") / "schema" / "roles.sql").read_text(encoding="utf-8")
    head = "SET LOCAL ROLE orchestrator_owner;\nSET LOCAL search_path = orchestrator, pg_catalog;\n"
    return "\n".join([*([roles] if migrations[0].version == 1 else []), head, *map(_format, migrations)])


def _format(migration: Migration) -> str:
    values = f"{migration.version}, {migration.oldest_client}"
    return (
        f"{migration.sql}\n"
        f"INSERT INTO migrations (version, name) VALUES ({migration.version}, '{migration.name}');\n"
        f"INSERT INTO meta (schema_version, oldest_client) VALUES ({values})\n"
        f"  ON CONFLICT (one) DO UPDATE SET (schema_version, oldest_client) = ({values});\n"
    )


@contextmanager
def explain_errors(
    rights: str = "grant a role to the user: orchestrator_operator for people, orchestrator_worker for workers",
) -> Iterator[None]:
    """Turn errors of the driver into errors for people.

    Args:
        rights: the remedy for missing rights.

    Raises:
        SettingsError: when rights are missing.
        StoreDownError: when the connection breaks.
    """
    import psycopg  # noqa: PLC0415 - an extra; loaded before, with the connection

    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise SettingsError(
            f"the user of store.url has no rights: {error.diag.message_primary}", hint=rights
        ) from error
    except psycopg.errors.ReadOnlySqlTransaction as error:
        hint = "name the primary in store.url, or add ?target_session_attrs=read-write"
        raise SettingsError("the database is a read-only standby", hint=hint) from error
    except psycopg.OperationalError as error:
        raise StoreDownError(f"the connection to the store broke: {str(error).partition(chr(10))[0]}") from error
    except psycopg.Error as error:
        raise _make_bug(error) from error


def _make_bug(error: "psycopg.Error") -> OrchestratorError:
    return SettingsError(
        f"the database refuses a statement: {str(error).partition(chr(10))[0]}",
        hint="does another program use the schema `orchestrator` of this database?",
    )
