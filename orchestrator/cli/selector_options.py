"""Options to select CVMs on the command line: `--teepod`, `--name`, `--gpus`, …, and `--exclude KEY=VALUE`."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])

_SELECTORS: dict[str, tuple[str, str, bool]] = {
    "teepod": ("TEEPOD", "Only CVMs on this teepod, by name (* and ? are wildcards) or number.", True),
    "app_id": ("APP_ID", "Only CVMs of this app.", True),
    "name": ("NAME", "Only CVMs with this name; * and ? are wildcards.", True),
    "status": ("STATUS", "Only CVMs of this status, such as running.", True),
    "instance_type": ("TYPE", "Only CVMs of this instance type; * and ? are wildcards.", True),
    "region": ("REGION", "Only CVMs in this region; * and ? are wildcards.", True),
    "creator": ("USER", "Only CVMs of this creator, by username or id; * and ? are wildcards.", True),
    "gpus": ("N", "Only CVMs with this number of GPUs, or a comparison: '>0'.", True),
    "usd_per_hour": ("USD", "Only CVMs of this compute price an hour, or a comparison: '>1.5'.", True),
    "older_than": ("AGE", "Only CVMs created longer ago than this: 7d, 12h.", False),
    "created_before": ("DATE|TIME", "Only CVMs created before this date (00:00 UTC) or time with an offset.", False),
    "up_longer_than": ("TIME", "Only CVMs that have been up longer than this: 12h.", False),
}
"""Placeholder, help, and whether the option may be repeated, by the key of a select."""


def selector_options(command: _F) -> _F:
    """Add an option for every key of a select, and `--exclude`.

    The command gets `selectors`, a mapping of the given keys to their values, and `excludes`, the texts `KEY=VALUE`.
    """

    @wraps(command)
    def decorated(**options: Any) -> object:  # noqa: ANN401 - the options of any command
        given = {key: options.pop(key) for key in _SELECTORS}
        selectors = {
            key: value if isinstance(value, tuple) else (value,)
            for key, value in given.items()
            if value is not None and value != ()  # an empty text is a wrong value, no missing option
        }
        return command(selectors=selectors, **options)

    result: Any = click.option(
        "--exclude",
        "excludes",
        metavar="KEY=VALUE",
        multiple=True,
        help="Leave out CVMs by one of these keys, or by id: --exclude name='kms-*'.",
    )(decorated)
    for key, (metavar, text, is_repeatable) in reversed(_SELECTORS.items()):
        result = click.option(f"--{key.replace('_', '-')}", key, metavar=metavar, multiple=is_repeatable, help=text)(
            result
        )
    return result  # type: ignore[no-any-return] # click gives the options as keywords
