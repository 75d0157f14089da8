"""Options shared by several commands."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])


def settings_options(command: _F) -> _F:
    """Add `--config` and `--set`."""
    command = click.option(
        "--set",
        "assignments",
        metavar="SECTION.FIELD=VALUE",
        multiple=True,
        help="Set one setting, e.g. --set rate.burst=10.",
    )(command)
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Settings file; default ./config.toml, else config.toml in your config folder.",
    )(command)


def playbook_options(command: _F, *, required: bool = True) -> _F:
    """Add `PLAYBOOK`, `--var` and `--simulate`. An optional `PLAYBOOK` can be replaced by another option."""
    command = click.option(
        "--simulate",
        is_flag=True,
        help="Use a simulated cloud for this command only.",
    )(command)
    command = variables_option(command)
    return click.argument(
        "playbook",
        metavar="PLAYBOOK" if required else "[PLAYBOOK]",
        required=required,
        shell_complete=_complete_playbook,
    )(command)


def variables_option(command: _F) -> _F:
    """Add `--var`."""
    return click.option(
        "--var",
        "variables",
        metavar="NAME=VALUE",
        multiple=True,
        help="Set a variable of the playbook.",
    )(command)


def ignore_running_option(command: _F) -> _F:
    """Add `--ignore-running`."""
    return click.option(
        "--ignore-running",
        is_flag=True,
        help="Act even on CVMs of another active run. Both runs may send requests to the same CVM, and you may be "
        "charged twice.",
    )(command)


def json_option(command: _F) -> _F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print only one JSON document on stdout.")(command)


def verbosity_options(command: _F) -> _F:
    """Add `--verbose` and `--quiet`, short forms of log settings."""

    @wraps(command)
    def decorated(*, verbose: bool, quiet: bool, assignments: tuple[str, ...], **options: object) -> object:
        if verbose and quiet:
            raise click.UsageError("--verbose and --quiet exclude each other.")
        more = ["log.cvms=each"] if verbose else ["log.cvms=by_teepod", "log.level=warning"] if quiet else []
        return command(assignments=(*assignments, *more), **options)

    quieter = click.option("-q", "--quiet", is_flag=True, help="Log only warnings and failures.")
    louder = click.option("-v", "--verbose", is_flag=True, help="Log every CVM, also on a terminal.")
    return louder(quieter(decorated))  # type: ignore[return-value] # has options more, which click gives it


def _complete_playbook(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only while completing

    del ctx, param
    from orchestrator.playbook.shipped import SHIPPED, list_playbooks  # noqa: PLC0415 - only while completing

    names = dict.fromkeys([*list_playbooks(Path("playbooks")), *list_playbooks(SHIPPED)])
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]
