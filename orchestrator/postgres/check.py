"""Check a database for use as the team store: server, durability, schema, rights."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from orchestrator.check import Check
from orchestrator.errors import OrchestratorError, SettingsError
from orchestrator.postgres.connect import connect
from orchestrator.postgres.migrate import check_version, explain_errors, read_version

if TYPE_CHECKING:
    import psycopg

    Subject = Callable[[psycopg.Connection], str]

_OLDEST_SERVER = 140_000
_OFF = frozenset({"off", "false", "no", "0"})

_ROLES = ("orchestrator_owner", "orchestrator_worker", "orchestrator_operator", "orchestrator_viewer")

_SETTINGS_OF_ROLES = """
SELECT coalesce(pg_roles.rolname::text, 'every user'), split_part(entry, '=', 2)
  FROM pg_db_role_setting s LEFT JOIN pg_roles ON pg_roles.oid = s.setrole, unnest(s.setconfig) AS entry
  WHERE entry LIKE 'synchronous_commit=%%'
    AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND (s.setrole = 0 OR EXISTS (
      SELECT FROM unnest(%s::text[]) AS name
        WHERE to_regrole(name) IS NOT NULL AND pg_has_role(s.setrole, to_regrole(name), 'member')))
  ORDER BY 1
"""


def check_store(url: str, *, listen: bool = True) -> list[Check]:
    """Check the database of a URL, as its user. Changes nothing.

    Args:
        url: the URL of the database.
        listen: False behind PgBouncer in transaction mode.

    Returns:
        One check for each subject; no further check after a failed connection.
    """
    found: list[Check] = []
    try:
        with connect(url, listen=listen) as connection:
            for name, subject in _SUBJECTS.items():
                found.append(_run(name, subject, connection))
    except OrchestratorError as error:
        found.append(_fail("connection", error))
    return found


def _run(name: str, subject: "Subject", connection: "psycopg.Connection") -> Check:
    try:
        with explain_errors():
            return Check(name, ok=True, message=subject(connection))
    except SettingsError as error:
        return _fail(name, error)


def _fail(name: str, error: OrchestratorError) -> Check:
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    return Check(name, ok=False, message=message, exit_code=error.exit_code)


def describe_connection(connection: "psycopg.Connection") -> str:
    """Return user, server and encryption of a connection, for people."""
    info = connection.info
    encryption = "TLS" if connection.pgconn.ssl_in_use else "no TLS"
    return f"{info.user} at {info.host}:{info.port}, database {info.dbname}, {encryption}"


def check_server(connection: "psycopg.Connection") -> str:
    """Check the version of the server, and for a primary; return a finding.

    Raises:
        SettingsError: when the server is too old, or a standby.
    """
    if connection.info.server_version < _OLDEST_SERVER:
        raise SettingsError("PostgreSQL is older than 14", hint="use PostgreSQL 14 or newer")
    row = connection.execute("SELECT pg_is_in_recovery(), current_setting('server_version')").fetchone()
    assert row is not None  # noqa: S101 - one row
    if row[0]:
        hint = "name the primary in store.url, or add ?target_session_attrs=read-write"
        raise SettingsError("the database is a read-only standby", hint=hint)
    return f"PostgreSQL {row[1]}"


def check_durability(connection: "psycopg.Connection") -> str:
    """Check for commits on disk, for every user of the store; return a finding.

    Raises:
        SettingsError: when a commit could be lost in a crash of the server: CVMs could then be stopped twice.
    """
    row = connection.execute(
        "SELECT current_setting('fsync'), current_setting('synchronous_commit'),"
        " current_setting('synchronous_standby_names')"
    ).fetchone()
    assert row is not None  # noqa: S101 - one row
    fsync, synchronous_commit, standbys = row
    of_roles = connection.execute(_SETTINGS_OF_ROLES, [list(_ROLES)]).fetchall()
    require_durable(fsync, synchronous_commit, of_roles)
    return "commits reach the disk" + (f" and standbys ({standbys})" if standbys else "; no synchronous standby")


def require_durable(fsync: str, synchronous_commit: str, of_roles: Iterable[tuple[str, str]]) -> None:
    """Refuse server settings with a loss of commits after a crash.

    Args:
        fsync: the server's setting.
        synchronous_commit: the setting of this session.
        of_roles: the users with a setting of their own for `synchronous_commit`, and the setting.

    Raises:
        SettingsError: when a commit could be lost.
    """
    if fsync in _OFF:
        raise SettingsError("fsync is off: commits can be lost", hint="set fsync = on in postgresql.conf")
    for user, value in of_roles:
        if value in _OFF:
            reset = "ALTER DATABASE … RESET" if user == "every user" else f"ALTER ROLE {user} RESET"
            hint = f"execute {reset} synchronous_commit (a setting in one database: ALTER ROLE … IN DATABASE …)"
            raise SettingsError(f"synchronous_commit is off for {user}: commits can be lost", hint=hint)
    if synchronous_commit in _OFF:
        hint = "set synchronous_commit = on in postgresql.conf, and in store.url if it is there"
        raise SettingsError("synchronous_commit is off: commits can be lost", hint=hint)


def check_schema(connection: "psycopg.Connection") -> str:
    """Check the version of the schema; return a finding.

    Raises:
        SettingsError: when the schema is missing, has an unusable version, or is closed to the user.
    """
    version = read_version(connection)
    check_version(version)
    return f"version {version.version}"


def check_rights(connection: "psycopg.Connection") -> str:
    """Check for a role of the store; return the roles of the user.

    Raises:
        SettingsError: when the user has no role of the store.
    """
    found = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS name"
        " WHERE to_regrole(name) IS NOT NULL AND pg_has_role(to_regrole(name), 'usage')",
        [list(_ROLES)],
    ).fetchall()
    roles = [role.removeprefix("orchestrator_") for (role,) in found]
    if not roles:
        user = connection.info.user
        hint = f"an administrator grants a role: GRANT orchestrator_worker TO {user}"
        raise SettingsError(f"the user {user} has no role of the store", hint=hint)
    return f"{connection.info.user} has the rights of: {', '.join(roles)}"


def check_service_rights(connection: "psycopg.Connection") -> None:
    """Check for the rights of `serve`, of workers and of operators.

    Raises:
        SettingsError: when the user may not take the duty of the schedules.
    """
    row = connection.execute(
        "SELECT bool_or(has_function_privilege(oid, 'execute')) FROM pg_proc"
        " WHERE pronamespace = 'orchestrator'::regnamespace AND proname = 'take_duty'"
    ).fetchone()
    if row != (True,):
        user = connection.info.user
        hint = f"an administrator grants the role: GRANT orchestrator_worker TO {user}"
        raise SettingsError(f"the user {user} may not run schedules", hint=hint)


_SUBJECTS: "dict[str, Subject]" = {
    "connection": describe_connection,
    "server": check_server,
    "durability": check_durability,
    "schema": check_schema,
    "rights": check_rights,
}
