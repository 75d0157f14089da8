"""Connect to the database of the team store, with errors for people."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.errors import OrchestratorError, SettingsError, StoreDownError

if TYPE_CHECKING:
    import psycopg

_DEFAULTS = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "orchestrator",
}
"""Connection parameters of libpq unless the URL has others: a dead server is noticed within about 10 seconds."""

_PREPARE_THRESHOLD = 5

EXTRA = "pip install 'cvm-orchestrator[postgres]'"

_REMEDIES = (
    ("password authentication failed", "wrong user or password", "check PGPASSFILE (~/.pgpass) or PGPASSWORD"),
    ("no password supplied", "the password is missing", "set PGPASSFILE (~/.pgpass) or PGPASSWORD"),
    ("authentication failed", "the database refuses the user", "check the user of store.url and pg_hba.conf"),
    ("no pg_hba.conf entry", "the database refuses this user or machine", "add a line to pg_hba.conf of the server"),
    ("does not exist", "wrong database or user", "check the path and the user of store.url"),
    ("permission denied for database", "the user may not connect", "grant CONNECT on the database to the user"),
    ("is not permitted to log in", "the role may not log in", "use a login role with the rights of that role"),
    ("Servname not supported", "the port is not a number", "write store.url as postgresql://USER@HOST:5432/DATABASE"),
    ("invalid integer value", "a parameter is not a number", "check the port and the parameters of store.url"),
    ("server does not support SSL", "the database has no TLS", "turn on TLS there, or change sslmode in store.url"),
    ("certificate", "the TLS certificate is not accepted", "check sslrootcert and the host name of store.url"),
)
"""Part of the server's or libpq's message, the error, and the remedy: faults of the settings (exit code 2)."""


def connect(url: str, *, listen: bool = True) -> "psycopg.Connection":
    """Open a connection with autocommit.

    Args:
        url: the URL of the database, without a password.
        listen: False behind PgBouncer in transaction mode: then no statement is prepared.

    Raises:
        SettingsError: when the driver is missing, or the database refuses the URL, the user or the password.
        StoreDownError: when the database can't be reached.
    """
    options = read_options(url, listen=listen)
    import psycopg  # noqa: PLC0415 - an extra, only where `store.url` is set

    with _explain_refusals(options):
        return psycopg.connect(**options)


async def connect_async(url: str, *, listen: bool = True) -> "psycopg.AsyncConnection":
    """Open a connection for asyncio; arguments and errors as in `connect`."""
    options = read_options(url, listen=listen)
    import psycopg  # noqa: PLC0415 - an extra, only where `store.url` is set

    with _explain_refusals(options):
        return await psycopg.AsyncConnection.connect(**options)


def read_options(url: str, *, listen: bool = True) -> dict[str, Any]:
    """Return the arguments of `psycopg.connect`; arguments and errors as in `connect`."""
    threshold = _PREPARE_THRESHOLD if listen else None
    return {**_DEFAULTS, **_read_url(url), "autocommit": True, "prepare_threshold": threshold}


def _read_url(url: str) -> dict[str, Any]:
    """Read the connection parameters of a URL.

    Raises:
        SettingsError: when the driver is missing, or the URL is invalid.
    """
    try:
        import psycopg  # noqa: PLC0415 - an extra, only where `store.url` is set
        from psycopg import conninfo  # noqa: PLC0415 - the same
    except ImportError as error:
        raise SettingsError(f"the team store needs the extra `postgres`: {error}", hint=EXTRA) from error
    try:
        return dict(conninfo.conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        hint = "such as postgresql://orchestrator_worker@db.example.com/orchestrator"
        raise SettingsError("store.url is not a URL of PostgreSQL", hint=hint) from None


@contextmanager
def _explain_refusals(parameters: dict[str, Any]) -> Iterator[None]:
    import psycopg  # noqa: PLC0415 - an extra; loaded before

    try:
        yield
    except psycopg.OperationalError as error:
        raise explain_refusal(str(error), _format_address(parameters)) from error
    except psycopg.Error as error:
        raise SettingsError(f"store.url can't be used: {_first_line(str(error))}") from error


def explain_refusal(message: str, address: str) -> OrchestratorError:
    """Return the error for a failed connection.

    Args:
        message: the message of libpq or of the server. Never has the password.
        address: the database for people.
    """
    reason = _first_line(message)
    for part, error, hint in _REMEDIES:
        if part in message:
            return SettingsError(f"store {address}: {error} ({reason})", hint=hint)
    hint = "check host and port of store.url, and whether the server runs"
    return StoreDownError(f"store {address} can't be reached: {reason}", hint=hint)


def _format_address(parameters: dict[str, Any]) -> str:
    where = parameters.get("host") or parameters.get("service") or "(local)"
    port = f":{parameters['port']}" if "port" in parameters else ""
    user = f"{parameters['user']}@" if "user" in parameters else ""
    return f"{user}{where}{port}/{parameters.get('dbname', '')}"


def _first_line(message: str) -> str:
    """Return the reason in the first line of a message, without libpq's own address."""
    line = message.strip().partition("\n")[0]
    return line.rpartition("FATAL:")[2].rpartition(" failed: ")[2].strip() or line
