"""`orchestrator audit keygen`."""

import json
from pathlib import Path

import click

from orchestrator.audit.keys import key_id, write_key_pair
from orchestrator.text import safe_text

_NAME = "orchestrator-seal.pem"


def generate_keys(out: Path, *, as_json: bool) -> None:
    """Generate a key pair to seal logs, and to approve plans."""
    private = out / _NAME if out.is_dir() else out
    public = private.with_suffix(".pub.pem")
    name = key_id(write_key_pair(private, public))
    if as_json:
        document = {"exit_code": 0, "key_id": name, "private_key": str(private), "public_key": str(public)}
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"private key  {safe_text(private, 4096)}  for seals and approvals; keep it to yourself")
    click.echo(f"public key   {safe_text(public, 4096)}  for verification; give it to all readers")
    click.echo(f"key id       {name}")
