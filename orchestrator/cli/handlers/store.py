"""`orchestrator store migrate` and `orchestrator store check`."""

import json
from pathlib import Path

import click

from orchestrator.check import find_exit_code
from orchestrator.cli.check_list import print_checks
from orchestrator.errors import SettingsError, UsageError
from orchestrator.settings.load import load_settings
from orchestrator.settings.model import StoreSection


def migrate_store(config: Path | None, assignments: tuple[str, ...], *, as_sql: bool, as_json: bool) -> None:
    """Apply missing migrations, or print their SQL."""
    from orchestrator.postgres.connect import connect  # noqa: PLC0415 - only with a team store
    from orchestrator.postgres.migrate import format_sql, migrate, read_version  # noqa: PLC0415

    if as_sql and as_json:
        raise UsageError("--sql and --json exclude each other")
    store = load_settings(config, assignments).store
    if as_sql and store.url is None:
        click.echo(format_sql(), nl=False)
        return
    with connect(require_url(store), listen=store.listen) as connection:
        if as_sql:
            version = read_version(connection).version
            click.echo(format_sql(version) or f"-- the schema is up to date: version {version}\n", nl=False)
            return
        applied = migrate(connection)
        version = read_version(connection).version
    if as_json:
        names = [f"{each.version:03}_{each.name}" for each in applied]
        click.echo(json.dumps({"version": version, "applied": names}, indent=2))
        return
    for each in applied:
        click.echo(f"applied {each.version:03}_{each.name}")
    click.echo(f"the schema is up to date: version {version}")


def check_team_store(config: Path | None, assignments: tuple[str, ...], *, as_json: bool) -> int:
    """Check the team store, and print the results; return the exit code."""
    from orchestrator.postgres.check import check_store  # noqa: PLC0415 - only with a team store

    store = load_settings(config, assignments).store
    checks = check_store(require_url(store), listen=store.listen)
    code = find_exit_code(checks)
    print_checks(checks, code, as_json=as_json)
    return code


def require_url(store: StoreSection) -> str:
    """Return the URL of the team store.

    Raises:
        SettingsError: when the settings have no URL.
    """
    if store.url is None:
        hint = "set store.url in the settings, or ORCHESTRATOR_STORE__URL; without a URL, runs are files"
        raise SettingsError("there is no team store: store.url is not set", hint=hint)
    return store.url
