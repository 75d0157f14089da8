"""`orchestrator whoami`."""

import json
from pathlib import Path

import anyio
import click

from orchestrator.cloud.client import connect
from orchestrator.engine.read.retry import read_error
from orchestrator.reply import Identity, Reply
from orchestrator.settings.credentials import Credentials
from orchestrator.settings.load import Settings, load_settings
from orchestrator.text import safe_text


def show_identity(config: Path | None, assignments: tuple[str, ...], *, as_json: bool) -> None:
    """Print the owner of the API key, the address, and the source of the key."""
    settings = load_settings(config, assignments)
    found = settings.credentials()
    identity = anyio.run(_read_identity, settings, found)
    document = {
        "user": identity.user,
        "workspace": {"id": identity.workspace_id, "name": identity.workspace},
        "base_url": found.base_url,
        "key_source": found.source,
    }
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    workspace = safe_text(identity.workspace or "unknown", 200)
    if identity.workspace_id is not None:
        workspace += f" ({safe_text(identity.workspace_id, 200)})"
    click.echo(f"workspace  {workspace}")
    click.echo(f"user       {safe_text(identity.user or 'unknown', 200)}")
    click.echo(f"address    {safe_text(found.base_url, 4096)}")
    click.echo(f"key from   {safe_text(found.source, 4096)}")


async def ask_identity(settings: Settings, found: Credentials) -> Reply[Identity]:
    """Ask the API about the owner of a key, once."""
    cloud_settings = settings.cloud
    async with connect(
        found.base_url,
        found.api_key,
        api_version=cloud_settings.api_version,
        timeout=cloud_settings.timeout,
        max_in_flight=1,
    ) as cloud:
        return await cloud.read_identity()


async def _read_identity(settings: Settings, found: Credentials) -> Identity:
    reply = await ask_identity(settings, found)
    if reply.value is None:
        raise read_error(reply, "the identity of the key")
    return reply.value
