"""`orchestrator store`: the commands for the team store."""

from typing import Any, ClassVar

import click

from orchestrator.cli.options import HintingGroup, json_option, settings_options


class _StoreGroup(HintingGroup):
    """The group `store`."""

    other_names: ClassVar[dict[str, str]] = {"upgrade": "migrate", "init": "migrate", "doctor": "check"}


@click.group("store", cls=_StoreGroup, epilog="\b\nExample: orchestrator store check")
def command() -> None:
    """Create and check the team store: a PostgreSQL database named by the setting `store.url`."""


@command.command("migrate", epilog="\b\nExample: orchestrator store migrate --sql > schema.sql")
@click.option(
    "--sql",
    "as_sql",
    is_flag=True,
    help="Print the SQL, and change nothing; without store.url, the SQL of all migrations.",
)
@json_option
@settings_options
def migrate(**options: Any) -> None:
    """Create the schema of the team store, or bring the schema up to date.

    Also makes the roles orchestrator_owner, orchestrator_worker, orchestrator_operator and orchestrator_viewer. Running
    workers of the previous version continue.

    Exit code 0: the schema is up to date. 2: settings or rights. 5: the database is unreachable.
    """
    from orchestrator.cli.handlers.store import migrate_store

    migrate_store(**options)


@command.command("check", epilog="\b\nExample: orchestrator store check")
@json_option
@settings_options
def check(**options: Any) -> int:
    """Check the connection, the server, durability, the schema and the rights of the user.

    Changes nothing.

    Exit code 0: all is well. 2: settings, schema or rights. 5: the database is unreachable.
    """
    from orchestrator.cli.handlers.store import check_team_store

    return check_team_store(**options)
