"""A group of commands with a hint for a wrong command name."""

from collections.abc import Mapping
from typing import ClassVar

import click


class HintingGroup(click.Group):
    """A group with hints for wrong names of its commands.

    Attributes:
        other_names: names of commands in other programs, with the name here.
    """

    other_names: ClassVar[Mapping[str, str]] = {}

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command as click does; for an unknown name, suggest the name here or the nearest known name."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            import difflib  # noqa: PLC0415 - only on this error

            known = self.list_commands(ctx)
            meant = self.other_names.get(name)
            close = [meant] if meant else difflib.get_close_matches(name, known, n=1)
            ctx.fail(f"no such command {name!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)
