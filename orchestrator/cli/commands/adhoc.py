"""`orchestrator stop`, `shutdown`, `start` and `restart`, made from the specification of each action."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from orchestrator.action import Action
from orchestrator.cli.options import (
    ignore_running_option,
    json_option,
    out_option,
    override_options,
    skip_unreachable_option,
    verbosity_options,
    workspace_options,
    yes_option,
)
from orchestrator.cli.selector_options import selector_options

_F = TypeVar("_F", bound=Callable[..., Any])


def no_option(command: _F) -> _F:
    """Add nothing."""
    return command


def make_command(action: Action) -> click.Command:
    """Make the command of an action."""
    spec = action.spec

    @click.command(
        action.value,
        help=f"""{spec.verb.capitalize()} CVMs, by hashid, UUID, instance id, exact name or selectors.

        The CVMs will be {spec.done_in_full}. Plan, guards, confirmation, log and report are those of `run`.
        On a terminal, you confirm by typing the number of CVMs. Without a terminal, the command needs --yes or
        --expect; otherwise it changes nothing. Write -- before a name that begins with a dash.""",
        epilog=f"\b\nExample: orchestrator {action} web-1 web-2\n"
        f"Example: cat ids | orchestrator {action} --from - --expect 3",
    )
    @click.argument("cvms", metavar="[CVM]...", nargs=-1)
    @click.option(
        "--from",
        "sources",
        multiple=True,
        metavar="FILE",
        help="Read the CVMs from FILE, one a line; - for stdin. May be repeated.",
    )
    @selector_options
    @out_option("Write the plan to FILE for `run --plan FILE`, and change nothing.")
    @click.option("--simulate", is_flag=True, help="Use a simulated cloud for this command only.")
    @yes_option()
    @click.option(
        "--expect", type=click.IntRange(min=0), metavar="N", help="Start only if the plan has exactly N targets."
    )
    @ignore_running_option
    @(no_option if action.starts_cvms else override_options)
    @json_option
    @skip_unreachable_option
    @workspace_options
    @verbosity_options
    def command(**options: Any) -> int:
        from orchestrator.cli.handlers.adhoc import act

        return act(action, **options)

    return command


COMMANDS = {action.value: make_command(action) for action in Action}
