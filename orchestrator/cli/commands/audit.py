"""`orchestrator audit`: the commands for audit logs."""

from pathlib import Path
from typing import Any, ClassVar

import click

from orchestrator.cli.options import (
    HintingGroup,
    fleet_handler,
    format_option,
    json_option,
    logs_argument,
    out_option,
    run_argument,
    settings_options,
    yes_option,
)


class _AuditGroup(HintingGroup):
    """The group `audit`."""

    other_names: ClassVar[dict[str, str]] = {
        "check": "verify",
        "sign": "seal",
        "log": "show",
        "delete": "prune",
        "rm": "prune",
    }


@click.group("audit", cls=_AuditGroup, epilog="\b\nExample: orchestrator audit verify 20261123T080000Z-4f2a")
def command() -> None:
    """Verify, show, export, seal and prune audit logs."""


@command.command("verify", epilog="\b\nExample: orchestrator audit verify 20261123T080000Z-4f2a")
@logs_argument
@click.option(
    "--all", "every", is_flag=True, help="Verify every log of the state folder; with a key, also find missing logs."
)
@click.option(
    "--public-key",
    "public_keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Require a seal by this key (PEM). A seal reveals a shortened or replaced log.",
)
@click.option(
    "--seal",
    "seals",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    multiple=True,
    help="Also require this seal, kept elsewhere; in a folder, RUN_ID.seal.json.",
)
@click.option(
    "--approval-keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Require approvals by these public keys (PEM), of approvers and starters. May be repeated.",
)
@json_option
@settings_options
def verify(**options: Any) -> int:
    """Check audit logs for changes.

    Exit code 0: the log is whole and finished. 6: a line was altered; the message names the line. 7: the log is whole
    so far, but unfinished or torn. Of several logs, 6 takes precedence over 7.

    With --public-key, 6 also means: no valid seal by this key; with --all too: a sealed log is missing and was not
    pruned. With --approval-keys, 6 also means: too few signatures, or a wrong signature.
    """
    from orchestrator.cli.handlers.audit_verify import verify_logs

    return verify_logs(**options)


@command.command("show", epilog="\b\nExample: orchestrator audit show 20261123T080000Z-4f2a --cvm worker-7")
@run_argument("PATH|RUN_ID")
@click.option("--cvm", metavar="NAME|ID|UUID", help="Show this CVM only, from its plan to its outcome.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Show at most this many sentences about single CVMs.",
)
@click.option("--all", "every", is_flag=True, help="Show all sentences.")
@json_option
@settings_options
@fleet_handler("audit_show.show_fleet_history")
def show(**options: Any) -> None:
    """Show the history of a run, or of one CVM, from the audit log.

    Without --cvm: who started the run, what was planned, what went wrong, who was asked, and how the run ended. If
    several CVMs have the name, all of them are shown.
    """
    from orchestrator.cli.handlers.audit_show import show_history

    show_history(**options)


@command.command("export", epilog="\b\nExample: orchestrator audit export --all --since 1h --out events.jsonl")
@logs_argument
@format_option("ecs", "jsonl", "csv")
@out_option("Write to FILE, whole or not at all.")
@click.option("--since", metavar="AGO|DATE|TIME", help="Export only records since this time.")
@click.option("--all", "every", is_flag=True, help="Export every log of the state folder, oldest first.")
@click.option("--even-altered", is_flag=True, help="Export an altered log up to the altered line; the exit code is 6.")
@settings_options
def export(**options: Any) -> int:
    """Export audit records for a SIEM or a spreadsheet.

    Each log is checked first. If a log was altered, nothing is written (exit code 6). Each event has an `event.id`,
    the same in every export, so that a SIEM can skip events it already has.

    ecs is JSON Lines with the field names of ECS, jsonl the records, csv a table.
    """
    from orchestrator.cli.handlers.audit_export import export_logs

    return export_logs(**options)


@command.command("seal", epilog="\b\nExample: orchestrator audit seal 20261123T080000Z-4f2a --key seal.pem")
@logs_argument
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="Private key: Ed25519 in PEM, readable by its owner only.",
)
@click.option("--all", "every", is_flag=True, help="Seal every finished log of the state folder.")
@out_option("Write the seal there and leave the log unchanged, for a read-only copy.", "FILE|FOLDER")
@json_option
@settings_options
def seal(**options: Any) -> int:
    """Sign finished audit logs. A seal reveals a shortened or replaced log.

    Appends `run.sealed` to the log, and writes the seal to RUN_ID.seal.json beside the log. Sealing again covers newer
    records; without newer records, the command reports the existing seal.
    """
    from orchestrator.cli.handlers.audit_seal import seal_logs

    return seal_logs(**options)


@command.command("keygen", epilog="\b\nExample: orchestrator audit keygen --out seal.pem")
@out_option(
    "Write the private key there, and the public key beside it. Existing files are not overwritten.",
    "FILE|FOLDER",
    required=True,
)
@json_option
def keygen(**options: Any) -> None:
    """Generate a key pair for seals of audit logs, and for approvals of plans."""
    from orchestrator.cli.handlers.audit_keygen import generate_keys

    generate_keys(**options)


@command.command("prune", epilog="\b\nExample: orchestrator audit prune --older-than 90d --dry-run")
@click.option(
    "--older-than", metavar="DURATION", required=True, help="Remove logs with a last record older than this, e.g. 90d."
)
@click.option("--unsealed", is_flag=True, help="Also remove finished logs without a seal over their end.")
@click.option(
    "--unfinished",
    is_flag=True,
    help="Also remove logs of unfinished runs; `resume` can't continue these runs afterwards.",
)
@click.option(
    "--public-key",
    "public_keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Count only valid seals by this key (PEM). By default any seal counts, unchecked.",
)
@click.option("--dry-run", is_flag=True, help="List the logs to remove; remove nothing.")
@yes_option()
@json_option
@settings_options
def prune(**options: Any) -> int:
    """Remove old audit logs from the state folder.

    Logs of unfinished runs and logs without a complete seal are kept unless an option says otherwise. Altered logs and
    logs in use by a process are always kept. STATE_DIR/pruned.jsonl records each removal.
    """
    from orchestrator.cli.handlers.audit_prune import prune_logs

    return prune_logs(**options)
