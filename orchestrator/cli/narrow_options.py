"""The options `--only KEY=VALUE` and `--exclude KEY=VALUE` of `plan` and `run`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])


def narrow_options(command: _F) -> _F:
    """Add `--only` and `--exclude`."""
    command = click.option(
        "--exclude",
        metavar="KEY=VALUE",
        multiple=True,
        help="Leave out selected CVMs by a key of `select`, or by id: --exclude name='kms-*'.",
    )(command)
    return click.option(
        "--only",
        metavar="KEY=VALUE",
        multiple=True,
        help="Act only on selected CVMs with this value: same key OR, different keys AND.",
    )(command)
