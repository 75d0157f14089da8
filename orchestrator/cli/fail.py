"""How a command ends: the exit code, and the error in words or as JSON. No traceback but for a bug."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from orchestrator.errors import OrchestratorError
from orchestrator.outcome import Exit
from orchestrator.report.documents import error_document
from orchestrator.report.shown import shown


def exit_of(invoke: Callable[[list[str] | None], Any], args: list[str] | None) -> int:
    """Run a command and say what to exit with."""
    as_json = "--json" in (sys.argv[1:] if args is None else args)
    try:
        result = invoke(args)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        return _usage(error, as_json=as_json)
    except OrchestratorError as error:
        report(error, as_json=as_json)
        return int(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nInterrupted; nothing was sent.", err=True)
        return int(Exit.SIGINT)
    except BrokenPipeError:
        # Whoever read the output has seen enough. What is left of it must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.OK)
    return result if isinstance(result, int) else int(Exit.OK)


def report(error: OrchestratorError, *, as_json: bool, extra: dict[str, Any] | None = None) -> None:
    """Say what went wrong: on stderr in words, and with `--json` on stdout as a document too."""
    if as_json:
        click.echo(json.dumps({**(extra or {}), **error_document(error)}, indent=2, ensure_ascii=True))
    for each in (error, *error.more):
        click.echo(click.style("Error: ", fg="red", bold=True) + shown(each, 2000), err=True)
        if each.hint:
            click.echo(click.style("  Hint: ", fg="yellow") + shown(each.hint, 2000), err=True)


def _usage(error: click.ClickException, *, as_json: bool) -> int:
    hint = None
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"`{error.ctx.command_path} --help` says what it takes"
    wrapped = OrchestratorError(error.format_message(), hint=hint)
    wrapped.exit_code, wrapped.code = Exit.USAGE, "usage"
    report(wrapped, as_json=as_json)
    return int(Exit.USAGE)
