"""The end of a command: the exit code, and the error in words or as JSON. A traceback appears only for a bug."""

import json
import os
import signal
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import click

from orchestrator.cli.consoles import choose, colour, open_streams
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.outcome import Exit
from orchestrator.text import safe_text

_INTERRUPTED = "Interrupted; nothing was changed."


class _SigtermHandler:
    """Signal handler to end a command after SIGTERM in the same way as after Ctrl-C.

    Attributes:
        was_called: whether SIGTERM has come.
    """

    was_called = False

    def __call__(self, number: int, frame: object) -> None:
        """Interrupt the command."""
        del number, frame
        self.was_called = True
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a job of a script, and no task can be interrupted
            click.echo(_INTERRUPTED, err=True)
            os._exit(int(Exit.SIGTERM))
        signal.raise_signal(signal.SIGINT)


def exit_of(invoke: Callable[[list[str]], Any], args: list[str]) -> int:
    """Run a command and return its exit code."""
    out = open_streams()
    choose(args)
    on_sigterm = _SigtermHandler()
    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        code = _call_command(invoke, args)
    except (KeyboardInterrupt, click.Abort):
        click.echo(_INTERRUPTED, err=True)
        return int(Exit.SIGTERM if on_sigterm.was_called else Exit.SIGINT)
    sys.stdout.flush()
    if out.lost is not None:
        print_error(UsageError(f"stdout can't be written: {out.lost.strerror}"), as_json=False)
        # The result of a run counts, even if the output failed.
        return code or int(Exit.OK if args[:1] in (["run"], ["resume"]) else Exit.USAGE)
    return code


def _call_command(invoke: Callable[[list[str]], Any], args: list[str]) -> int:
    # Arguments are checked as text, because a command line with an error has no options.
    options = args[: args.index("--")] if "--" in args else args
    as_json = "--json" in options or "--format=json" in options or ("--format", "json") in pairwise(options)
    try:
        result = invoke(args)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return int(Exit.USAGE)
    except click.ClickException as error:
        return _print_usage_error(error, as_json=as_json)
    except OrchestratorError as error:
        print_error(error, as_json=as_json)
        return int(error.exit_code)
    return result if isinstance(result, int) else int(Exit.OK)


def print_error(error: OrchestratorError, *, as_json: bool, extra: dict[str, Any] | None = None) -> None:
    """Print an error: on stderr in words, and with `--json` also on stdout as a document."""
    if as_json:
        from orchestrator.runs.documents import error_document  # noqa: PLC0415 - keeps `--help` quick

        click.echo(json.dumps({**(extra or {}), **error_document(error)}, indent=2, ensure_ascii=True))
    for each in (error, *error.more):
        _print_line(click.style("Error: ", fg="red", bold=True) + safe_text(each, 2000))
        if each.hint:
            _print_line(click.style("  Hint: ", fg="yellow") + safe_text(each.hint, 2000))


def _print_line(text: str) -> None:
    click.echo(text, err=True, color=colour())


def _print_usage_error(error: click.ClickException, *, as_json: bool) -> int:
    hint = None
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"see `{error.ctx.command_path} --help`"
    # The message lists the choices of an argument on separate lines.
    print_error(UsageError(" ".join(error.format_message().split()), hint=hint), as_json=as_json)
    return int(Exit.USAGE)
