"""`orchestrator whoami`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import click

from orchestrator.cloud.client import connect
from orchestrator.engine.read.retry import read_error
from orchestrator.errors import CloudError
from orchestrator.reply import Identity, Reply
from orchestrator.runs.session import Endpoint
from orchestrator.runs.workspaces import choose_names, name_workspace
from orchestrator.settings.credentials import Credentials
from orchestrator.settings.load import Settings, load_settings
from orchestrator.text import safe_text


def show_identity(
    workspaces: tuple[str, ...], config: Path | None, assignments: tuple[str, ...], *, as_json: bool
) -> None:
    """Print the owner of the API key, the address, and the source of the key."""
    settings = load_settings(config, assignments)
    names = choose_names(settings, workspaces)
    members = [settings.for_workspace(name) for name in names] or [settings]
    documents = [_describe_identity(each) for each in members]
    if as_json:
        click.echo(json.dumps(documents[0] if len(documents) == 1 else {"workspaces": documents}, indent=2))
        return
    click.echo("\n\n".join(map(_format_identity, documents)))


def _describe_identity(settings: Settings) -> dict[str, Any]:
    """Ask about the owner of the key; with a named workspace in the settings, an error names the workspace."""
    found, name = settings.credentials(), settings.workspace_name
    try:
        identity = anyio.run(_read_identity, settings, found)
    except CloudError as error:
        name_workspace(error, name)
        raise
    return {
        "user": identity.user,
        "workspace": {"id": identity.workspace_id, "name": identity.workspace},
        "base_url": found.base_url,
        "key_source": found.source,
        **({} if name is None else {"workspace_name": name}),
    }


def _format_identity(document: Mapping[str, Any]) -> str:
    workspace = safe_text(document["workspace"]["name"] or "unknown", 200)
    if document["workspace"]["id"] is not None:
        workspace += f" ({safe_text(document['workspace']['id'], 200)})"
    rows = [
        *([("name", document["workspace_name"])] if "workspace_name" in document else []),
        ("workspace", workspace),
        ("user", safe_text(document["user"] or "unknown", 200)),
        ("address", safe_text(document["base_url"], 4096)),
        ("key from", safe_text(document["key_source"], 4096)),
    ]
    return "\n".join(f"{label:11}{value}" for label, value in rows)


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
        raise Endpoint.from_settings(settings, found).explain(read_error(reply, "the identity of the key"))
    return reply.value
